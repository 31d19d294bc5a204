"""What the book holds about the rows of one batch, and which customer a row is about.

Loaded by a handful of questions; follows what the batch decides, so that a row sees what the rows before it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from nexpura.audience.address import address_of
from nexpura.audience.fold import fold
from nexpura.customers import former, returning
from nexpura.customers.csv_rows import Row
from nexpura.customers.ledger import GRANTED, WITHDRAWN, Standing
from nexpura.customers.models import ConsentState
from nexpura.tenants import erased
from nexpura.tenants.erased import Erased
from nexpura.tenants.models import Tenant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(eq=False, slots=True)
class Entry:
    """One customer of the batch, kept already or about to be (`pk` is 0), with what they said about marketing.

    The fields a file can say something about; a model instance for each of a million rows takes longer than all else.
    """

    pk: int = 0
    external_id: str | None = None
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    tags: list[str] = field(default_factory=list)
    state: str = ConsentState.NEVER.value
    address: str = ""
    names: tuple[str, str] = ("", "")
    granted_at: datetime | None = None
    withdrawn_at: datetime | None = None
    dates: set[datetime] = field(default_factory=set)

    def take(self, fields: dict[str, Any]) -> None:
        """Hold these values from now on."""
        for name, value in fields.items():
            setattr(self, name, value)
        self.address = address_of(self.email)
        self.names = (fold(self.first_name), fold(self.last_name))

    def marks(self) -> list[str]:
        """Return what this customer would be recognised by after an erasure."""
        return returning.marks(
            email=self.email,
            external_id=self.external_id,
            first_name=self.first_name,
            last_name=self.last_name,
            phone=self.phone,
        )


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
        numbers = {row.external_id for row in rows if row.external_id}
        addresses = {row.address for row in rows}
        addresses.discard("")
        merged = former.by_number(tenant, numbers)
        book._take(
            tenant,
            "external_id = ANY(%s) OR address = ANY(%s) OR id = ANY(%s)",
            [list(numbers), list(addresses), [*merged.values()]],
        )
        book._by_former = {number: book._entries[pk] for number, pk in merged.items()}
        others = {entry.address for entry in book._entries.values()} - addresses - {""}
        if others:
            book._take(tenant, "address = ANY(%s)", [list(others)])
        nameless = [row for row in rows if not (row.external_id or row.address)]
        if nameless:
            keys = [[*{row.names[place] for row in nameless}] for place in (0, 1)]
            book._take(tenant, "address = '' AND first_key = ANY(%s) AND last_key = ANY(%s)", keys)
        book._recall(tenant, addresses | others)
        book._erased = erased.among(tenant.pk, book._marks(rows))
        return book

    def _marks(self, rows: Sequence[Row]) -> Iterator[str]:
        for row in rows:
            yield from _marks(row)
        for entry in self._entries.values():
            yield from entry.marks()

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
        names = row.names
        twins = [entry for entry in self._by_names.get((row.address, names), ()) if _same_id(row, entry)]
        if not row.address:
            return next((entry for entry in twins if entry.phone == row.phone), None), ""
        if twins:
            return twins[0], ""
        holders = self._by_address.get(row.address, ())
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
        held = set(entry.marks()) if entry else set()
        found = [self._erased[mark].at for mark in _marks(row) if mark in self._erased and mark not in held]
        return max(found, default=None)

    def add(self, row: Row) -> Entry:
        """Take in a customer who is about to be kept: whom the row says."""
        entry = Entry(
            external_id=row.external_id or None,
            first_name=row.first_name,
            last_name=row.last_name,
            email=row.email,
            phone=row.phone,
            tags=list(row.tags),
            address=row.address,
            names=row.names,
        )
        self._index(entry)
        return entry

    def update(self, entry: Entry, fields: dict[str, Any]) -> None:
        """Bring a customer's fields up to date."""
        self._unindex(entry)
        entry.take(fields)
        self._index(entry)
        if entry.withdrawn_at and entry.address:
            self._withdrawn[entry.address] = _later(self._withdrawn.get(entry.address), entry.withdrawn_at)

    def standing(self, entry: Entry) -> Standing:
        """Return what is held about the customer, including withdrawals for their address (B4) and erasures (B11)."""
        times = [entry.withdrawn_at, self._withdrawn.get(entry.address)]
        times += returning.noes(self._erased, entry.marks()) if self._erased else []
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

    def _take(self, tenant: Tenant, condition: str, params: list[list[Any]]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_HOLD.format(condition), [tenant.pk, *params])
            for *fields, first_key, last_key in cursor.fetchall():
                entry = Entry(*fields)
                entry.names = (first_key, last_key)
                if entry.pk not in self._entries:
                    self._entries[entry.pk] = entry
                    self._index(entry)

    def _recall(self, tenant: Tenant, addresses: Iterable[str]) -> None:
        with connection.cursor() as cursor:
            if self._entries:
                cursor.execute(_EVENTS, [tenant.pk, list(self._entries)])
                for pk, state, effective_at, claimed_at in cursor.fetchall():
                    self.learn(self._entries[pk], state, _moment(effective_at), claimed_at and _moment(claimed_at))
            cursor.execute(_WITHDRAWN, [tenant.pk, list(addresses)])
            for address, newest in cursor.fetchall():
                self._withdrawn[address] = _later(self._withdrawn.get(address), _moment(newest))

    def _index(self, entry: Entry) -> None:
        if entry.external_id:
            self._by_external[entry.external_id] = entry
        self._by_address.setdefault(entry.address, []).append(entry)
        self._by_names.setdefault((entry.address, entry.names), []).append(entry)

    def _unindex(self, entry: Entry) -> None:
        self._by_address[entry.address].remove(entry)
        self._by_names[(entry.address, entry.names)].remove(entry)


_HOLD = """
    SELECT id, external_id, first_name, last_name, email, phone, tags, consent_state, address, first_key, last_key
    FROM customers_customer WHERE tenant_id = %s AND ({}) ORDER BY id FOR NO KEY UPDATE
"""
_EVENTS = """
    SELECT customer_id, state, (extract(epoch FROM effective_at) * 1000000)::bigint,
           (extract(epoch FROM claimed_at) * 1000000)::bigint
    FROM customers_consentevent WHERE tenant_id = %s AND customer_id = ANY(%s)
"""
_WITHDRAWN = """
    SELECT address, (extract(epoch FROM max(effective_at)) * 1000000)::bigint
    FROM customers_consentevent WHERE tenant_id = %s AND state = 'withdrawn' AND address = ANY(%s) GROUP BY address
"""


def _moment(microseconds: int) -> datetime:
    """Return a moment that came as a number: to read a million dates takes longer than to ask for them."""
    return EPOCH + timedelta(microseconds=microseconds)


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
    return not (row.external_id and entry.external_id)


def _conflict(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return any(mine and theirs and mine != theirs for mine, theirs in zip(one, other, strict=True))
