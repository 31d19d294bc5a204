"""People who were erased and turn up again: how they are recognised, and what it takes to come back (B11).

A row of an import brings nobody back, unless it carries a yes with a date of its own that is newer than the erasure. A
person at the counter may be written down again when somebody ticks that they are here and want it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.core.exceptions import ValidationError
from django.utils import timezone

from nexpura.audience.address import address_of
from nexpura.audience.fold import fold
from nexpura.customers.models import Customer
from nexpura.tenants import erased, vault
from nexpura.tenants.erased import Erased
from nexpura.tenants.models import Tenant

CANNOT_TELL = (
    "Nobody can tell whether this person was erased before, as the key for that cannot be opened. "
    f"{vault.OTHER_KEYS} {vault.FORMER_KEYS}"
)


def marks(*, email: str, external_id: str | None, first_name: str, last_name: str, phone: str) -> list[str]:
    """Return what such a record is recognised by: address and number; only without either, names and phone."""
    address = address_of(email)
    known = [erased.by_address(address)] if address else []
    known += [erased.by_number(external_id)] if external_id else []
    return known or [erased.by_name(fold(first_name), fold(last_name), phone)]


def marks_of(customer: Customer) -> list[str]:
    """Return what this customer is recognised by."""
    return marks(
        email=customer.email,
        external_id=customer.external_id,
        first_name=customer.first_name,
        last_name=customer.last_name,
        phone=customer.phone,
    )


def erased_at(tenant: Tenant, known: Iterable[str]) -> datetime | None:
    """Return when somebody with one of these marks was erased last; None: nobody was.

    Raises `ValidationError` if the tenant's key cannot be opened, as nobody can tell then.
    """
    try:
        found = erased.among(tenant.pk, known)
    except vault.CannotOpen:
        raise ValidationError({"email": [CANNOT_TELL]}) from None
    return max((one.at for one in found.values()), default=None)


def noes(found: Mapping[str, Erased], known: Iterable[str]) -> list[datetime]:
    """Return the moments up to which no yes counts for whoever is recognised by `known`."""
    said = (found[mark].no_before for mark in known if mark in found)
    return [moment for moment in said if moment]


def on_day(at: datetime, tenant: Tenant) -> str:
    """Return the day of an erasure as people of the shop write it."""
    return f"{timezone.localtime(at, tenant.zone):%-d %B %Y}"
