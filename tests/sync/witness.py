"""What really happened in Mailchimp, by the emulator's audit trail and log, held against what people said.

The trail tells every change of every member with the request that made it: those with a number came through the
API and are ours, the others are the people's and the merchant's own. Nothing in here looks into the product.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.sync.truth import WITHIN, Person, Truth, Word, address_of

Row = dict[str, Any]

MAILABLE = ("subscribed", "pending")
EVIDENCE = ("timestamp_opt", "ip_opt", "permissions")
"""Mailchimp's own record of an opt-in: it goes with adds and with what subscribes again, and with nothing else."""
A_NO = ("unsubscribe", "complaint", "unsubscribe_admin")


class BrokenPromiseError(AssertionError):
    """The product did what it must never do, or left out what it must do."""


def promised(kept: object, promise: str, **found: object) -> None:
    if not kept:
        told = "".join(f"\n    {name}: {value}" for name, value in found.items())
        raise BrokenPromiseError(f"{promise}{told}")


@dataclass(slots=True)
class Left:
    """A no said in Mailchimp, which the product has yet to hear of."""

    at: datetime
    position: int
    """Requests that Mailchimp had seen when it was said: every later reading shows it."""
    shows: bool
    """Whether a reading can tell: not where the member was out before, as far as the product may know."""
    of: frozenset[int] | None = None
    """Whose it is for certain. None: of everybody at the address when it is read; it may have been read already."""


@dataclass(slots=True)
class OptOut:
    """An unsubscribe of ours: when by Mailchimp's clock, for which no (None: moved away), and from which status."""

    at: datetime
    no: Word | None
    before: str


@dataclass(slots=True)
class Member:
    """One member, as the trail tells of it."""

    status: str
    ours: bool = False
    """Made by us, and not brought back by themselves since, as far as a reading could show."""
    ours_perhaps: bool = False
    """It was ours, and they came back; whether a reading showed that nobody knows."""
    made_for: int | None = None
    our_tags: set[str] = field(default_factory=set)
    opt_out: OptOut | None = None
    """Our last one, as long as nobody acted on the member in a later second."""
    out_since: datetime | None = None
    asked_for: set[int] = field(default_factory=set)
    """The yeses (by number) for which Mailchimp sent its confirmation."""
    known_as: set[str] = field(default_factory=lambda: {""})
    """The statuses the product may have seen last; blank: it never saw the member."""
    back_since: frozenset[int] = frozenset()
    """The noes (by number) that had been carried out when others made the member mailable again (B2a)."""
    back_perhaps_since: frozenset[int] = frozenset()
    """The same, with those that an interrupted sync may have carried out."""
    raced: bool = False
    """Somebody acted on it in the middle of a run, after we had read it."""
    seen_here: bool | None = False
    """Whether the product has seen it under the address it has now; None: perhaps."""
    fresh: bool = False
    """Made by us in the run that is judged now."""
    of_somebody_erased: bool = False
    """And so not read into our records as long as nobody of the book has its address (B11)."""


@dataclass(slots=True)
class Question:
    """A person gave themselves another address in Mailchimp, and the shop has not said what to do (B3)."""

    member: Member
    surely: bool
    """Whether the product knew the member at the address it left: only then can it know that it left."""
    ours: bool
    made_for: int | None
    proposed: str | None = None
    """The new address, as last read; None: not read yet."""
    somebody_else_came: bool = False
    """Another member is at the old address now, as a reading will show."""


@dataclass(slots=True)
class Errand:
    """What an erasure has to do in Mailchimp."""

    erasure_id: int
    choice: str
    address: str
    """The one the person had at last."""
    addresses: set[str]
    """Where a member of theirs may be: whatever they had, and where they went in Mailchimp."""
    made: list[Member]
    """The members we made for them."""


class Witness:
    """Reads the trail as it grows, and judges each line of it."""

    def __init__(self, emulator: Any, seeds: Sequence[Row], truth: Truth, *, double_optin: bool) -> None:
        self.emulator, self.truth = emulator, truth
        self.double_optin, self.may_ask = double_optin, False
        self.members = {address_of(seed["email_address"]): Member(seed["status"]) for seed in seeds}
        self.others_were_at = set(self.members)
        """Addresses at which anybody but us has ever acted."""
        self.left: dict[str, Left] = {}
        self.questions: dict[str, Question] = {}
        """By the address that was left."""
        self.carried_out: dict[str, set[int]] = defaultdict(set)
        self.perhaps_carried_out: dict[str, set[int]] = defaultdict(set)
        self.gate: Truth | None = None
        """What the gate saw when it was asked last, if the book has changed since."""
        self.before_we_write: Callable[[], None] = lambda: None
        self.errand: Errand | None = None
        """The erasure that is being carried out."""
        self.requests: list[Row] = []
        """The API's log since the last `new_page`."""
        self._rows = self._logged = 0

    def new_page(self) -> None:
        """From here on `requests` and `writes` tell of what comes."""
        self.catch_up()
        self.requests = []

    @property
    def writes(self) -> list[Row]:
        return [row for row in self.requests if row["method"] != "GET"]

    def catch_up(self) -> None:
        """Read what log and trail have got since, and judge it."""
        log = self.emulator.log()
        fresh, self._logged = log[self._logged :], len(log)
        self.requests += fresh
        for row in fresh:
            _judge_request(row, self.errand)
        trail = self.emulator.audit()
        rows, self._rows = trail[self._rows :], len(trail)
        for request, group in itertools.groupby(rows, key=lambda row: row["request"]):
            if isinstance(request, int) and self.errand:
                self._the_errand_did(self.errand, list(group))
            elif isinstance(request, int):
                self.before_we_write()
                for written in _by_member(list(group)):
                    self._we_wrote(written)
            else:
                self._they_did(request.removeprefix("member_event "), list(group))

    def read_until(self) -> int | None:
        """The number of the last request since `new_page` that read the listing and was answered."""
        listings = (
            row["number"]
            for row in self.requests
            if row["path"].endswith("/members") and row["method"] == "GET" and row["status"] == 200
            and not row["fault"] and "sort_field" in row["query"] and "status=" not in row["query"]
        )  # fmt: skip
        return max(listings, default=None)

    def were_at(self, address: str) -> Iterator[tuple[str, Question]]:
        """The questions about whoever is at this address now, by the address they left."""
        member = self.members.get(address)
        return ((old, question) for old, question in self.questions.items() if question.member is member)

    # --- a sync has read, or has ended -----------------------------------------------------------

    def shown_by(self, listing: int) -> dict[str, Left]:
        """Take out the noes that a reading of this number shows, by address."""
        shown = {address: left for address, left in self.left.items() if left.position < listing}
        for address, left in shown.items():
            if self._is_of_somebody_erased(address) and not self.truth.holders(address):
                self.left[address] = replace(left, shows=False)  # not read, and perhaps some day
            else:
                del self.left[address]
        return shown

    def _was_forgotten(self, address: str, member: Member) -> bool:
        """Whether we know nothing of it since somebody was erased: it is not read, or as if for the first time."""
        return self._is_of_somebody_erased(address) and member.seen_here is not True

    def _is_of_somebody_erased(self, address: str) -> bool:
        member = self.members.get(address)
        return address in self.truth.erased or (member is not None and member.of_somebody_erased)

    def made_for(self, address: str) -> Person | None:
        """The customer whom we made the member for, if it is still ours."""
        member = self.members.get(address)
        return self.truth.people.get(member.made_for or 0) if member and member.ours else None

    def all_is_read(self) -> None:
        """The product has seen every member as it is now, and knows who has another address."""
        for address, member in self.members.items():
            if not self._was_forgotten(address, member):
                member.known_as, member.seen_here = {member.status}, True
            elif self.truth.holders(address):
                member.known_as, member.seen_here = member.known_as | {member.status}, member.seen_here or None
        for old in [old for old, question in self.questions.items() if question.somebody_else_came]:
            del self.questions[old]
        for question in self.questions.values():
            question.proposed = self.address_of(question.member) or question.proposed

    def address_of(self, member: Member) -> str | None:
        return next((address for address, one in self.members.items() if one is member), None)

    def follow_the_book(self) -> None:
        """Whose member it was has the new address in the book now: there it is ours as it was (B5)."""
        for old, question in list(self.questions.items()):
            person = self.truth.people.get(question.made_for or 0)
            if question.ours and person and person.address == question.proposed:
                self.taken_over(old, person.id)

    def taken_over(self, old: str, person_id: int) -> None:
        """The member that left `old` is this customer's at the address it has now."""
        question = self.questions[old]
        member, new = question.member, question.proposed
        if self.members.get(new or "") is member:
            member.ours = question.ours
            member.made_for = person_id if question.ours else None
            member.back_since |= self.carried_out[old]
            member.back_perhaps_since |= self.perhaps_carried_out[old]
        question.ours, question.made_for = False, None
        if not [one for one in self.truth.holders(old) if one.id != person_id]:
            del self.questions[old]

    def kept(self, old: str) -> None:
        """The shop keeps the old address: it is as good as new, and the member at the other one nobody's."""
        del self.questions[old]
        if old not in self.members:
            self.others_were_at.discard(old)

    def a_sync_ended(self, *, well: bool) -> None:
        """Take down which noes are dealt with, surely or perhaps."""
        for address in self.truth.addresses_ever:
            no, member = self.truth.refusal(address), self.members.get(address)
            if no is None:
                continue
            self.perhaps_carried_out[address].add(no.number)
            if well and member and member.status not in MAILABLE:
                self.carried_out[address].add(no.number)
        in_doubt = not well or any(row["fault"] for row in self.requests)
        for member in self.members.values():
            if in_doubt and (member.fresh or not member.seen_here):
                member.seen_here = None
            member.raced = member.fresh = False
            member.known_as |= {member.status}

    def is_erased(self, person_id: int, choice: str, addresses: set[str], forgotten: set[str], last: str) -> Errand:
        """What was ours at addresses that nobody else has is forgotten; returns what is to be done in Mailchimp."""
        made = [member for member in self.members.values() if member.made_for == person_id and member.ours]
        mine = {old: one for old, one in self.questions.items() if old in addresses or one.made_for == person_id}
        went = {self.address_of(one.member) for one in mine.values()} | {one.proposed for one in mine.values()}
        errand = Errand(0, choice, last, {*addresses, *(one for one in went if one)}, made)
        errand.addresses |= {address for address, member in self.members.items() if member in made}
        for old, question in list(self.questions.items()):
            if question.made_for == person_id:
                question.made_for, question.ours = None, False
            if old in forgotten or question.proposed in forgotten:
                del self.questions[old]
        for address, member in self.members.items():
            if member.made_for == person_id:
                member.made_for = None
            if address in forgotten:
                self.others_were_at.add(address)
                member.ours, member.opt_out, member.of_somebody_erased = False, None, True
                member.ours_perhaps = False
                member.our_tags, member.asked_for = set(), set()
                member.known_as, member.seen_here = {""}, False
        return errand

    def are_one(self, kept_id: int, other_id: int) -> None:
        """Two records were merged: what was made for either was made for the one who stays."""
        for one in (*self.members.values(), *self.questions.values()):
            if one.made_for == other_id:
                one.made_for = kept_id

    # --- what others do --------------------------------------------------------------------------

    def somebody_acts(self, address: str, event: str, second: datetime, *, raced: bool, told: bool) -> None:
        """Take down an act, which may leave no line in the trail: whoever is out already can leave again.

        `told`: Mailchimp says of the member that it has changed.
        """
        self.others_were_at.add(address)
        member = self.members.get(address)
        if member is None:
            return
        member.raced = raced
        if told and member.opt_out and member.opt_out.at < second:
            member.opt_out = None
        if told and member.status == "unsubscribed":  # Mailchimp tells only when a member changed last
            left = self.left.get(address)
            if left or event in ("unsubscribe", "complaint"):
                self.left[address] = Left(second, self._position(), shows=bool(left and left.shows))

    def _they_did(self, event: str, rows: list[Row]) -> None:
        for row in rows:
            address = address_of(row["email_address"])
            self.others_were_at.add(address)
            match row["event"]:
                case "created":
                    self.members[address] = self._back(address, Member(row["new"]["status"]))
                    if address in self.questions:
                        self.questions[address].somebody_else_came = True
                case "status":
                    self._they_changed_status(event, address, row)
                case "address":
                    self._they_changed_address(address, address_of(row["new"]), _moment(row["time"]))
                case "deleted":
                    del self.members[address]
                    self.left.pop(address, None)

    def _they_changed_status(self, event: str, address: str, row: Row) -> None:
        member, second = self.members[address], _moment(row["time"])
        if row["new"] in MAILABLE and row["old"] not in MAILABLE:
            ours, seen_in = member.ours, member.known_as & {*MAILABLE}
            self._back(address, member)
            member.ours = ours and seen_in == member.known_as  # nobody saw them leave
            member.ours_perhaps = ours and bool(seen_in)
        member.status = row["new"]
        self.left.pop(address, None)
        if row["new"] == "unsubscribed":
            member.out_since = second
            shows = event in A_NO and "unsubscribed" not in member.known_as and not self._was_forgotten(address, member)
            self.left[address] = Left(second, self._position(), shows)

    def _they_changed_address(self, old: str, new: str, second: datetime) -> None:
        """The person is the same, and nothing of ours at the new address until the book says so.

        Of a no that they said before, Mailchimp tells only when the member changed last.
        """
        member = self.members.pop(old)
        if member.seen_here is not False:
            # Whoever goes where somebody erased was is not read there, and only found to be gone.
            surely = member.seen_here is True and old not in self.questions and new not in self.truth.erased
            self.questions[old] = Question(member, surely, member.ours, member.made_for)
        self.members[new] = self._back(new, member)
        self.others_were_at.add(new)
        if left := self.left.pop(old, None):
            self.left[new] = Left(second, self._position(), shows=left.shows)
        before = self.questions.get(new)
        member.seen_here = False
        if before and before.member is member:  # back where they were, and ours as before
            del self.questions[new]
            member.ours, member.made_for = before.ours, before.made_for
            member.seen_here = True if before.surely else None
        elif before:
            before.somebody_else_came = True

    def _back(self, address: str, member: Member) -> Member:
        member.ours, member.opt_out = False, None
        member.back_since = frozenset(self.carried_out[address])
        member.back_perhaps_since = frozenset(self.perhaps_carried_out[address])
        return member

    def _position(self) -> int:
        return int(self.emulator.metrics()["requests"])

    # --- what an erasure does --------------------------------------------------------------------

    def _the_errand_did(self, errand: Errand, rows: list[Row]) -> None:
        address = address_of(rows[0]["email_address"])
        yes, member = self.truth.standing_yes(address), self.members[address]
        found = {"address": address, "choice": errand.choice, "yes": yes, "member": member}
        theirs = address in errand.addresses or member in errand.made
        promised(theirs, "an erasure touches no member but the person's (B11)", **found)
        for row in rows:
            change = row["event"], row["old"], row["new"]
            promised(row["event"] == "field" or not yes, "whoever consents there keeps the member (B11)", **found)
            match change:
                case ("deleted", _, _):
                    promised(errand.choice == "delete", "only who chose so is deleted permanently (B11)", **found)
                    del self.members[address]
                    self.left.pop(address, None)
                case ("status", "subscribed" | "pending", "unsubscribed"):
                    promised(errand.choice == "unsubscribe", "only who chose so is unsubscribed (B11)", **found)
                    member.status, member.out_since, member.opt_out = "unsubscribed", _moment(row["time"]), None
                    member.of_somebody_erased = True
                case ("field", _, _):
                    held = self.truth.holders(address)
                    promised(held, "names are taken out only where somebody else has the address (B11)", **found)
                case _:
                    promised(False, "nothing else is done about an erased person (B11)", change=change, **found)
        self.others_were_at.add(address)

    # --- what we do ------------------------------------------------------------------------------

    def _we_wrote(self, rows: list[Row]) -> None:
        moved = next((row for row in rows if row["event"] == "address"), None)
        if moved:
            self._we_moved(address_of(moved["email_address"]), address_of(moved["new"]))
        address = address_of(moved["new"] if moved else rows[0]["email_address"])
        promised(address in self.truth.addresses_ever, "nobody outside the book is ever touched (A9)", address=address)
        subscribing = any(row["event"] == "created" or row["new"] in MAILABLE for row in rows)
        for row in rows:
            match row["event"]:
                case "created":
                    self._we_made(address, row["new"])
                case "status":
                    self._we_changed_status(address, row)
                case "field":
                    self._we_filled(address, row, subscribing=subscribing)
                case "tags":
                    self._we_tagged(address, set(row["old"]), set(row["new"]))
                case "deleted":
                    promised(False, "we never delete anybody", address=address)

    def _must_be_live(self, address: str, what: str) -> Word:
        """A yes stands at the address: now, or when the gate was asked for this very write."""
        asked = self.questions.get(address)
        promised(
            asked is None or not asked.surely or asked.proposed is None,
            "as long as the shop has not answered, nothing is sent to the address that was left (B3)",
            address=address, what=what, question=asked,
        )  # fmt: skip
        yes = self.truth.standing_yes(address) or (self.gate.standing_yes(address) if self.gate else None)
        if yes is None:
            holders = [person.name for person in self.truth.holders(address)]
            no = self.truth.newest_no(address)
            raise BrokenPromiseError(
                f"nobody is written without a standing yes (A6)\n"
                f"    {what}: {address}\n    holders: {holders}\n    no: {no}"
            )
        return yes

    def _we_made(self, address: str, new: Row) -> None:
        yes = self._must_be_live(address, "made")
        asked = "pending" if self.double_optin else "subscribed"
        promised(new["status"] == asked, "members are made as the audience asks (B12)", address=address, new=new)
        blank = [tag for tag, value in new["merge_fields"].items() if value == ""]
        promised(not blank, "no blank is ever written (B6)", address=address, fields=blank)
        self.members[address] = Member(
            new["status"], ours=True, made_for=yes.person, our_tags=set(new["tags"]), known_as={new["status"]},
            seen_here=True, fresh=True,
        )  # fmt: skip

    def _we_moved(self, old: str, new: str) -> None:
        yes, member = self._must_be_live(new, "moved"), self.members[old]
        found = {"old": old, "new": new, "member": member}
        promised(
            member.raced or (member.ours and member.made_for == yes.person and member.status == "subscribed"),
            "only a subscribed member that we made for this very customer moves (B5)", **found,
        )  # fmt: skip
        before = self.gate or self.truth
        promised(
            not before.standing_yes(old) and not before.newest_no(old),
            "nobody moves away from where somebody consents, or withdrew (B5)", **found,
        )  # fmt: skip
        promised(not self.double_optin, "with double opt-in a new address confirms for itself (B5)", **found)
        self.members[new] = self.members.pop(old)

    def _we_changed_status(self, address: str, row: Row) -> None:
        member, old, new = self.members[address], row["old"], row["new"]
        found = {"address": address, "old": old, "new": new, "member": member}
        match old, new:
            case ("subscribed" | "pending", "unsubscribed"):
                self._we_opted_out(address, member, _moment(row["time"]))
            case ("unsubscribed", "subscribed"):
                self._we_undid(address, member, found)
            case ("unsubscribed", "pending"):
                self._we_asked(address, member, found)
            case _:
                promised(member.raced, "no other status ever changes by us (A8)", **found)
        member.status, member.known_as = new, {new}
        if new in MAILABLE:
            member.opt_out, member.back_since, member.back_perhaps_since = None, frozenset(), frozenset()

    def _we_opted_out(self, address: str, member: Member, second: datetime) -> None:
        no = self.truth.refusal(address)
        found = {"address": address, "no": no, "member": member}
        if no is None and self.gate:
            no = self.gate.refusal(address)
        if no is None:
            promised(
                (member.ours or member.ours_perhaps) and not (self.gate or self.truth).standing_yes(address),
                "only a withdrawal, or leaving the address of a member of ours, unsubscribes (A10, B5)", **found,
            )  # fmt: skip
        else:
            promised(no.number not in member.back_since, "a withdrawal is carried out once (B2a)", **found)
            self.carried_out[address].add(no.number)
        member.opt_out, member.out_since = OptOut(second, no, member.status), second

    def _we_undid(self, address: str, member: Member, found: dict[str, Any]) -> None:
        yes, ours = self._must_be_live(address, "subscribed again"), member.opt_out
        if member.raced:
            return
        promised(ours, "only our own unsubscribe is undone, and only if nobody acted since (B2)", **found)
        assert ours is not None
        promised(ours.before == "subscribed", "who never confirmed is not subscribed by an undo (B2, B12)", **found)
        newer = ours.no is None or yes.number > ours.no.number
        promised(newer, "our unsubscribe is undone only after a newer yes (B2)", yes=yes, **found)

    def _we_asked(self, address: str, member: Member, found: dict[str, Any]) -> None:
        yes = self._must_be_live(address, "asked to confirm")
        if member.raced or (self.double_optin and member.opt_out and member.opt_out.before == "pending"):
            return  # they have yet to confirm, as everybody there has, and our unsubscribe is undone
        promised(self.may_ask, "nobody is asked to confirm unless the shop allows it (B2)", **found)
        promised(yes.number not in member.asked_for, "nobody is asked twice for one yes (B2)", yes=yes, **found)
        promised(
            member.out_since is None or yes.at > member.out_since + WITHIN,
            "only after a yes that is newer than their leaving somebody is asked (B2)", yes=yes, **found,
        )  # fmt: skip
        member.asked_for.add(yes.number)

    def _we_filled(self, address: str, row: Row, *, subscribing: bool) -> None:
        promised(row["new"] != "", "no value is ever replaced by a blank (B6)", address=address, field=row["field"])
        promised(
            subscribing or row["field"] not in EVIDENCE,
            "Mailchimp's evidence of an opt-in is not overwritten", address=address, field=row["field"],
        )  # fmt: skip
        self._must_be_live(address, f"{row['field']} written")

    def _we_tagged(self, address: str, old: set[str], new: set[str]) -> None:
        self._must_be_live(address, "tagged")
        member = self.members[address]
        ours = {tag.casefold() for tag in member.our_tags}
        theirs = {tag for tag in old - new if tag.casefold() not in ours}
        promised(not theirs, "only tags that we set are ever removed (A18)", address=address, tags=theirs)
        member.our_tags = (member.our_tags | (new - old)) & new


def _judge_request(row: Row, errand: Errand | None) -> None:
    """What no request of ours may hold, whether or not it changes anything."""
    body = row["body"] if isinstance(row["body"], dict) else {}
    method, status = row["method"], body.get("status")
    deletes = method == "DELETE" or "delete" in row["path"]
    promised(not deletes or (errand and errand.choice == "delete"), "nobody is ever deleted unasked", method=method)
    promised(status is None or method == "PATCH", "a status is sent only to change one", method=method, status=status)
    promised(status in (None, "unsubscribed", *MAILABLE), "no other status is ever sent", status=status)
    for person in body.get("members") or [body]:
        promised("members" not in body or "status" not in person, "no bulk call carries a status (A8)", method=method)
        fields = person.get("merge_fields") or {}
        blank = any(value == "" for value in fields.values())
        promised(not blank or errand, "no blank is ever sent (B6)", method=method, fields=fields)


def _by_member(rows: list[Row]) -> list[list[Row]]:
    """Part what one request did by whom it did it to: one, unless it was a bulk call. What moves a member is one."""
    if any(row["event"] == "address" for row in rows):
        return [rows]
    parted: dict[str, list[Row]] = {}
    for row in rows:
        parted.setdefault(row["email_address"], []).append(row)
    return [*parted.values()]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
