"""Two records of one person become one (B4): one stays, what was recorded on the other goes over to it.

The ledger stays append only in content: events keep what was said, when, where and for which address; only whose
they are changes, and the database keeps on which record they were recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from nexpura.customers.models import ConsentEvent, Customer, FormerCustomer, Visit
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

CHOSEN = ("first_name", "last_name", "email", "phone")
"""Fields of which a person chooses one of two values."""

SAME = "Both are the same record: there is nothing to merge."
GONE = "One of the two records is not in the book any more: it was merged or removed meanwhile. Nothing was merged."
CHANGED = "One of the two records changed while this page was open. Nothing was merged: look at them once more."


@dataclass(frozen=True, slots=True)
class Merged:
    """There is one record now."""

    customer: Customer
    former_id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was merged, and why."""

    reason: str


def stays(granted_at: Mapping[int, datetime | None]) -> int:
    """Return which of the customers (id to newest grant) stays unless a person says otherwise.

    The one with the newest grant, else the older record.
    """
    granted = {pk: at for pk, at in granted_at.items() if at}
    return max(granted, key=lambda pk: (granted[pk], -pk)) if granted else min(granted_at)


def differing(kept: Customer, other: Customer) -> tuple[str, ...]:
    """Return the fields for which a person has to choose: both records have a value, and not the same."""
    return tuple(
        name
        for name in CHOSEN
        if getattr(kept, name) and getattr(other, name) and getattr(kept, name) != getattr(other, name)
    )


def united(kept: Customer, other: Customer, from_other: Set[str]) -> dict[str, Any]:
    """Return the fields of the record that remains; blanks are filled whatever was chosen."""
    fields: dict[str, Any] = {}
    for name in CHOSEN:
        first, second = (other, kept) if name in from_other else (kept, other)
        fields[name] = getattr(first, name) or getattr(second, name)
    tags: dict[str, str] = {}
    for tag in (*kept.tags, *other.tags):
        tags.setdefault(tag.casefold(), tag)
    notes = dict.fromkeys(note for note in (kept.note, other.note) if note)
    return fields | {
        "tags": [*tags.values()],
        "note": "\n\n".join(notes),
        "external_id": kept.external_id or other.external_id,
    }


def seen(*customers: Customer) -> str:
    """Return a mark of what these records hold now, to tell later whether one of them changed."""
    newest = dict(
        ConsentEvent.objects.filter(tenant_id=customers[0].tenant_id, customer__in=customers)
        .order_by("id")
        .values_list("customer_id", "id")
    )
    held = sorted([one.pk, one.snapshot(), one.consent_state, newest.get(one.pk)] for one in customers)
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()


@transaction.atomic
def merge(
    tenant: Tenant,
    actor: Actor,
    *,
    kept_id: int,
    other_id: int,
    from_other: Set[str] = frozenset(),
    seen_as: str | None = None,
) -> Merged | Refused:
    """Make one record of two: `kept_id` stays, with the fields named in `from_other` as the other has them.

    `seen_as` is the mark (`seen`) of what the person saw; None: nobody looked, and whatever they hold is merged.
    An import of the same tenant is waited for, as it may hold both.
    """
    if kept_id == other_id:
        return Refused(SAME)
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    pair = Customer.objects.filter(tenant=tenant, pk__in=[kept_id, other_id]).select_for_update().order_by("id")
    held = {customer.pk: customer for customer in pair}
    if len(held) < 2:
        return Refused(GONE)
    kept, other = held[kept_id], held[other_id]
    if seen_as not in (None, seen(kept, other)):
        return Refused(CHANGED)
    _write(actor, kept, other, united(kept, other, from_other))
    return Merged(kept, other_id)


def _write(actor: Actor, kept: Customer, other: Customer, fields: Mapping[str, Any]) -> None:
    before, gone = _told(kept), _told(other)
    moved = _carry_over(kept, other)
    FormerCustomer.objects.filter(tenant=kept.tenant, customer=other).update(customer=kept)
    FormerCustomer.objects.create(
        tenant=kept.tenant,
        former_id=other.pk,
        external_id=other.external_id if other.external_id != fields["external_id"] else None,
        customer=kept,
    )
    other_id = other.pk
    other.delete()
    kept.refresh_from_db()
    for name, value in fields.items():
        setattr(kept, name, value)
    kept.save(update_fields=[*fields, "updated_at"])
    kept.refresh_from_db()
    after = _told(kept) | {"merged": other_id} | moved
    audit.record(kept.tenant, actor, "customer.merged", kept, before=before, after=after)
    other.pk = other_id
    audit.record(kept.tenant, actor, "customer.merged_away", other, before=gone, after={"merged_into": kept.pk})


def _carry_over(kept: Customer, other: Customer) -> dict[str, int]:
    """Let what was recorded on the other belong to the kept; returns how much it was. Consent follows by trigger."""
    events = ConsentEvent.objects.filter(tenant_id=kept.tenant_id, customer=other)
    visits = Visit.objects.filter(tenant_id=kept.tenant_id, customer=other)
    return {"consent_events": events.update(customer=kept), "visits": visits.update(customer=kept)}


def _told(customer: Customer) -> dict[str, Any]:
    return customer.snapshot() | {"consent_state": customer.consent_state}
