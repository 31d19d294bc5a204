"""Short ways to say who is in the book."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nexpura.customers.models import ConsentEvent, Customer
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

TILL = Actor("command", "till")
HEADER = "external_id,first_name,last_name,email,phone,marketing_consent,consent_at,consent_source,consent_wording,tags"


def customer(tenant: Tenant, **fields: Any) -> Customer:
    """A customer of the tenant, as the database returns them."""
    made = Customer.objects.create(tenant=tenant, **fields)
    made.refresh_from_db()
    return made


def day(text: str) -> datetime:
    """Noon of a day."""
    return datetime.fromisoformat(f"{text}T12:00").replace(tzinfo=UTC)


def event(customer: Customer, state: str, at: str, **fields: Any) -> ConsentEvent:
    """An event of the ledger as if it had been recorded on that day."""
    values: dict[str, Any] = {
        "source": "intake",
        "address": customer.address,
        "actor_kind": "system",
        "actor_name": "the past",
    }
    made = ConsentEvent.objects.create(
        tenant=customer.tenant, customer=customer, state=state, recorded_at=day(at), **values | fields
    )
    customer.refresh_from_db()
    return made


def written(path: Path, *lines: str, header: str = HEADER) -> Path:
    """A customer file with these lines below the header."""
    file = path / "customers.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file
