"""What happens in the book of a shop, taken down beside it as what was said (`truth`)."""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.exceptions import ValidationError
from django.db import connection

from mailchimp_emulator.serve import Running
from nexpura.customers import intake, ledger
from nexpura.customers.importing import import_customers
from nexpura.customers.merging import Merged
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.sync import erasures, merge
from nexpura.sync.models import Erasure
from nexpura.sync.store.erase import erasing
from nexpura.tenants import erased
from nexpura.tenants.erased import by_address
from tests.sync.conftest import CLERK
from tests.sync.erasing import tables_that_name
from tests.sync.story import Story
from tests.sync.truth import CHOSEN, Person, address_of
from tests.sync.witness import promised

Row = dict[str, Any]
STATE = {True: "granted", False: "withdrawn"}


class Book(Story):
    """A shop and its customers."""

    def __init__(self, emulator: Running, tell: Callable[[str], None]) -> None:
        super().__init__(emulator, tell)
        self._names = itertools.count(1)
        self._last_event = ConsentEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0

    def arrives(self, email: str, first: str, last: str, phone: str, tags: Sequence[str]) -> Person:
        """A customer is written down."""
        self.tick()
        name = self._new_name()
        customer = Customer.objects.create(
            tenant=self.tenant, external_id=name, email=email, first_name=first, last_name=last,
            phone=phone, tags=list(tags),
        )  # fmt: skip
        person = Person(customer.pk, name, email, first, last, phone, tuple(tags))
        self.truth.keep(person)
        self.says(f"{person.name} arrives: {email!r} {first[:9]!r} {last[:9]!r} {phone!r} {tags}")
        return person

    def _new_name(self) -> str:
        return f"(C{next(self._names)})"

    def speaks(self, person: Person, *, yes: bool, when: str) -> None:
        """The person says yes or no to somebody in the shop."""
        self.tick()
        claimed_at = self.date(when, person)
        self.says(f"{person.name} says {'yes' if yes else 'no'} here, dated {when}")
        customer = Customer.objects.get(pk=person.id)
        ledger.record(customer, CLERK, granted=yes, source="profile", claimed_at=claimed_at)
        held = claimed_at is not None and self.truth.holds(person.id, yes=yes, claimed_at=claimed_at)
        needed = not held and (not yes or not self.truth.has_said_yes(person.id))
        self._taken_down(person, self.new_events(), yes=yes, claimed_at=claimed_at, needed=needed, allowed=True)

    def is_said_to_have_said(self, person: Person, *, yes: bool, when: str) -> None:
        """Another program says what the person said."""
        self.tick()
        claimed_at = self.date(when, person)
        self.says(f"another program says that {person.name} said {'yes' if yes else 'no'}, dated {when}")
        customer = Customer.objects.get(pk=person.id)
        ledger.record_from_outside(customer, CLERK, granted=yes, source="api", claimed_at=claimed_at)
        self._weighed(person, self.new_events(), yes=yes, claimed_at=claimed_at)

    def imports(self, rows: Sequence[Row]) -> None:
        """A file of customers is imported: each row with `who` (None: somebody new), fields and consent."""
        self.tick()
        lines = [self._line(row) for row in rows]
        self.says("a file is imported: " + "; ".join(", ".join(text[:32] for text in line.values()) for line in lines))
        columns = (
            "external_id",
            "first_name",
            "last_name",
            "email",
            "phone",
            "marketing_consent",
            "consent_at",
            "tags",
        )
        with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(lines)
            file.flush()
            import_customers(self.tenant, CLERK, Path(file.name))
        events = self.new_events()
        for line in lines:
            if self._names_nobody(line) or self._brings_nobody_back(line):
                continue
            person = self._brought_up_to_date(line)
            if line["marketing_consent"]:
                claimed_at = datetime.fromisoformat(line["consent_at"]) if line["consent_at"] else None
                self._weighed(person, events, yes=line["marketing_consent"] == "yes", claimed_at=claimed_at)
        promised(not events, "an import records what its file says", left=events)

    def _names_nobody(self, line: dict[str, str]) -> bool:
        """A row without name, address and phone makes nobody; of somebody known it says nothing new."""
        blank = not any(line[name].strip() for name in ("first_name", "last_name", "email", "phone"))
        return blank and not self.truth.named(line["external_id"])

    def _brings_nobody_back(self, line: dict[str, str]) -> bool:
        """Whoever was erased comes back by a yes with a date of its own since then, and by nothing else (B11)."""
        erased_at = self.truth.comes_back(line["external_id"], address_of(line["email"]))
        dated = datetime.fromisoformat(line["consent_at"]) if line["consent_at"] else None
        new_yes = line["marketing_consent"] == "yes" and dated and erased_at and dated > erased_at
        return erased_at is not None and not new_yes

    def _line(self, row: Row) -> dict[str, str]:
        names = [*(person.name for person in self.truth.people.values()), *self.truth.former]
        names += [name for name in self.truth.erased if "@" not in name]
        name = self._new_name() if row["who"] is None or not names else names[row["who"] % len(names)]
        asked = self.truth.named(name) or Person(0, name)
        date = self.date(row["when"], asked) if row["says"] and row["when"] != "next year" else None
        return {
            "external_id": name, "first_name": row["first"], "last_name": row["last"], "email": row["email"].strip(),
            "phone": "", "marketing_consent": row["says"], "consent_at": date.isoformat() if date else "",
            "tags": ";".join(row["tags"]),
        }  # fmt: skip

    def _brought_up_to_date(self, line: dict[str, str]) -> Person:
        """Blank fields leave what the book has; tags are added. Under a former name blanks are filled, no more."""
        before = self.truth.named(line["external_id"])
        if before is None:
            customer = Customer.objects.get(tenant=self.tenant, external_id=line["external_id"])
            before = Person(customer.pk, line["external_id"])
        said = {
            "email": line["email"],
            "first_name": line["first_name"].strip(),
            "last_name": line["last_name"].strip(),
        }
        tags = intake.unique([*before.tags, *intake.tags_of(line["tags"])])
        self.truth.keep(before)
        is_former = line["external_id"] in self.truth.former
        fields = {name: value for name, value in said.items() if value and not (is_former and getattr(before, name))}
        self.truth.change(before.id, tags=tags, **fields)
        return self.truth.people[before.id]

    def _weighed(self, person: Person, events: list[ConsentEvent], *, yes: bool, claimed_at: datetime | None) -> None:
        """What comes from outside counts, or does not (B1a)."""
        if yes:
            allowed = self.truth.yes_from_outside_counts(person.id, claimed_at)
            needed = allowed and not self.truth.words and not self.truth.was_shut(person.id)
        else:
            needed = allowed = self.truth.no_from_outside_counts(person.id, claimed_at)
        self._taken_down(person, events, yes=yes, claimed_at=claimed_at, needed=needed, allowed=allowed)

    def _taken_down(
        self, person: Person, events: list[ConsentEvent], *, yes: bool, claimed_at: datetime | None, needed: bool,
        allowed: bool,
    ) -> None:  # fmt: skip
        """Hold what the ledger took down against what was said, and take it into the truth."""
        state = "granted" if yes else "withdrawn"
        found = [event for event in events if (event.customer_id, event.state) == (person.id, state)
                 and event.claimed_at == claimed_at]  # fmt: skip
        told = {"person": person.name, "yes": yes, "claimed": claimed_at, "words": [str(w) for w in self.truth.words]}
        promised(found or not needed, "every word that counts is in the ledger (B1)", **told)
        promised(allowed or not found, "no word from outside counts that may not (B1a)", **told)
        if found:
            events.remove(found[0])
            at = min(claimed_at or self.present, self.present)
            promised(found[0].effective_at == at, "a word counts at the earlier of claimed and recorded (B1a)", **told)
            promised(found[0].address == person.address, "a word is kept with the address held", **told)
            self.truth.said(person.id, yes=yes, at=at, claimed_at=claimed_at)

    def new_events(self) -> list[ConsentEvent]:
        events = list(ConsentEvent.objects.filter(tenant=self.tenant, id__gt=self._last_event).order_by("id"))
        self._last_event = events[-1].pk if events else self._last_event
        return events

    def moves(self, person: Person, email: str) -> None:
        """The person has another address now; written by plain SQL, as other programs do."""
        self._sql(person, email=email)

    def swap(self, one: Person, other: Person) -> None:
        self.tick()
        self.says(f"{one.name} and {other.name} swap addresses")
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE customers_customer SET email = CASE id WHEN %s THEN %s ELSE %s END WHERE id IN (%s, %s)",
                [one.id, other.email, one.email, one.id, other.id],
            )
        self.truth.change(one.id, email=other.email)
        self.truth.change(other.id, email=one.email)

    def is_renamed(self, person: Person, first: str, last: str, phone: str) -> None:
        self._sql(person, first_name=first, last_name=last, phone=phone)

    def is_tagged(self, person: Person, tags: Sequence[str]) -> None:
        self._sql(person, tags=tuple(tags))

    def _sql(self, person: Person, **fields: Any) -> None:
        self.tick()
        self.says(
            f"{person.name} becomes " + ", ".join(f"{name} {str(value)[:30]!r}" for name, value in fields.items())
        )
        stored = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        Customer.objects.filter(pk=person.id).update(**stored)
        self.truth.change(person.id, **fields)

    def is_edited(self, person: Person, email: str, first: str, last: str, phone: str, tags: Sequence[str]) -> None:
        """Somebody fills in the customer's form, which refuses what cannot be."""
        self.tick()
        try:
            cleaned = intake.validate(
                self.tenant, first_name=first, last_name=last, email=email, phone=phone, tags=",".join(tags),
                external_id=person.name,
            )  # fmt: skip
        except ValidationError:
            return
        self.says(f"{person.name} is edited: {cleaned.email!r} {cleaned.first_name[:9]!r} {cleaned.tags}")
        refused = False
        try:
            intake.edit(Customer.objects.get(pk=person.id), CLERK, cleaned)
        except ValidationError:
            refused = True
        address = address_of(cleaned.email)
        taken = address != person.address and address in self.truth.erased
        promised(refused == taken, "nobody takes on the address of somebody erased unasked (B11)", person=person)
        if refused:
            return
        self.truth.change(
            person.id, email=cleaned.email, first_name=cleaned.first_name, last_name=cleaned.last_name,
            phone=cleaned.phone, tags=cleaned.tags,
        )  # fmt: skip

    def merges(self, kept: Person, other: Person, from_other: Set[str]) -> None:
        """Two records turn out to be of one person."""
        self.tick()
        self.says(f"{other.name} is merged into {kept.name}, who takes over {sorted(from_other)}")
        answer = merge.merge(self.tenant, CLERK, kept_id=kept.id, other_id=other.id, from_other=from_other)
        assert isinstance(answer, Merged), answer
        self.truth.become_one(kept.id, other.id, from_other)
        self.book_is_as_told()

    def erases(self, person: Person, choice: str) -> Erasure:
        """The person asks to be forgotten: from now on nothing here names them (B11)."""
        self.tick()
        self.says(f"{person.name} is erased, the member: {choice}")
        had, alone = self.truth.had[person.id] - {""}, self.truth.only_theirs(person.id)
        names = {person.name, *(name for name, who in self.truth.former.items() if who == person.id)}
        shown = self._records_show(person)
        hold = erasing._hold
        with mock.patch.object(erasing, "_hold", lambda *who: (hold(*who), self.present)[1]):
            erasure = erasures.erase(self.tenant, CLERK, person.id, choice)
        forgotten = shown | {address for address in had - shown if erased.among(self.tenant.pk, [by_address(address)])}
        self.truth.is_erased(person.id, self.present, forgotten)
        self.book_is_as_told()
        self.nobody_is_named(names | (alone & shown))
        return erasure

    def _records_show(self, person: Person) -> set[str]:
        """The addresses that the person is known to have had: the present one, and those they said something for."""
        return ({person.address} | self.truth.said_at(person.id)) - {""}

    def nobody_is_named(self, words: Set[str]) -> None:
        tables = tables_that_name(*words, tenant_id=self.tenant.pk)
        promised(not tables, "after an erasure no table names the person (B11)", words=words, tables=tables)

    def book_is_as_told(self) -> None:
        """The ledger holds every word, the book everybody with what they said last, and nothing else."""
        events = ConsentEvent.objects.filter(tenant=self.tenant)
        held = Counter((event.customer_id, event.state, event.effective_at, event.address) for event in events)
        said = Counter((word.person, STATE[word.yes], word.at, word.address) for word in self.truth.words)
        told = {"lost": list(said - held), "more": list(held - said)}
        promised(
            held == said, "every word counts for whoever said it, and for whom they were merged into (B1, B4)", **told
        )
        book = {one.pk: one for one in Customer.objects.filter(tenant=self.tenant)}
        promised(book.keys() == self.truth.people.keys(), "the book holds whom it should", book=[*book])
        for person in self.truth.people.values():
            yes = self.truth.has_said_yes(person.id)
            state = STATE[yes] if self.truth.has_spoken(person.id) else "never"
            kept = book[person.id]
            told = {"person": person.name, "state": kept.consent_state}
            promised(
                (kept.consent_state, kept.marketing_consent) == (state, yes), "the newest word decides (B1)", **told
            )
            fields = {name: getattr(kept, name) for name in CHOSEN} | {"tags": tuple(kept.tags)}
            differing = {name: value for name, value in fields.items() if value != getattr(person, name)}
            promised(not differing, "the book keeps what was written down", person=person, differing=differing)
