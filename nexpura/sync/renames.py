"""A person changed their own address in Mailchimp: the shop takes it over, or keeps the one it has (B3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from nexpura.customers import former, intake
from nexpura.customers.models import Customer
from nexpura.sync.models import KnownMember
from nexpura.sync.store import renames, standings
from nexpura.sync.store.connected import connected_audience
from nexpura.tenants import audit, erased
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

CHANGED = "This changed while the page was open. Nothing was done: look at it once more."
TAKEN = "Another customer has the new address already. Nothing was done: merge the two records instead."


@dataclass(frozen=True, slots=True)
class Proposal:
    """A customer whose person has another address in Mailchimp; `holders` have that address in the book already."""

    customer: Customer
    new_address: str
    subscribed: bool
    """Whether the member at the new address gets mail."""
    holders: tuple[Customer, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """It is done; the customer as the book keeps them now."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and why."""

    reason: str


def proposal_for(tenant: Tenant, customer: Customer) -> Proposal | None:
    """Return what is proposed for one customer."""
    found = _unanswered(tenant).filter(address=customer.address)[:1] if customer.address else ()
    proposed = _proposals(tenant, [(customer, row) for row in found])
    return proposed[0] if proposed else None


def proposals(tenant: Tenant, limit: int) -> tuple[Proposal, ...]:
    """Return what is proposed at as many addresses of the book as `limit`, in the order of the addresses."""
    rows = {row.address: row for row in _of_the_book(tenant).order_by("address")[:limit]}
    customers = Customer.objects.filter(tenant=tenant, address__in=list(rows)).order_by("address", "id")
    return tuple(_proposals(tenant, [(customer, rows[customer.address]) for customer in customers]))


def count(tenant: Tenant) -> int:
    """Count the addresses of the book whose person has another one in Mailchimp."""
    return _of_the_book(tenant).count()


def take_over(tenant: Tenant, actor: Actor, customer: Customer, new_address: str) -> Answered | Refused:
    """Give the customer the address from Mailchimp; the member there is ours again as far as it was."""
    with transaction.atomic():
        row = _locked(tenant, customer, new_address)
        if row is None:
            return Refused(CHANGED)
        if Customer.objects.filter(tenant=tenant, address=new_address).exists():
            return Refused(TAKEN)
        try:
            customer = intake.take_over_email(customer, actor, new_address)
        except ValidationError as problems:
            return Refused(" ".join(problems.messages))
        renames.carry_over(row, customer.pk)
        return Answered(customer)


def keep(tenant: Tenant, actor: Actor, customer: Customer, new_address: str) -> Answered | Refused:
    """Keep the address the book has: the next sync adds it in its own right, and leaves the new one alone."""
    with transaction.atomic():
        row = _locked(tenant, customer, new_address)
        if row is None:
            return Refused(CHANGED)
        renames.let_go(row)
        standings.mark_if_connected(tenant.pk, [row.address])
        audit.record(tenant, actor, "customer.address_kept", customer)
        return Answered(customer)


def _locked(tenant: Tenant, customer: Customer, new_address: str) -> KnownMember | None:
    """Lock the member that left, the one at the new address and the customer; None if it is not as the page said."""
    erased.hold_still(tenant.pk)
    rows = _unanswered(tenant).filter(address=customer.address, renamed_to=new_address).exclude(address="")
    row = renames.held(rows)
    try:
        held = former.hold(tenant.pk, customer.pk)
    except Customer.DoesNotExist:
        return None
    return row if row and (held.pk, held.address) == (customer.pk, row.address) else None


def _proposals(tenant: Tenant, left: Sequence[tuple[Customer, KnownMember]]) -> list[Proposal]:
    addresses = [row.renamed_to for _, row in left]
    holders: dict[str, list[Customer]] = defaultdict(list)
    for customer in Customer.objects.filter(tenant=tenant, address__in=addresses).order_by("id") if addresses else ():
        holders[customer.address].append(customer)
    audiences = {row.audience_id for _, row in left}
    at_new = KnownMember.objects.filter(tenant=tenant, audience_id__in=audiences, address__in=addresses)
    statuses = dict(at_new.values_list("address", "status"))
    return [
        Proposal(
            customer,
            row.renamed_to,
            statuses.get(row.renamed_to) in ("subscribed", "pending"),
            tuple(holders[row.renamed_to]),
        )
        for customer, row in left
    ]


def _of_the_book(tenant: Tenant) -> QuerySet[KnownMember]:
    holders = Customer.objects.filter(tenant=tenant, address=OuterRef("address"))
    return _unanswered(tenant).filter(Exists(holders))


def _unanswered(tenant: Tenant) -> QuerySet[KnownMember]:
    """Return the open questions of the audience that is connected."""
    audience = connected_audience(tenant)
    return renames.unanswered(tenant.pk, audience.pk) if audience else KnownMember.objects.none()
