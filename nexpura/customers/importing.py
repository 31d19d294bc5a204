"""A file of customers into the book: all of it or, if anything in it is unreadable, nothing.

    file -> csv_rows.read (once to check, once to import) -> batches -> Book -> entries, events -> bulk -> Outcome

A batch asks the database a handful of questions for a thousand rows; each row is then weighed against what is
held, in the order of the file and including what the rows before it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from django.db import transaction
from django.utils import timezone

from nexpura.audience.address import address_of
from nexpura.customers import bulk, csv_rows, ledger, normalise, returning
from nexpura.customers.csv_rows import Problem, Row
from nexpura.customers.intake import unique
from nexpura.customers.known import Book, Entry
from nexpura.customers.ledger import GRANTED, WITHDRAWN
from nexpura.customers.models import ConsentSource
from nexpura.tenants import audit, statistics
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

BATCH = statistics.EVERY
MOST_NOTES = 1_000
SOURCES = {source.value for source in ConsentSource} - {ConsentSource.MAILCHIMP.value, ConsentSource.API.value}
FIELDS = ("external_id", "first_name", "last_name", "email", "phone")
"""What a row says about a customer, besides tags and consent."""


@dataclass
class Outcome:
    """What an import did, or in a dry run would do."""

    dry_run: bool
    extra_columns: tuple[str, ...] = ()
    rows: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    left_out: int = 0
    granted: int = 0
    withdrawn: int = 0
    conflicts: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes_not_shown: int = 0

    def note(self, kept: list[Problem], problem: Problem) -> None:
        """Keep a note; of a file with thousands of them the first thousand of each kind."""
        if len(kept) < MOST_NOTES:
            kept.append(problem)
        else:
            self.notes_not_shown += 1

    def counts(self) -> dict[str, int]:
        names = ("rows", "created", "changed", "unchanged", "left_out", "granted", "withdrawn")
        return {name: getattr(self, name) for name in names}

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            **self.counts(),
            "conflicts": [{"line": note.line, "reason": note.message} for note in self.conflicts],
            "warnings": [{"line": note.line, "column": note.column, "message": note.message} for note in self.warnings],
            "notes_not_shown": self.notes_not_shown,
            "extra_columns": list(self.extra_columns),
            "dry_run": self.dry_run,
        }


def import_customers(
    tenant: Tenant,
    actor: Actor,
    path: Path,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Outcome:
    """Bring the book to what the file says, in one transaction.

    A dry run does all of it and takes it back. Raises `csv_rows.Refused` before anything is written if the file
    cannot be read from front to back. Blank fields leave what the book has; tags are added, never taken off.
    """
    now = timezone.now()
    outcome = Outcome(dry_run, csv_rows.read_header(path).extra)
    for _ in csv_rows.read(path, zone=tenant.zone, now=now):
        pass
    with transaction.atomic():
        bulk.prepare()
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # one import of a tenant at a time
        rows = csv_rows.read(path, zone=tenant.zone, now=now)
        with ThreadPoolExecutor(1, thread_name_prefix="reading") as reading:
            batch = _Batch.of_next(rows, tenant, actor, outcome, now)
            while batch.rows:
                batch.weigh()
                coming = reading.submit(_Batch.of_next, rows, tenant, actor, outcome, now)  # while the database writes
                batch.write()
                statistics.take()  # or the next batch is looked up as if the book were as small as it was
                progress(outcome.rows)
                batch = coming.result()
        notes = {"conflicts": len(outcome.conflicts), "warnings": len(outcome.warnings)}
        audit.record(tenant, actor, "customers.imported", after={**outcome.counts(), **notes})
        if dry_run:
            transaction.set_rollback(True)
    outcome.warnings.sort(key=lambda problem: problem.line)
    return outcome


class _Batch:
    """Some rows of the file, weighed one by one and written together."""

    def __init__(self, tenant: Tenant, actor: Actor, outcome: Outcome, now: datetime) -> None:
        self.tenant, self.actor, self.outcome, self.now = tenant, actor, outcome, now
        self.rows: list[Row] = []
        self.added: list[Entry] = []
        self.changed: dict[int, Entry] = {}
        self.events: list[bulk.Event] = []

    @classmethod
    def of_next(cls, rows: Iterator[Row], tenant: Tenant, actor: Actor, outcome: Outcome, now: datetime) -> Self:
        """Take the next rows of the file; asks the database nothing."""
        batch = cls(tenant, actor, outcome, now)
        batch.rows = [batch._as_kept(row) for row in itertools.islice(rows, BATCH)]
        return batch

    def weigh(self) -> None:
        """Tell what each row brings that the book does not hold."""
        book = Book.load(self.tenant, self.rows)
        for row in self.rows:
            self.outcome.rows += 1
            entry = self._customer(book, row)
            if entry and row.granted is not None:
                self._consent(book, row, entry)

    def _as_kept(self, row: Row) -> Row:
        """Return the row with address and phone as the book keeps them; what is unusable stays as written."""
        email = normalise.email_as_kept(row.email)
        wrong = normalise.email_problem(email) if email else None
        if wrong:
            self._warn(row, "email", f"kept as it is written, but it will not reach Mailchimp: {wrong}")
        phone = normalise.phone_as_kept(row.phone, self.tenant.country) if row.phone else ""
        if phone is None:
            self._warn(row, "phone", f"kept as it is written: {normalise.phone_problem(self.tenant.country)}")
            phone = row.phone
        if (email, phone) == (row.email, row.phone):
            return row
        return row._replace(email=email, phone=phone, address=address_of(email))

    def _warn(self, row: Row, column: str, message: str) -> None:
        self.outcome.note(self.outcome.warnings, Problem(row.line, column, message))

    def _customer(self, book: Book, row: Row) -> Entry | None:
        """Find the row's customer and bring them up to date, or make a new one; None for a row about nobody."""
        entry, why_new = book.match(row)
        erased_at = book.erased_at(row, entry)
        if erased_at and not _is_new_yes(row, erased_at):
            self._leave_out_erased(row, erased_at)
            return None
        if entry is None:
            return self._new(book, row, why_new)
        fields = _differing(row, entry)
        if fields and book.by_former_number(row):
            fields = self._of_a_merged_record(row, fields, entry)
        if not fields:
            self.outcome.unchanged += 1
            return entry
        book.update(entry, fields)
        self.outcome.changed += 1
        if entry.pk:
            self.changed[entry.pk] = entry
        return entry

    def _of_a_merged_record(self, row: Row, fields: dict[str, Any], entry: Entry) -> dict[str, Any]:
        """A row under a former number adds tags and fills blanks: what stays was chosen when the two were merged."""
        added = {name: value for name, value in fields.items() if name == "tags" or not getattr(entry, name)}
        if fields.keys() - added.keys() - {"external_id"}:
            self._warn(row, "external_id", f"the former number of customer {entry.pk}, whose details stay as merged")
        return added

    def _leave_out_erased(self, row: Row, erased_at: datetime) -> None:
        """Leave out a row about somebody who was erased here, of which the file knows nothing."""
        self.outcome.left_out += 1
        day = returning.on_day(erased_at, self.tenant)
        self._warn(row, "", f"left out: this person was erased on {day}; a new dated consent is needed")

    def _new(self, book: Book, row: Row, why_new: str) -> Entry | None:
        if not (row.first_name or row.last_name or row.email or row.phone):
            self.outcome.left_out += 1
            self._warn(row, "first_name", "left out: there is no name, e-mail or phone in this line")
            return None
        if why_new:
            self._warn(row, "email", why_new)
        entry = book.add(row)
        self.added.append(entry)
        self.outcome.created += 1
        return entry

    def _consent(self, book: Book, row: Row, entry: Entry) -> None:
        refused = ledger.weigh(book.standing(entry), granted=bool(row.granted), claimed_at=row.claimed_at, now=self.now)
        if isinstance(refused, ledger.Conflict):
            self.outcome.note(self.outcome.conflicts, Problem(row.line, "marketing_consent", refused.reason))
        if refused:
            return
        state = (GRANTED if row.granted else WITHDRAWN).value
        self.events.append(
            bulk.Event(entry, state, row.claimed_at, self._source(row), row.wording, address=entry.address)
        )
        book.learn(entry, state, min(row.claimed_at or self.now, self.now), row.claimed_at)
        if row.granted:
            self.outcome.granted += 1
        else:
            self.outcome.withdrawn += 1

    def _source(self, row: Row) -> str:
        if row.source and row.source not in SOURCES:
            known = ", ".join(sorted(SOURCES))
            self._warn(row, "consent_source", f"recorded as import; the sources we know are {known}")
        return row.source if row.source in SOURCES else ConsentSource.IMPORT.value

    def write(self) -> None:
        """Write what was weighed; the ledger's trigger brings consent states along."""
        bulk.add_customers(self.tenant, self.added, self.now)
        bulk.change_customers(self.tenant, [*self.changed.values()], self.now)
        bulk.add_events(self.tenant, self.actor, self.events)


def _is_new_yes(row: Row, erased_at: datetime) -> bool:
    """Tell whether a row brings an erased person back: by a yes with a date of its own, newer than the erasure."""
    return bool(row.granted and row.claimed_at and row.claimed_at > erased_at)


def _differing(row: Row, entry: Entry) -> dict[str, Any]:
    """Return what the row has to say about the customer's fields and they do not hold yet; a blank says nothing."""
    said = {name: value for name in FIELDS if (value := getattr(row, name)) and value != getattr(entry, name)}
    if row.tags and (tags := list(unique([*entry.tags, *row.tags]))) != entry.tags:
        said["tags"] = tags
    return said
