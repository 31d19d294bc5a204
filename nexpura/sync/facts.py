"""The book's side of a chunk of addresses, as the rules read it: a handful of queries, whatever the chunk's size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.member import UNKNOWN, KnownMember
from nexpura.customers.models import ConsentEvent, ConsentState, Customer
from nexpura.customers.normalise import email_problem
from nexpura.sync import models
from nexpura.sync.store.records import COLUMNS, known_from_row
from nexpura.tenants import erased
from nexpura.tenants.erased import Erased

Row = list[Any]
EMAIL, ID = 0, 1
"""Where they stand in the row of a customer."""


def load(tenant_id: int, marks: Mapping[str, int], *, absence_proven: bool) -> list[AddressFacts]:
    """Return the facts of each address of `marks` (address to the version of its mark), blank ones left out."""
    addresses = {address: version for address, version in marks.items() if address}
    customers = (
        Customer.objects.filter(tenant_id=tenant_id, address__any_of=addresses)
        .order_by("id")
        .values_list("address", "email", "id", "first_name", "last_name", "phone", "tags", "external_id")
    )
    holders: dict[str, list[Row]] = defaultdict(list)
    for address, *customer in customers:
        holders[address].append(customer)
    events = events_of({customer[ID] for held in holders.values() for customer in held}, tenant_id)
    withdrawals = _withdrawals(addresses, tenant_id)
    erased_there = erased.among(tenant_id, map(erased.by_address, holders))
    return [
        AddressFacts(
            address=address,
            customers=tuple(_customer_facts(customer, events[customer[ID]]) for customer in holders.get(address, ())),
            withdrawals=tuple(withdrawals[address]),
            problem=email_problem(address),
            absence_proven=absence_proven,
            version=version,
            email=holders[address][0][EMAIL].strip() if address in holders else address,
            no_before=_no_before(erased_there, address),
        )
        for address, version in addresses.items()
    ]


def known_members(tenant_id: int, audience_pk: int, addresses: Sequence[str]) -> dict[str, KnownMember]:
    """Return the mirror's view of each address; one never seen is `UNKNOWN`."""
    rows = models.KnownMember.objects.filter(
        tenant_id=tenant_id, audience_id=audience_pk, address__any_of=dict.fromkeys(addresses)
    )
    seen = {row.address: known_from_row(row) for row in rows.values_list("address", *COLUMNS, named=True)}
    return {address: seen.get(address, UNKNOWN) for address in addresses}


def _no_before(erased_there: Mapping[str, Erased], address: str) -> datetime | None:
    found = erased_there.get(erased.by_address(address))
    return found.no_before if found else None


def _customer_facts(customer: Row, events: Sequence[ConsentFact]) -> CustomerFacts:
    _, customer_id, first_name, last_name, phone, tags, external_id = customer
    return CustomerFacts(
        customer_id,
        first_name,
        last_name,
        phone if phone.startswith("+") else "",
        tuple(events),
        tuple(tags),
        external_id or "",
    )


def events_of(customer_ids: Set[int], tenant_id: int) -> dict[int, list[ConsentFact]]:
    """Return the customers' own events, by customer."""
    found: dict[int, list[ConsentFact]] = defaultdict(list)
    of_them = ConsentEvent.objects.filter(tenant_id=tenant_id, customer_id__any_of=customer_ids)
    for customer_id, *event in of_them.values_list("customer_id", *_EVENT):
        found[customer_id].append(_consent_fact(*event))
    return found


def _withdrawals(addresses: Mapping[str, int], tenant_id: int) -> dict[str, list[ConsentFact]]:
    found: dict[str, list[ConsentFact]] = defaultdict(list)
    there = ConsentEvent.objects.filter(tenant_id=tenant_id, address__any_of=addresses, state=ConsentState.WITHDRAWN)
    for event in there.values_list(*_EVENT):
        found[event[-1]].append(_consent_fact(*event))
    return found


_EVENT = ("id", "state", "effective_at", "ip", "address")


def _consent_fact(event_id: int, state: str, at: datetime, ip: str | None, address: str | None) -> ConsentFact:
    return ConsentFact(event_id, state == ConsentState.GRANTED, at, ip or "", address)
