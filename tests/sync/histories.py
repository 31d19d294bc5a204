"""One shop, its customers and its audience, as a history goes on: everything that can happen.

A `History` does things to the product and takes down beside it what was said (`truth`) and what Mailchimp saw
(`witness`), who judge it at once; `quiet` says what must hold when nothing happens any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.db import transaction

from mailchimp_emulator.serve import ControlError, Running
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import Integration
from nexpura.sync import connect, forget, renames, runs, store
from nexpura.sync.clock import Clock
from nexpura.sync.models import Erasure, KnownAudience, LoginLease, SyncRun
from tests.sync import interruption
from tests.sync.book import Book
from tests.sync.conftest import CLERK, KEY
from tests.sync.interruption import Steps
from tests.sync.mortal import Nursery
from tests.sync.story import TALLY
from tests.sync.truth import WITHIN, Person, address_of
from tests.sync.witness import MAILABLE, Errand, Left, Witness, promised

Row = dict[str, Any]

GOOD = ("ada@inbox.example", "bea@inbox.example", "carl@post.example", "dora@post.example")
SPELLINGS = ("Ada@Inbox.example", " BEA@inbox.example ")
BAD = ("name@", "two words@inbox.example")
FAKE, TIRED = "foo@bar.com", "tired@inbox.example"
EMAILS = (*GOOD, *SPELLINGS, "", *BAD, FAKE, TIRED)
ELSEWHERE = ("new@inbox.example", "newer@post.example")
"""Where people go in Mailchimp, whom the book does not know there yet."""
OUTSIDERS = ({"email_address": "own@post.example", "status": "subscribed", "merge_fields": {"FNAME": "Own"}},
             {"email_address": "gone@post.example", "status": "unsubscribed", "unsubscribed_by": "user"})  # fmt: skip
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
          "delete_permanent", "address")  # fmt: skip
"""What people and the merchant do."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The audience a history begins with."""

    double_optin: bool = False
    permissions: bool = False
    asks: bool = False
    """Whether whoever left and says yes again is asked by Mailchimp to confirm."""
    fields: str = "usual"
    seeds: tuple[tuple[str, str, str], ...] = ()
    """Address, status and who unsubscribed it."""


class History(Book):
    """One history under way."""

    def __init__(self, emulator: Running, opening: Opening, tell: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(emulator, tell)
        self.opening = opening
        self.connected = self.baseline_read = False
        self._left_behind = False
        self.errands: list[Errand] = []
        """Erasures of which Mailchimp has yet to be told."""
        self._open_audience()
        self.tell_time()
        self.connects()
        if opening.asks:
            self.chooses(ask_to_confirm=True, mapping={}, permissions=[])

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
            "id": self.audience_id, "name": "Newsletter", "members": seeds, "double_optin": opening.double_optin,
            "merge_fields": FIELDS[opening.fields], "marketing_permissions": [*PERMISSIONS] * opening.permissions,
        }  # fmt: skip
        users = [{"name": "owner", "role": "owner", "keys": [KEY]}]
        account = {"dc": "us14", "users": users, "lists": [audience], "throttled": [TIRED]}
        self.emulator.control("reset", {"accounts": [account], "now": self.present.isoformat()})
        self.witness = Witness(self.emulator, seeds, self.truth, double_optin=opening.double_optin)
        self.says(f"an audience, {opening}")

    def merges(self, kept: Person, other: Person, from_other: Set[str]) -> None:
        super().merges(kept, other, from_other)
        self.witness.are_one(kept.id, other.id)
        TALLY["merges"] += 1

    def erases(self, person: Person, choice: str) -> Erasure:
        had = {*self.truth.had[person.id], *self.truth.said_at(person.id)} - {""}
        self.witness.catch_up()
        erasure = super().erases(person, choice)
        forgotten = {
            address for address in had if address in self.truth.erased and not self.truth.holders(address)
        }  # fmt: skip
        errand = self.witness.is_erased(person.id, choice, had, forgotten, person.address)
        errand.erasure_id = erasure.pk
        self.errands.append(errand)
        TALLY["erasures"] += 1
        return erasure

    def carries_out_erasures(self, fault: Row | None = None) -> None:
        """The worker does in Mailchimp what the erasures that are due have to do there."""
        self.tick()
        for errand in list(self.errands):
            self.witness.new_page()
            self.witness.errand = errand
            self.emulator.control("faults", [fault] if fault else [])
            forget.carry_out(errand.erasure_id, self.present)
            self._requests_end()
            self.emulator.control("faults", [])
            self.witness.catch_up()
            self.witness.errand = None
            erasure = Erasure.objects.get(pk=errand.erasure_id)
            wrote = [row["method"] for row in self.witness.writes]
            self.says(f"erasure {erasure.number}: {erasure.state} {erasure.outcomes} wrote {wrote or 'nothing'}")
            if not erasure.is_open:
                self.errands.remove(errand)
                if erasure.done_at and "not_connected" not in erasure.outcomes:
                    self._is_forgotten(errand)

    def _is_forgotten(self, errand: Errand) -> None:
        """The member is as the person wished (B11)."""
        there = {errand.address, *filter(None, (self.witness.address_of(member) for member in errand.made))} - {""}
        for address in there:
            member = self.witness.members.get(address)
            told = {"address": address, "choice": errand.choice, "member": member}
            if member is None or self.truth.standing_yes(address) or errand.choice == "keep":
                continue
            promised(errand.choice != "delete", "whoever chose so is deleted permanently (B11)", **told)
            promised(member.status not in MAILABLE, "whoever is erased gets no mail any more (B11)", **told)

    # --- Mailchimp: the people, and the merchant in its pages ------------------------------------

    def acts_there(self, which: int, event: str, email: str, first: str, *, raced: bool = False) -> None:
        """A member, or the merchant with one, acts in Mailchimp."""
        self.tick()
        members = sorted(self.emulator.members(self.audience_id), key=lambda row: str(row["email_address"]).lower())
        if not members:
            return
        address = members[which % len(members)]["email_address"]
        more: Row = {"new_email": email} if event == "address" else {}
        more |= {"merge_fields": {"FNAME": first}} if event in ("profile", "merge") else {}
        self._there(address, event, raced=raced, **more)

    def changes_address_there(self, who: int, email: str) -> None:
        """Somebody of the book gives themselves another address in Mailchimp."""
        self.tick()
        theirs = [one.address for one in self.truth.people.values() if one.address in self.witness.members]
        if theirs:
            self._there(theirs[who % len(theirs)], "address", raced=False, new_email=email)

    def leaves(self, who: int) -> None:
        """Somebody says no in the shop, and the next sync carries it out."""
        theirs = self._in_the_audience("subscribed", "pending")
        if theirs and self.connected:
            self.speaks(theirs[who % len(theirs)], yes=False, when="undated")
            self.syncs()
            self.passes(timedelta(seconds=1))

    def comes_back(self, who: int, how: str) -> None:
        """Somebody who is out says yes in the shop, or signs up in Mailchimp; or leaves there as well, and says yes."""
        by = {"left there too": "unsubscribe", "complained": "complaint"}
        theirs = self._in_the_audience("unsubscribed")
        if not theirs:
            return
        person = theirs[who % len(theirs)]
        if how == "signs up":
            self.signs_up(person.email, "")
            return
        if how in by:
            self._there(person.email, by[how], raced=False)
        self.passes(timedelta(seconds=1))
        self.speaks(person, yes=True, when="undated")

    def stays_a_while(self, one: Person, other: Person) -> None:
        """One person has the address of another for some time."""
        self.moves(one, other.email)
        self.syncs()
        self.passes(timedelta(seconds=1))
        self.moves(self.truth.people[one.id], one.email)

    def _in_the_audience(self, *statuses: str) -> list[Person]:
        self.witness.catch_up()
        there = {address for address, member in self.witness.members.items() if member.status in statuses}
        return [person for person in self.truth.people.values() if person.address in there]

    def signs_up(self, email: str, first: str, *, raced: bool = False) -> None:
        """Somebody fills in the shop's form in Mailchimp."""
        self.tick()
        self._there(email, "signup", raced=raced, merge_fields={"FNAME": first or "Self"})

    def _there(self, email: str, event: str, *, raced: bool, **more: Any) -> None:
        self.witness.catch_up()
        before = self._changed_last(email)
        try:
            self.emulator.control("member_event", {"list_id": self.audience_id, "email": email, "event": event, **more})
        except ControlError:
            return  # it cannot befall this member
        self.says(f"in Mailchimp: {event} of {email} {more or ''}")
        address = address_of(email)
        told = before != self._changed_last(email)
        self.witness.somebody_acts(address, event, self.second, raced=raced, told=told)
        self.witness.catch_up()
        if raced and address in self.witness.members:
            self.witness.members[address].raced = True

    def _changed_last(self, email: str) -> object:
        address = address_of(email)
        rows = (row for row in self.emulator.members(self.audience_id) if address_of(row["email_address"]) == address)
        return next(((row["last_changed"], row["status"]) for row in rows), None)

    # --- what the shop chooses -------------------------------------------------------------------

    def connects(self) -> None:
        answer = connect.connect(self.tenant, CLERK, key_text=KEY, audience_id=self.audience_id, auto_sync=False)
        assert isinstance(answer, connect.Connected), answer
        self.connected = True
        # Open erasures are due at once, by the database's own clock.
        Erasure.objects.filter(tenant=self.tenant, state="pending").update(next_try_at=self.present)
        self.says("the shop connects")

    def disconnects(self) -> None:
        self.tick()
        connect.disconnect(self.tenant, CLERK)
        self.connected = self.witness.may_ask = False
        self.says("the shop disconnects")

    def chooses(self, *, ask_to_confirm: bool, mapping: Mapping[str, str], permissions: Sequence[str]) -> None:
        """A manager's choices on the panel."""
        self.tick()
        if not self.connected:
            return
        row = Integration.objects.get(tenant=self.tenant)
        chosen = {"ask_to_confirm": ask_to_confirm, "mapping": dict(mapping), "permissions": list(permissions)}
        row.config = {**row.config, **chosen}
        row.save()
        self.mapping, self.witness.may_ask = mapping, ask_to_confirm
        self.says(f"the shop chooses {chosen}")

    mapping: Mapping[str, str] = {}

    def answers(self, who: int, *, take_over: bool) -> None:
        """The shop answers what to do about an address that somebody changed in Mailchimp."""
        self.tick()
        asked = [one for one in self.truth.people.values() if one.address in self.witness.questions]
        person = asked[who % len(asked)] if asked else self.somebody(who)
        if not self.connected or person is None:
            return
        customer = Customer.objects.get(pk=person.id)
        proposal = renames.proposal_for(self.tenant, customer)
        question = self.witness.questions.get(person.address)
        told = {"person": person.name, "question": question, "proposal": proposal}
        if proposal is None:
            known = question and question.surely and question.proposed and not question.somebody_else_came
            promised(not known, "an address changed in Mailchimp is proposed to the shop (B3)", **told)
            return
        promised(question, "nothing is proposed that nobody did (B3)", **told)
        assert question is not None
        new = question.proposed = question.proposed or proposal.new_address
        promised(proposal.new_address == new, "what is proposed is the newest address (B3)", **told)
        answer = (renames.take_over if take_over else renames.keep)(self.tenant, CLERK, customer, new)
        self.says(f"the shop {'takes over' if take_over else 'keeps'} {new} of {person.name}: {type(answer).__name__}")
        TALLY["answers"] += 1
        if isinstance(answer, renames.Refused):
            taken = self.truth.holders(new) or new in self.truth.erased
            promised(take_over and taken, "an answer that can be is carried out (B3)", answer=answer)
        elif take_over:
            self.truth.change(person.id, email=answer.customer.email)
            promised(self.truth.people[person.id].address == new, "the new address is in the book (B3)", **told)
            self.witness.taken_over(person.address, person.id)
        else:
            self.witness.kept(person.address)

    # --- syncs -----------------------------------------------------------------------------------

    def syncs(self, trigger: str = "manual", steps: Steps | None = None, *, one_by_one: bool = False) -> SyncRun | None:
        """Carry out one run, as a worker would, and judge what it did."""

        def carry_out(run_id: int) -> None:
            interruption.carry_out(run_id, Clock(self.present), steps or Steps(), one_by_one=one_by_one)

        return self._runs(trigger, carry_out)

    def is_killed(self, nursery: Nursery, requests: int, seconds: float, trigger: str = "manual") -> None:
        """A sync whose worker, a process of its own, is killed so many seconds after so many requests."""

        def carry_out(run_id: int) -> None:
            if nursery.carry_out(run_id, self.present, requests=requests, seconds=seconds):
                self.says(f"the worker is killed {seconds} s after {requests} requests")
                TALLY["really killed"] += 1

        self._runs(trigger, carry_out)

    def _runs(self, trigger: str, carry_out: Callable[[int], None]) -> SyncRun | None:
        self.tick()
        if not self.connected:
            return None
        if self._left_behind:
            self._believe_the_worker_dead()
        self.witness.new_page()
        with transaction.atomic():
            run, new = runs.create(self.tenant, CLERK, trigger, past_brake=trigger == "manual")
        self._listened = False
        self.witness.before_we_write = self._listen
        carry_out(run.pk)
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
        events = self.new_events()
        if not self.baseline_read:
            self.baseline_read = True
            promised(not events, "what the first reading finds changes nothing in the book (B3)", events=events)
            self.witness.follow_the_book()
            return
        self._hear(shown, events, all_of_it=True)
        self.witness.follow_the_book()

    def _adopt_what_was_heard(self) -> None:
        """Nobody knows how far the run came: the ledger tells, and may tell nothing that was not said."""
        self._hear(dict(self.witness.left), self.new_events(), all_of_it=False)
        for address, left in self.witness.left.items():  # if it was read, who comes to the address has no part in it
            holders = frozenset(person.id for _, _, person in self._saying({address: left}))
            left.of = holders if left.of is None else left.of & holders
        self.baseline_read |= KnownAudience.objects.filter(tenant=self.tenant, full_read_at__isnull=False).exists()

    def _saying(self, shown: Mapping[str, Left]) -> Iterator[tuple[str, Left, Person]]:
        """Whose noes these are: of everybody at the address, at the one its member had before, of whom it is for."""
        for address, left in shown.items():
            for person in self.truth.holders(address):
                yield address, left, person
            for old, question in self.witness.were_at(address):
                certain = question.surely and not question.somebody_else_came
                for person in self.truth.holders(old) if old not in shown else ():
                    yield address, replace(left, shows=left.shows and certain), person
            gone_on = self.witness.made_for(address)
            if gone_on and not self.truth.holders(address):  # they have another address in the book by now
                yield address, replace(left, shows=False), gone_on

    def _hear(self, shown: Mapping[str, Left], events: list[ConsentEvent], *, all_of_it: bool) -> None:
        for address, left, person in [*self._saying(shown)]:
            heard_at = left.at + WITHIN
            newest_yes = self.truth.newest_yes_of(person.id)
            heard = [event for event in events if (event.customer_id, event.source) == (person.id, "mailchimp")]
            told = {"person": person.name, "address": address, "left": left}
            if newest_yes and newest_yes > heard_at:
                promised(not heard, "a yes recorded after they left is not taken back (B3)", **told)
            elif heard:
                events.remove(heard[0])
                said = "withdrawn", min(heard_at, self.present)
                promised((heard[0].state, heard[0].effective_at) == said, "a no counts from when it was said", **told)
                no = self.truth.said(person.id, yes=False, at=said[1], claimed_at=heard_at)
                if person.address != address:
                    self.witness.carried_out[address].add(no.number)
            elif all_of_it and left.shows and (left.of is None or person.id in left.of):
                known = self.truth.has_said_no_since(person.id, left.at)
                promised(known, "a no in Mailchimp becomes a withdrawal in the book (B3)", **told)
        told = {"events": [(event.customer_id, event.state, event.source) for event in events]}
        promised(not events, "nobody's no is invented (B3)", **told)

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
