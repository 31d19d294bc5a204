"""Whom an erasure is about: what the records hold by which they could be found, and which members are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, Q

from nexpura.audience import desired, diff
from nexpura.audience.address import address_of
from nexpura.customers import ledger
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.sync.models import KnownAudience, KnownMember, MemberResult
from nexpura.tenants.models import AuditEvent


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an erasure is about. The repr names nobody."""

    customer: Customer
    addresses: frozenset[str]
    """Every address the records show they have had, whoever holds it now."""
    numbers: frozenset[str]
    shared: Mapping[str, tuple[int, ...]]
    """Those of the addresses that other customers hold, with the ids of these."""
    sending: tuple[MemberResult, ...] = ()
    """Changes of theirs that were on their way to Mailchimp at this moment."""

    def __repr__(self) -> str:
        return f"<customer {self.customer.pk}, to be erased>"

    @property
    def own(self) -> frozenset[str]:
        """The addresses that nobody else in the book holds."""
        return self.addresses - self.shared.keys()


@dataclass(frozen=True, slots=True)
class Errand:
    """What has to be known until Mailchimp has been told, and is kept sealed so long. The repr names nobody."""

    addresses: tuple[str, ...]
    values: tuple[str, ...] = ()
    """Their names and numbers, to find them in a member whose address somebody else in the book holds."""

    def __repr__(self) -> str:
        return f"<errand at {len(self.addresses)} address(es)>"


def person_of(customer: Customer) -> Person:
    """Return what the records hold of a customer by which they could be found."""
    told = _told(customer)
    addresses = {customer.address, *(address_of(one["email"]) for one in told if one.get("email"))}
    addresses |= set(events_of(customer).values_list("address", flat=True))
    members = members_of(customer, addresses)
    addresses |= set(members.values_list("address", flat=True))
    theirs_alone = members.exclude(address__in=_shared(customer, addresses))
    addresses |= set(theirs_alone.values_list("renamed_to", flat=True))
    sending = tuple(results_of(customer, addresses).filter(state=MemberResult.State.SENDING))
    addresses |= {address for result in sending for address in (result.address, result.change.get("from_address", ""))}
    addresses.discard("")
    numbers = {customer.external_id, *(one.get("external_id") for one in told)}
    numbers |= set(customer.former_records.values_list("external_id", flat=True))
    return Person(
        customer=customer,
        addresses=frozenset(addresses),
        numbers=frozenset(number for number in numbers if number),
        shared=_shared(customer, addresses),
        sending=sending,
    )


def targets_of(person: Person, audience: KnownAudience | None) -> list[str]:
    """Return the addresses whose member in the audience is this person's: the one they hold first.

    Besides it, the members we made for them or under an address they had, what they renamed themselves to, and what
    is on its way. Other addresses of the past are left alone: one may have been typed wrong, and be a stranger's.
    """
    if audience is None:
        return []
    members = members_of(person.customer, person.addresses).filter(audience=audience)
    ours = Q(made_for=person.customer.pk) | Q(added_by_us=True, status__in=diff.MAILABLE)
    targets = set(members.filter(ours).values_list("address", flat=True))
    targets |= person.addresses & set(members.values_list("renamed_to", flat=True))
    targets |= {result.address for result in person.sending}
    targets |= {result.change.get("from_address", "") for result in person.sending}
    current = person.customer.address
    return [address for address in (current, *sorted(targets - {current})) if address]


def errand_of(person: Person, targets: Sequence[str]) -> Errand:
    """Return what has to be known until Mailchimp has been told, and not a word more."""
    if not person.shared.keys() & set(targets):
        return Errand(tuple(targets))
    told = [person.customer.snapshot(), *_told(person.customer)]
    values = {str(one.get(name) or "") for one in told for name in ("first_name", "last_name", "phone", "external_id")}
    values |= {f"{one.get('first_name', '')} {one.get('last_name', '')}".strip() for one in told}
    values |= {desired.us_phone_of(value) for value in values}
    members = members_of(person.customer, person.addresses).filter(address__in=list(person.shared))
    rewritten = [pair for fields in members.values_list("rewritten", flat=True) for pair in fields.values()]
    values |= {pair["got"] for pair in rewritten if pair["sent"] in values}
    return Errand(tuple(targets), tuple(sorted(values - {""})))


def last_no(customer: Customer, address: str) -> datetime | None:
    """Return when the customer said no for an address, theirs now or then; None: never, or they took it back."""
    noes = events_of(customer).filter(state=ledger.WITHDRAWN)
    if customer.address != address:
        noes = noes.filter(address=address)
    newest: datetime | None = noes.aggregate(newest=Max("effective_at"))["newest"]
    taken_back = newest and events_of(customer).filter(state=ledger.GRANTED, effective_at__gt=newest).exists()
    return None if taken_back else newest


def events_of(customer: Customer) -> Any:
    """Return the ledger of the customer, without an order."""
    return ConsentEvent.objects.filter(tenant_id=customer.tenant_id, customer_id=customer.pk)


def members_of(customer: Customer, addresses: set[str] | frozenset[str]) -> Any:
    """Return the members at these addresses, and those made for the customer."""
    of_them = Q(address__in=addresses - {""}) | Q(made_for=customer.pk)
    return KnownMember.objects.filter(of_them, tenant_id=customer.tenant_id)


def results_of(customer: Customer, addresses: set[str] | frozenset[str]) -> Any:
    """Return what runs did about the customer, or at these addresses."""
    named = sorted(addresses - {""})
    of_them = Q(customer_ids__contains=[customer.pk]) | Q(address__in=named) | Q(change__from_address__in=named)
    return MemberResult.objects.filter(of_them, tenant_id=customer.tenant_id)


def _told(customer: Customer) -> list[dict[str, Any]]:
    """Return what the audit trail tells of the customer, and of records merged into theirs, with each change."""
    ids = [customer.pk, *customer.former_records.values_list("former_id", flat=True)]
    lines = AuditEvent.objects.filter(tenant_id=customer.tenant_id, subject_kind="customer", subject_id__in=ids)
    return [told for line in lines.values_list("before", "after") for told in line]


def _shared(customer: Customer, addresses: set[str]) -> dict[str, tuple[int, ...]]:
    others = Customer.objects.filter(tenant_id=customer.tenant_id, address__in=addresses).exclude(pk=customer.pk)
    shared: dict[str, tuple[int, ...]] = {}
    for address, pk in others.order_by("id").values_list("address", "id"):
        shared[address] = (*shared.get(address, ()), pk)
    return shared
