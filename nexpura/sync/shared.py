"""Addresses that several customers hold, side by side, with what the rules make of each (B4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nexpura.audience import consent
from nexpura.audience.consent import Granted
from nexpura.audience.facts import AddressFacts, CustomerFacts
from nexpura.customers import merging
from nexpura.customers.models import Customer
from nexpura.sync import facts
from nexpura.tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Holder:
    """One customer who holds a shared address; `answered_at` is when they last said anything about marketing."""

    customer: Customer
    answered_at: datetime | None
    sent: bool
    """Whether it is their names and phone that go to Mailchimp."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One address with everybody who holds it; a merge keeps the customer `stays` unless told otherwise."""

    address: str
    holders: tuple[Holder, ...]
    stays: Customer


def side_by_side(tenant: Tenant, addresses: Sequence[str]) -> list[Shared]:
    """Return those of the addresses that two or more customers hold, in the order given."""
    holders: dict[str, list[Customer]] = defaultdict(list)
    for customer in Customer.objects.filter(tenant=tenant, address__in=addresses).order_by("id"):
        holders[customer.address].append(customer)
    shared = [address for address in addresses if len(holders[address]) > 1]
    known = {one.address: one for one in facts.load(tenant.pk, dict.fromkeys(shared, 0), absence_proven=True)}
    return [_shared(holders[address], known[address]) for address in shared]


def _shared(customers: Sequence[Customer], known: AddressFacts) -> Shared:
    verdict = consent.decide(known)
    sent = verdict.customer.customer_id if isinstance(verdict, Granted) else None
    told = {one.customer_id: one for one in known.customers}
    stays = merging.stays({customer.pk: newest_grant(told.get(customer.pk)) for customer in customers})
    return Shared(
        known.address,
        tuple(Holder(one, _answered_at(told.get(one.pk)), one.pk == sent) for one in customers),
        next(customer for customer in customers if customer.pk == stays),
    )


def newest_grant(customer: CustomerFacts | None) -> datetime | None:
    """Return when a customer last said yes."""
    return max((event.at for event in customer.events if event.granted), default=None) if customer else None


def _answered_at(customer: CustomerFacts | None) -> datetime | None:
    return max((event.at for event in customer.events), default=None) if customer else None
