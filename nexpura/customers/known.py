"""What the book holds about the rows of one batch, and which customer a row is about.

Loaded by a handful of questions; follows what the batch decides, so that a row sees what the rows before it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Max, QuerySet

from nexpura.audience.address import address_of
from nexpura.audience.fold import fold
from nexpura.customers import former, returning
from nexpura.customers.csv_rows import Row
from nexpura.customers.ledger import GRANTED, WITHDRAWN, Standing
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.tenants import erased
from nexpura.tenants.erased import Erased
from nexpura.tenants.models import Tenant


@dataclass(eq=False)
class Entry:
    """One customer of the batch, kept already or about to be, with what they said about marketing."""

    customer: Customer
    state: str
    granted_at: datetime | None = None
    withdrawn_at: datetime | None = None
    dates: set[datetime] = field(default_factory=set)

    @property
    def address(self) -> str:
        return address_of(self.customer.email)

    @property
    def names(self) -> tuple[str, str]:
        return fold(self.customer.first_name), fold(self.customer.last_name)


class Book:
    """The customers a batch may be about, found by external id, by address, or by name where there is neither."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._by_external: dict[str, Entry] = {}
        self._by_former: dict[str, Entry] = {}
        self._by_address: dict[str, list[Entry]] = {}
        self._by_names: dict[tuple[str, tuple[str, str]], list[Entry]] = {}
        self._withdrawn: dict[str, datetime] = {}
        self._erased: dict[str, Erased] = {}

    @classmethod
    def load(cls, tenant: Tenant, rows: Sequence[Row]) -> Book:
        """Load and lock the customers whom the rows may be about, and their consent."""
        book = cls()
        customers = Customer.objects.filter(tenant=tenant).select_for_update(no_key=True).order_by("id")
        numbers = {row.external_id for row in rows if row.external_id}
        merged = former.by_number(tenant, numbers)
        book._take(customers.filter(external_id__in=numbers))
        book._take(customers.filter(pk__in=merged.values()))
        book._by_former = {number: book._entries[pk] for number, pk in merged.items()}
        addresses = {row.address for row in rows} | {entry.address for entry in book._entries.values()}
        addresses.discard("")
        book._take(customers.filter(address__in=addresses))
        nameless = [row for row in rows if not (row.external_id or row.address)]
        book._take(
            customers.filter(
                address="",
                last_key__in={fold(row.last_name) for row in nameless},
                first_key__in={fold(row.first_name) for row in nameless},
            )
        )
        book._recall(tenant, addresses)
        known = [mark for row in rows for mark in _marks(row)]
        known += [mark for entry in book._entries.values() for mark in returning.marks_of(entry.customer)]
        book._erased = erased.among(tenant.pk, known)
        return book

    def match(self, row: Row) -> tuple[Entry | None, str]:
        """Return the customer a row is about, or None with why a new one is made although some look like it.

        By external id, or one that a record had before it was merged; else by the address, if one customer holds
        it whose name does not conflict, or one of several with the very same name; else, without either, by the
        same name and phone.
        """
        known = self._by_external.get(row.external_id) or self._by_former.get(row.external_id)
        if known:
            return known, ""
        if not row.address and row.external_id:
            return None, ""
        names = (fold(row.first_name), fold(row.last_name))
        twins = [entry for entry in self._by_names.get((row.address, names), []) if _same_id(row, entry)]
        if not row.address:
            return next((entry for entry in twins if entry.customer.phone == row.phone), None), ""
        if twins:
            return twins[0], ""
        holders = self._by_address.get(row.address, [])
        if len(holders) == 1 and _same_id(row, holders[0]) and not _conflict(names, holders[0].names):
            return holders[0], ""
        if not holders:
            return None, ""
        return None, f"a new customer, who shares this address with {len(holders)} other(s)"

    def by_former_number(self, row: Row) -> bool:
        """Tell whether the row is about a record that was merged into the customer it is matched to."""
        return row.external_id in self._by_former and row.external_id not in self._by_external

    def erased_at(self, row: Row, entry: Entry | None) -> datetime | None:
        """Return when the person a row is about was erased; None if they were not, or have come back since.

        `entry` is the customer found for the row: it is they who count, unless the row would give them an address or a
        number that somebody was erased with.
        """
        if not self._erased:
            return None
        held = set(returning.marks_of(entry.customer)) if entry else set()
        found = [self._erased[mark].at for mark in _marks(row) if mark in self._erased and mark not in held]
        return max(found, default=None)

    def add(self, customer: Customer) -> Entry:
        """Take in a customer who is about to be kept."""
        entry = Entry(customer, customer.consent_state)
        self._index(entry)
        return entry

    def update(self, entry: Entry, fields: dict[str, Any]) -> bool:
        """Bring a customer's fields up to date; tell whether any of them changed."""
        customer = entry.customer
        differing = {name: value for name, value in fields.items() if getattr(customer, name) != value}
        if differing:
            self._unindex(entry)
            for name, value in differing.items():
                setattr(customer, name, value)
            self._index(entry)
            if entry.withdrawn_at and entry.address:
                self._withdrawn[entry.address] = _later(self._withdrawn.get(entry.address), entry.withdrawn_at)
        return bool(differing)

    def standing(self, entry: Entry) -> Standing:
        """Return what is held about the customer, including withdrawals for their address (B4) and erasures (B11)."""
        times = [entry.withdrawn_at, self._withdrawn.get(entry.address)]
        times += returning.noes(self._erased, returning.marks_of(entry.customer)) if self._erased else []
        return Standing(
            state=entry.state,
            granted_at=entry.granted_at,
            withdrawn_at=max((time for time in times if time), default=None),
            dates=frozenset(entry.dates),
        )

    def learn(self, entry: Entry, state: str, effective_at: datetime, claimed_at: datetime | None) -> None:
        """Take in one consent event of a customer."""
        if state == GRANTED:
            entry.granted_at = _later(entry.granted_at, effective_at)
            entry.dates.update(time for time in (effective_at, claimed_at) if time)
        else:
            entry.withdrawn_at = _later(entry.withdrawn_at, effective_at)
            if entry.address:
                self._withdrawn[entry.address] = _later(self._withdrawn.get(entry.address), effective_at)
        withdrawn = entry.withdrawn_at and (not entry.granted_at or entry.withdrawn_at >= entry.granted_at)
        entry.state = WITHDRAWN if withdrawn else GRANTED

    def _take(self, customers: QuerySet[Customer]) -> None:
        for customer in customers:
            if customer.pk not in self._entries:
                self._entries[customer.pk] = entry = Entry(customer, customer.consent_state)
                self._index(entry)

    def _recall(self, tenant: Tenant, addresses: Iterable[str]) -> None:
        events = ConsentEvent.objects.filter(tenant=tenant)
        of_customers = events.filter(customer_id__in=list(self._entries))
        for pk, *event in of_customers.values_list("customer_id", "state", "effective_at", "claimed_at"):
            self.learn(self._entries[pk], *event)
        of_addresses = events.filter(state=WITHDRAWN, address__in=list(addresses))
        for address, newest in of_addresses.values_list("address").annotate(newest=Max("effective_at")):
            self._withdrawn[address] = _later(self._withdrawn.get(address), newest)

    def _index(self, entry: Entry) -> None:
        if entry.customer.external_id:
            self._by_external[entry.customer.external_id] = entry
        self._by_address.setdefault(entry.address, []).append(entry)
        self._by_names.setdefault((entry.address, entry.names), []).append(entry)

    def _unindex(self, entry: Entry) -> None:
        self._by_address[entry.address].remove(entry)
        self._by_names[(entry.address, entry.names)].remove(entry)


def _marks(row: Row) -> list[str]:
    return returning.marks(
        email=row.email,
        external_id=row.external_id,
        first_name=row.first_name,
        last_name=row.last_name,
        phone=row.phone,
    )


def _later(one: datetime | None, other: datetime) -> datetime:
    return max(one, other) if one else other


def _same_id(row: Row, entry: Entry) -> bool:
    """Tell whether the external ids allow that the row is about this customer: not if both are there and differ."""
    return not (row.external_id and entry.customer.external_id)


def _conflict(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return any(mine and theirs and mine != theirs for mine, theirs in zip(one, other, strict=True))
