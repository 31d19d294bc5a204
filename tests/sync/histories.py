"""One shop, its customers and its audience, as a history goes on: everything that can happen, and what must hold.

A `History` does things to the product and takes down beside it what was said (`truth`) and what Mailchimp saw
(`witness`). Time is a story too: the ledger's clock and Mailchimp's stand still until the history moves them, so
that what falls into one second, and what does not, is decided by the history and not by the speed of the machine.
"""

from __future__ import annotations

import csv
import itertools
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from mailchimp_emulator.serve import ControlError, Running
from nexpura.audience import plan
from nexpura.customers import intake, ledger
from nexpura.customers.importing import import_customers
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import Integration
from nexpura.sync import connect, runs, store
from nexpura.sync.clock import Clock
from nexpura.sync.models import KnownAudience, LoginLease, SyncRun
from nexpura.tenants.management.commands.migrate import as_owner
from nexpura.tenants.models import Tenant
from tests.sync import interruption
from tests.sync.conftest import AUDIENCE, CLERK, KEY
from tests.sync.interruption import Steps
from tests.sync.truth import WITHIN, Person, Truth, address_of
from tests.sync.witness import MAILABLE, Left, Witness, promised

Row = dict[str, Any]

GOOD = ("ada@inbox.example", "bea@inbox.example", "carl@post.example", "dora@post.example")
SPELLINGS = ("Ada@Inbox.example", " BEA@inbox.example ")
BAD = ("name@", "two words@inbox.example")
FAKE, TIRED = "foo@bar.com", "tired@inbox.example"
EMAILS = (*GOOD, *SPELLINGS, "", *BAD, FAKE, TIRED)
OUTSIDERS = ({"email_address": "own@post.example", "status": "subscribed", "merge_fields": {"FNAME": "Own"}},
             {"email_address": "gone@post.example", "status": "unsubscribed", "unsubscribed_by": "user"})  # fmt: skip
UNSENDABLE = {*BAD, FAKE, TIRED, ""}
PERMISSIONS = ({"id": "aaaaaaaaaa", "text": "E-mail"}, {"id": "bbbbbbbbbb", "text": "Post"})
_NAMES: list[Row] = [{"tag": "FNAME"}, {"tag": "LNAME"}]
FIELDS: Mapping[str, list[Row]] = {
    "usual": [*_NAMES, {"tag": "PHONE", "type": "phone"}],
    "american": [*_NAMES, {"tag": "PHONE", "type": "phone", "options": {"phone_format": "US"}}],
    "demanding": [{"tag": tag, "required": True} for tag in ("FNAME", "LNAME", "SHOE")],
    "bare": [{"tag": "FNAME"}],
}
MAPPINGS: Sequence[Mapping[str, str]] = (
    {},
    {"FNAME": "full_name"},
    {"FNAME": "first_name", "LNAME": "external_id", "NOWHERE": "phone"},
)
EVENTS = ("unsubscribe", "complaint", "hard_bounce", "profile", "confirm", "unsubscribe_admin", "archive", "merge",
          "delete_permanent")  # fmt: skip
"""What people and the merchant do. Changed addresses are not among it: what a no at the new one means for the old is
played by hand (`test_merge_and_sync`), and not modelled here."""
MOST_SYNCS = 5
"""After so many quiet syncs nothing is left to write."""

TALLY: Counter[str] = Counter()
"""What was played, over all histories of this process."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The audience a history begins with."""

    double_optin: bool = False
    permissions: bool = False
    fields: str = "usual"
    seeds: tuple[tuple[str, str, str], ...] = ()
    """Address, status and who unsubscribed it."""


class History:
    """One history under way."""

    def __init__(self, emulator: Running, opening: Opening, tell: Callable[[str], None] = lambda line: None) -> None:
        self.emulator, self.opening, self.story, self._tell = emulator, opening, [], tell
        number = next(_numbers)
        self.tenant = Tenant.objects.create(slug=f"shop-{number}", name=f"Shop {number}", country="AU")
        # Long ago, so that no date of the story lies in the future.
        self.present = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)
        self.connected = self.baseline_read = False
        self.truth = Truth()
        self._last_event = ConsentEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
        self._left_behind = False
        self._names = itertools.count(1)
        self._open_audience()
        self._tell_time()
        self.connects()

    def _open_audience(self) -> None:
        opening = self.opening
        seeds = [*OUTSIDERS]
        for email, status, by in opening.seeds:
            seeds.append(
                {"email_address": email, "status": status, "merge_fields": {"FNAME": "Old"}, "tags": ["theirs"]}
            )
            if status == "unsubscribed":
                seeds[-1]["unsubscribed_by"] = by
        audience = {
            "id": AUDIENCE, "name": "Newsletter", "members": seeds, "double_optin": opening.double_optin,
            "merge_fields": FIELDS[opening.fields], "marketing_permissions": [*PERMISSIONS] * opening.permissions,
        }  # fmt: skip
        users = [{"name": "owner", "role": "owner", "keys": [KEY]}]
        account = {"dc": "us14", "users": users, "lists": [audience], "throttled": [TIRED]}
        self.emulator.control("reset", {"accounts": [account], "now": self.present.isoformat()})
        self.witness = Witness(self.emulator, seeds, self.truth, double_optin=opening.double_optin)
        self.says(f"an audience, {opening}")

    # --- the story and its clocks ----------------------------------------------------------------

    def says(self, what: str) -> None:
        line = f"{self.present:%d %H:%M:%S.%f} {what}"
        self.story.append(line)
        self._tell(line)

    def passes(self, time: timedelta) -> None:
        self.present += time
        self.says(f"{time} pass")
        self._tell_time()

    def _tick(self) -> None:
        """Between any two things something passes, however little."""
        self.present += timedelta(milliseconds=7)
        self._tell_time()

    def _tell_time(self) -> None:
        self.second = self.present.replace(microsecond=0)
        self.emulator.control("clock", {"now": self.second.isoformat()})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE history_clock SET at = %s", [self.present])

    def date(self, when: str, person: Person) -> datetime | None:
        """The date that is claimed for a word; None: none is."""
        own = [word for word in self.truth.words if word.person == person.id and word.yes]
        match when:
            case "now":
                return self.present
            case "this second":
                return self.second
            case "an hour ago":
                return self.second - timedelta(hours=1)
            case "last month":
                return self.second - timedelta(days=30)
            case "as before" if own:
                return own[-1].claimed_at or own[-1].at
            case "next year":
                return self.present + timedelta(days=366)
            case _:
                return None

    def somebody(self, who: int) -> Person | None:
        people = list(self.truth.people.values())
        return people[who % len(people)] if people else None

    # --- the book --------------------------------------------------------------------------------

    def arrives(self, email: str, first: str, last: str, phone: str, tags: Sequence[str]) -> Person:
        """A customer is written down."""
        self._tick()
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
        return f"C{next(self._names)}"

    def speaks(self, person: Person, *, yes: bool, when: str) -> None:
        """The person says yes or no to somebody in the shop."""
        self._tick()
        claimed_at = self.date(when, person)
        self.says(f"{person.name} says {'yes' if yes else 'no'} here, dated {when}")
        customer = Customer.objects.get(pk=person.id)
        ledger.record(customer, CLERK, granted=yes, source="profile", claimed_at=claimed_at)
        held = claimed_at is not None and self.truth.holds(person.id, yes=yes, claimed_at=claimed_at)
        needed = not held and (not yes or not self.truth.has_said_yes(person.id))
        self._taken_down(person, self._new_events(), yes=yes, claimed_at=claimed_at, needed=needed, allowed=True)

    def is_said_to_have_said(self, person: Person, *, yes: bool, when: str) -> None:
        """Another program says what the person said."""
        self._tick()
        claimed_at = self.date(when, person)
        self.says(f"another program says that {person.name} said {'yes' if yes else 'no'}, dated {when}")
        customer = Customer.objects.get(pk=person.id)
        ledger.record_from_outside(customer, CLERK, granted=yes, source="api", claimed_at=claimed_at)
        self._weighed(person, self._new_events(), yes=yes, claimed_at=claimed_at)

    def imports(self, rows: Sequence[Row]) -> None:
        """A file of customers is imported: each row with `who` (None: somebody new), fields and consent."""
        self._tick()
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
        events = self._new_events()
        for line in lines:
            if self._names_nobody(line):
                continue
            person = self._brought_up_to_date(line)
            if line["marketing_consent"]:
                claimed_at = datetime.fromisoformat(line["consent_at"]) if line["consent_at"] else None
                self._weighed(person, events, yes=line["marketing_consent"] == "yes", claimed_at=claimed_at)
        promised(not events, "an import records what its file says", left=events)

    def _names_nobody(self, line: dict[str, str]) -> bool:
        """A row without name, address and phone makes nobody; of somebody known it says nothing new."""
        blank = not any(line[name].strip() for name in ("first_name", "last_name", "email", "phone"))
        known = Customer.objects.filter(tenant=self.tenant, external_id=line["external_id"])
        return blank and not known.exists()

    def _line(self, row: Row) -> dict[str, str]:
        person = self.somebody(row["who"]) if row["who"] is not None else None
        name = person.name if person else self._new_name()
        asked = person or Person(0, name)
        date = self.date(row["when"], asked) if row["says"] and row["when"] != "next year" else None
        return {
            "external_id": name, "first_name": row["first"], "last_name": row["last"], "email": row["email"].strip(),
            "phone": "", "marketing_consent": row["says"], "consent_at": date.isoformat() if date else "",
            "tags": ";".join(row["tags"]),
        }  # fmt: skip

    def _brought_up_to_date(self, line: dict[str, str]) -> Person:
        """Blank fields leave what the book has; tags are added."""
        customer = Customer.objects.get(tenant=self.tenant, external_id=line["external_id"])
        before = self.truth.people.get(customer.pk) or Person(customer.pk, line["external_id"])
        said = {
            "email": line["email"],
            "first_name": line["first_name"].strip(),
            "last_name": line["last_name"].strip(),
        }
        tags = intake.unique([*before.tags, *intake.tags_of(line["tags"])])
        self.truth.keep(before)
        self.truth.change(customer.pk, tags=tags, **{name: value for name, value in said.items() if value})
        return self.truth.people[customer.pk]

    def _weighed(self, person: Person, events: list[ConsentEvent], *, yes: bool, claimed_at: datetime | None) -> None:
        """What comes from outside counts, or does not (B1a)."""
        if yes:
            allowed = self.truth.yes_from_outside_counts(person.id, claimed_at)
            needed = allowed and not self.truth.words
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

    def _new_events(self) -> list[ConsentEvent]:
        events = list(ConsentEvent.objects.filter(tenant=self.tenant, id__gt=self._last_event).order_by("id"))
        self._last_event = events[-1].pk if events else self._last_event
        return events

    def moves(self, person: Person, email: str) -> None:
        """The person has another address now; written by plain SQL, as other programs do."""
        self._sql(person, email=email)

    def swap(self, one: Person, other: Person) -> None:
        self._tick()
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
        self._tick()
        self.says(
            f"{person.name} becomes " + ", ".join(f"{name} {str(value)[:30]!r}" for name, value in fields.items())
        )
        stored = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        Customer.objects.filter(pk=person.id).update(**stored)
        self.truth.change(person.id, **fields)

    def is_edited(self, person: Person, email: str, first: str, last: str, phone: str, tags: Sequence[str]) -> None:
        """Somebody fills in the customer's form, which refuses what cannot be."""
        self._tick()
        try:
            cleaned = intake.validate(
                self.tenant, first_name=first, last_name=last, email=email, phone=phone, tags=",".join(tags),
                external_id=person.name,
            )  # fmt: skip
        except ValidationError:
            return
        self.says(f"{person.name} is edited: {cleaned.email!r} {cleaned.first_name[:9]!r} {cleaned.tags}")
        intake.edit(Customer.objects.get(pk=person.id), CLERK, cleaned)
        self.truth.change(
            person.id, email=cleaned.email, first_name=cleaned.first_name, last_name=cleaned.last_name,
            phone=cleaned.phone, tags=cleaned.tags,
        )  # fmt: skip

    # --- Mailchimp: the people, and the merchant in its pages ------------------------------------

    def acts_there(self, which: int, event: str, email: str, first: str, *, raced: bool = False) -> None:
        """A member, or the merchant with one, acts in Mailchimp."""
        self._tick()
        members = sorted(self.emulator.members(AUDIENCE), key=lambda row: str(row["email_address"]).lower())
        if not members:
            return
        address = members[which % len(members)]["email_address"]
        more: Row = {"new_email": email} if event == "address" else {}
        more |= {"merge_fields": {"FNAME": first}} if event in ("profile", "merge") else {}
        self._there(address, event, raced=raced, **more)

    def signs_up(self, email: str, first: str, *, raced: bool = False) -> None:
        """Somebody fills in the shop's form in Mailchimp."""
        self._tick()
        self._there(email, "signup", raced=raced, merge_fields={"FNAME": first or "Self"})

    def _there(self, email: str, event: str, *, raced: bool, **more: Any) -> None:
        self.witness.catch_up()
        try:
            self.emulator.control("member_event", {"list_id": AUDIENCE, "email": email, "event": event, **more})
        except ControlError:
            return  # it cannot befall this member
        self.says(f"in Mailchimp: {event} of {email} {more or ''}")
        address = address_of(email)
        self.witness.somebody_acts(address, event, self.second, raced=raced)
        self.witness.catch_up()
        if raced and address in self.witness.members:
            self.witness.members[address].raced = True

    # --- what the shop chooses -------------------------------------------------------------------

    def connects(self) -> None:
        answer = connect.connect(self.tenant, CLERK, key_text=KEY, audience_id=AUDIENCE, auto_sync=False)
        assert isinstance(answer, connect.Connected), answer
        self.connected = True
        self.says("the shop connects")

    def disconnects(self) -> None:
        self._tick()
        connect.disconnect(self.tenant, CLERK)
        self.connected = self.witness.may_ask = False
        self.says("the shop disconnects")

    def chooses(self, *, ask_to_confirm: bool, mapping: Mapping[str, str], permissions: Sequence[str]) -> None:
        """A manager's choices on the panel."""
        self._tick()
        if not self.connected:
            return
        row = Integration.objects.get(tenant=self.tenant)
        chosen = {"ask_to_confirm": ask_to_confirm, "mapping": dict(mapping), "permissions": list(permissions)}
        row.config = {**row.config, **chosen}
        row.save()
        self.mapping, self.witness.may_ask = mapping, ask_to_confirm
        self.says(f"the shop chooses {chosen}")

    mapping: Mapping[str, str] = {}

    # --- syncs -----------------------------------------------------------------------------------

    def syncs(self, trigger: str = "manual", steps: Steps | None = None, *, one_by_one: bool = False) -> SyncRun | None:
        """Carry out one run, as a worker would, and judge what it did."""
        self._tick()
        if not self.connected:
            return None
        if self._left_behind:
            self._believe_the_worker_dead()
        self.witness.new_page()
        with transaction.atomic():
            run, new = runs.create(self.tenant, CLERK, trigger, past_brake=trigger == "manual")
        self._listened = False
        self.witness.before_we_write = self._listen
        interruption.carry_out(run.pk, Clock(self.present), steps or Steps(), one_by_one=one_by_one)
        self._requests_end()
        run.refresh_from_db()
        self._has_run(run, trigger, new=new)
        TALLY["syncs"] += 1
        return run

    def _believe_the_worker_dead(self) -> None:
        """Its last sign of life, and its right to send, are long past."""
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        SyncRun.objects.filter(tenant=self.tenant, status="running").update(heartbeat_at=long_ago)
        LoginLease.objects.update(expires_at=long_ago)
        self._left_behind = False

    def _requests_end(self) -> None:
        """What was sent and not waited for is carried out over there all the same."""
        while self.emulator.metrics()["open_requests"]:
            pass

    def _has_run(self, run: SyncRun, trigger: str, *, new: bool) -> None:
        self.witness.catch_up()
        well = run.status in ("succeeded", "partial")
        if well or run.status == "stopped":
            self._listen()
        elif not self._listened:
            self._adopt_what_was_heard()
        self.witness.before_we_write = lambda: None
        self.witness.gate = None
        self.witness.a_sync_ended(well=well)
        self._left_behind |= not well
        went_on = "" if new else " (one that was left behind)"
        counts = {bucket: count for bucket, count in run.counts.items() if count}
        wrote = [f"{row['method']}{' ' + row['fault'] if row['fault'] else ''}" for row in self.witness.writes]
        self.says(f"a {trigger} sync{went_on}: {run.status} {counts} wrote {wrote or 'nothing'}")
        if run.counts:  # one that was cancelled before a worker went on with it counts nobody
            told = {"counts": counts, "book": run.book, "people": len(self.truth.people), "status": run.status}
            promised(not run.faulty, "no run is faulty (B7)", **told)
            promised(sum(run.counts.values()) == run.book, "every customer is in exactly one bucket (B7)", **told)
            promised(run.book == len(self.truth.people), "the book is counted whole (B7)", **told)
        if run.status == "stopped":
            opt_outs = [row for row in self.witness.writes if (row["body"] or {}).get("status") == "unsubscribed"]
            promised(trigger == "schedule" or not new, "the button goes past the brake (B9)")
            promised(not opt_outs, "a stopped run unsubscribes nobody (B9)", sent=len(opt_outs))

    def _listen(self) -> None:
        """The run has read the audience: what people said there is in the book now (B3)."""
        if self._listened:
            return
        self._listened = True
        listing = self.witness.read_until()
        if listing is None:  # a run that was over before it began
            return
        shown = self.witness.shown_by(listing)
        self.witness.all_is_read()
        events = self._new_events()
        if not self.baseline_read:
            self.baseline_read = True
            promised(not events, "what the first reading finds changes nothing in the book (B3)", events=events)
            return
        self._hear(shown, events, all_of_it=True)

    def _adopt_what_was_heard(self) -> None:
        """Nobody knows how far the run came: the ledger tells, and may tell nothing that was not said."""
        self._hear(dict(self.witness.left), self._new_events(), all_of_it=False)
        self.baseline_read |= KnownAudience.objects.filter(tenant=self.tenant, full_read_at__isnull=False).exists()

    def _hear(self, shown: Mapping[str, Left], events: list[ConsentEvent], *, all_of_it: bool) -> None:
        for address, left in shown.items():
            heard_at = left.at + WITHIN
            for person in self.truth.holders(address):
                newest_yes = self.truth.newest_yes_of(person.id)
                found = next(
                    (event for event in events if (event.customer_id, event.source) == (person.id, "mailchimp")), None
                )
                told = {"person": person.name, "address": address, "left": left}
                if newest_yes and newest_yes > heard_at:
                    promised(not found, "a yes recorded after they left is not taken back (B3)", **told)
                elif found:
                    events.remove(found)
                    at = min(heard_at, self.present)
                    promised(
                        (found.state, found.effective_at) == ("withdrawn", at),
                        "a no counts from when it was said",
                        **told,
                    )
                    self.truth.said(person.id, yes=False, at=at, claimed_at=heard_at)
                elif all_of_it and left.shows:
                    known = self.truth.has_said_no_since(person.id, left.at)
                    promised(known, "a no in Mailchimp becomes a withdrawal in the book (B3)", **told)
        promised(
            not events, "nobody's no is invented (B3)", events=[(e.customer_id, e.state, e.source) for e in events]
        )

    def is_interrupted(self, how: str, at: int, trigger: str = "manual") -> None:
        """A sync whose worker is killed, told to stop, or loses its database, after so many steps."""
        ways = {"killed": interruption.kill, "stopped": interruption.stop, "database": interruption.lose_the_database}
        steps = Steps(at, ways[how])
        self.says(f"the next sync: {how} at step {at}")
        self.syncs(trigger, steps, one_by_one=True)
        if steps.happened:
            TALLY[how] += 1
            self._left_behind = True

    def syncs_in_bad_weather(self, fault: Row, trigger: str = "manual") -> None:
        """A sync some of whose calls fail."""
        self.says(f"bad weather: {fault}")
        self.emulator.control("faults", [fault])
        self.syncs(trigger, one_by_one=True)
        self.emulator.control("faults", [])
        TALLY["faults"] += sum(1 for row in self.witness.requests if row["fault"])

    def syncs_while(self, at: int, act: Callable[[], None]) -> None:
        """A sync in whose middle, after so many steps, somebody acts."""
        cleared, asked = store.cleared, []

        def ask_the_gate(*args: Any) -> Any:
            self.witness.catch_up()
            self.witness.gate = None
            asked.append(True)
            return cleared(*args)

        def happens(steps: Steps) -> None:
            self.witness.catch_up()
            if self.witness.read_until():
                self._listen_if_learnt()
            gate = self.truth.as_of_now()
            act()
            self.witness.gate = gate if asked else None

        steps = Steps(at, happens)
        self.says(f"the next sync: something happens at step {at}")
        with mock.patch.object(store, "cleared", ask_the_gate):
            self.syncs(steps=steps, one_by_one=True)
        TALLY["in the middle"] += steps.happened

    def _listen_if_learnt(self) -> None:
        run = SyncRun.objects.filter(tenant=self.tenant).latest("id")
        if run.phase in ("deciding", "sending"):
            self._listen()

    # --- what must hold --------------------------------------------------------------------------

    def all_is_quiet(self) -> None:
        """Nothing happens any more: after a sync everything is as promised, and a further one writes nothing."""
        if not self.connected:
            self.connects()
        settled = False
        for _ in range(MOST_SYNCS):
            run = self.syncs()
            assert run is not None
            promised(not (settled and self.witness.writes), "a further sync writes nothing", wrote=self.witness.writes)
            if run.status in ("succeeded", "partial"):
                settled = not run.counts["waiting"]
                if not self.witness.writes:
                    break
        else:
            promised(False, "the writing comes to an end", story=len(self.story))
        most = 6 if self.opening.permissions else 5
        promised(run.requests <= most, "an unchanged book costs a handful of reads", requests=run.requests)
        self._audience_is_as_promised()

    def _audience_is_as_promised(self) -> None:
        held = {address_of(row["email_address"]): row for row in self.emulator.members(AUDIENCE)}
        seen = {address: member.status for address, member in self.witness.members.items()}
        assert seen == {address: row["status"] for address, row in held.items()}, "the witness lost track"
        for address, member in self.witness.members.items():
            yes, no = self.truth.standing_yes(address), self.truth.refusal(address)
            told = {"address": address, "yes": yes, "no": no, "member": member}
            if no and member.status in MAILABLE:
                back = no.number in member.back_perhaps_since
                promised(back, "every withdrawal arrives (A10, B2a)", **told)
            elif member.ours and member.status in MAILABLE:
                promised(yes, "no member of ours stays where its customer has gone (B5)", **told)
            if yes and member.status in MAILABLE:
                self._member_follows_the_book(self.truth.people[yes.person], held[address])
        for address in self.truth.addresses_ever - UNSENDABLE - self.witness.others_were_at:
            yes, member = self.truth.standing_yes(address), self.witness.members.get(address)
            undone = (
                member is None
                or member.opt_out is None
                or member.opt_out.no is None
                or (yes and yes.number > member.opt_out.no.number)
            )
            if yes and undone:
                there = member and member.status in MAILABLE
                promised(
                    there,
                    "everybody with a standing yes is in the audience (A8)",
                    address=address,
                    yes=yes,
                    member=member,
                )
        self._one_member_a_person()

    def _one_member_a_person(self) -> None:
        """Never two subscribed members of ours for one person, unless somebody else consents at the other (B5)."""
        made: dict[int, list[str]] = {}
        for address, member in self.witness.members.items():
            yes = self.truth.standing_yes(address)
            if (
                member.ours
                and member.made_for
                and member.status == "subscribed"
                and (not yes or yes.person == member.made_for)
            ):
                made.setdefault(member.made_for, []).append(address)
        for person, addresses in made.items():
            promised(len(addresses) == 1, "never two members of ours for one person (B5)", person=person, at=addresses)

    def _member_follows_the_book(self, person: Person, row: Row) -> None:
        tags = {" ".join(tag.split()).casefold() for tag in person.tags} - {""}
        missing = tags - {tag.casefold() for tag in row["tags"]}
        promised(not missing, "the book's tags travel (A18)", person=person.name, missing=missing)
        if self.mapping or self.opening.fields not in ("usual", "american"):
            return
        for tag, value in (("FNAME", person.first_name), ("LNAME", person.last_name)):
            wanted = value.strip().encode()[:255].decode(errors="ignore")
            got = row["merge_fields"].get(tag, "")
            promised(
                not wanted or got == wanted,
                "the member's fields follow the book (A8)",
                person=person.name,
                tag=tag,
                got=got,
            )


_numbers = itertools.count(1)


class Overheard(logging.Handler):
    """Everything our own code says in its log while histories are played."""

    SPEAKERS = ("nexpura", "aiohttp", "asyncio", "django", "asgiref")
    SECRETS = (KEY[:12], "inbox.example", "post.example", "bar.com", "@")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = logging.Formatter().format(record)
        if any(secret in said for secret in self.SECRETS):
            self.told.append(said)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear everything down to the last detail, and let nobody else be bothered with it."""
        loggers = [logging.getLogger(name) for name in self.SPEAKERS]
        before = [(logger.level, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)
                logger.propagate = propagate


@contextmanager
def a_world_for_histories(settings: Any, emulator: Running) -> Iterator[Overheard]:
    """The clock of the ledger in our hands, a brake that a handful of people trips, no waiting, and a listener."""
    settings.NEXPURA_MAILCHIMP_URL = emulator.api_url
    settings.NEXPURA_RETRY_WAIT, settings.NEXPURA_HEARTBEAT, settings.NEXPURA_STALL = 0.0005, 60.0, 600.0
    overheard = Overheard()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(_OWN_CLOCK)
    brake, unsafe = mock.patch.object(plan, "BRAKE_PEOPLE", 1), mock.patch.dict("os.environ", _ASKED_FROM_WITHIN)
    try:
        with brake, unsafe, overheard.listening():
            yield overheard
    finally:
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(_REAL_CLOCK)


_ASKED_FROM_WITHIN = {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"}
"""What happens in the middle of a run asks the database from inside its event loop."""
_OWN_CLOCK = """
    CREATE TABLE history_clock (at timestamptz);
    INSERT INTO history_clock VALUES (NULL);
    CREATE FUNCTION history_now() RETURNS timestamptz LANGUAGE sql STABLE AS
        'SELECT coalesce((SELECT at FROM history_clock), statement_timestamp())';
    GRANT SELECT, UPDATE ON history_clock TO PUBLIC;
    ALTER TABLE customers_consentevent ALTER COLUMN recorded_at SET DEFAULT history_now();
"""
_REAL_CLOCK = """
    ALTER TABLE customers_consentevent ALTER COLUMN recorded_at SET DEFAULT statement_timestamp();
    DROP FUNCTION history_now();
    DROP TABLE history_clock;
"""
