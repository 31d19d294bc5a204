"""Mailchimp's rules about members, written down a second time: from its documents, not from the emulator.

A `Book` is one audience as plain values. Each method is one call of the API or one event; it answers what the reply
must show, or raises `Refusal` with every reason that would do. Nothing of the emulator is imported here, so that one
wrong belief is not shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
FAKE = {"foo@bar.com"}

# Every reason for a no: title of the problem, words its detail must have.
REASONS = {
    "exists": ("Member Exists", "is already a list member"),
    "compliance": ("Member In Compliance State", "cannot be subscribed"),
    "forgotten": ("Forgotten Email Not Subscribed", "was permanently deleted and cannot be re-imported"),
    "throttled": ("Invalid Resource", "has signed up to a lot of lists very recently"),
    "fake": ("Invalid Resource", "looks fake or invalid"),
    "values": ("Invalid Resource", "Your merge fields were invalid."),
    "shape": ("Invalid Resource", "The resource submitted could not be validated."),
    "missing": ("Resource Not Found", "could not be found"),
    "not archivable": ("Method Not Allowed", "This list member cannot be removed."),
}
STATUS_OF = {"missing": 404, "not archivable": 405}

Row = tuple[str, str, str, Any, Any]  # of the audit trail: address before the change, event, field, old, new


class Refusal(Exception):
    """A no. Where several reasons apply at once no source tells which is named, so each of them will do."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = set(reasons)

    @property
    def answers(self) -> set[tuple[int, str]]:
        return {(STATUS_OF.get(reason, 400), REASONS[reason][0]) for reason in self.reasons}


@dataclass(slots=True)
class Person:
    """One member. `left`: they said no themselves. `barred`: bounced, complained or under review."""

    address: str
    status: str
    values: dict[str, Any]
    tags: list[str]
    changed: int
    place: int
    opted_in: int | None = None
    signed_up: int | None = None
    left: bool = False
    barred: bool = False
    reason: str = ""
    named: tuple[str, int] | None = None  # contact id and web id, as first seen; they outlive a change of address

    @property
    def id(self) -> str:
        return md5(self.address)

    def may_become(self, status: str) -> bool:
        """Whether the API may write this status. Nothing but the person's own click or form undoes their no."""
        if status == self.status:
            return True
        if status == "subscribed":
            return not (self.left or self.barred)
        return status != "pending" or not self.barred

    def visible(self) -> dict[str, Any]:
        """What a reply must show of this member."""
        shown = {
            "id": self.id,
            "email_address": self.address,
            "status": self.status,
            "merge_fields": {tag: self.values.get(tag, "") for tag in ("FNAME", "AGE")},
            "tags": self.tags,
            "tags_count": len(self.tags),
            "last_changed": written(self.changed),
            "timestamp_opt": written(self.opted_in),
            "timestamp_signup": written(self.signed_up),
        }
        return shown | ({"unsubscribe_reason": self.reason} if self.status == "unsubscribed" else {})

    def facts(self) -> tuple[Any, ...]:
        """What `last_changed` follows."""
        reason = self.reason if self.status == "unsubscribed" else ""
        values = dict(self.values)
        return self.address, self.status, values, tuple(self.tags), self.opted_in, self.signed_up, reason


@dataclass(slots=True)
class Bulk:
    """What POST /lists/{id} answers: ids of the new and the updated, address and reasons of the refused."""

    new: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    errors: list[tuple[str, set[str]]] = field(default_factory=list)


@dataclass(slots=True)
class Book:
    """One audience with the fields FNAME (text) and AGE (number)."""

    now: int
    double_optin: bool = False
    age_required: bool = False
    throttled: set[str] = field(default_factory=set)
    people: list[Person] = field(default_factory=list)  # in order of arrival
    forgotten: set[str] = field(default_factory=set)
    confirmation_mails: int = 0
    last_sub: int | None = None
    last_unsub: int | None = None
    rows: list[Row] = field(default_factory=list)  # of the audit trail, since somebody last took them
    _places: int = 10

    # Reading

    def find(self, key: str) -> Person | None:
        return next((person for person in self.people if person.id == key), None)

    def known(self, key: str) -> Person:
        person = self.find(key)
        if person is None:
            raise Refusal("missing")
        return person

    def counts(self) -> dict[str, int]:
        return {status: sum(person.status == status for person in self.people) for status in STATUSES}

    def listed(self, status: str | None = None, *, since: int | None = None) -> list[Person]:
        """A listing in order of arrival. The archived are shown only by name; `since` means later than."""
        return [
            person
            for person in self.people
            if (person.status == status if status else person.status != "archived")
            and (since is None or person.changed > since)
        ]

    # The API

    def post(self, body: Mapping[str, Any], *, check_required: bool) -> Person:
        if not body.get("email_address") or not body.get("status"):
            raise Refusal("shape")
        person = self.find(md5(body["email_address"]))
        if person is None:
            return self._create(body, body["status"], check_required=check_required)
        reasons = self._wrong_values(body, person.values, check_required=check_required)
        if not person.may_become(body["status"]):
            reasons.add("compliance")
        elif person.status != "archived":
            reasons.add("exists")
        if reasons:
            raise Refusal(*reasons)
        with Noted(self, person):
            self._fill(person, body)
            self._become(person, body["status"])
            self._add_tags(person, body.get("tags", ()))
            if body["status"] == "subscribed":
                person.opted_in = self.now
        return person

    def put(self, key: str, body: Mapping[str, Any], *, address: str | None, check_required: bool) -> Person:
        """`address` is the one in the path, if the path has one in place of a hash."""
        person = self.find(key)
        if person is not None:
            return self._update(person, body, taken="shape", check_required=check_required)
        identity = body.get("email_address") or address
        status = body.get("status_if_new") or body.get("status")
        if not identity or not status:
            raise Refusal("shape")
        if self.find(md5(identity)):
            raise Refusal("exists")
        return self._create({**body, "email_address": identity}, status, check_required=check_required)

    def patch(self, key: str, body: Mapping[str, Any], *, check_required: bool) -> Person:
        return self._update(self.known(key), body, taken="exists", check_required=check_required)

    def archive(self, key: str) -> None:
        person = self.known(key)
        if person.status in ("cleaned", "pending", "archived"):
            raise Refusal("not archivable")
        with Noted(self, person):
            self._become(person, "archived")

    def delete_permanently(self, key: str) -> None:
        person = self.known(key)
        self.rows.append((person.address, "deleted", "status", person.status, None))
        self.people.remove(person)
        self.forgotten.add(person.id)

    def tag(self, key: str, changes: Iterable[Mapping[str, str]]) -> None:
        """The last word about a name counts."""
        person = self.known(key)
        wanted = {change["name"]: change["status"] for change in changes}
        with Noted(self, person):
            person.tags = [name for name in person.tags if wanted.get(name) != "inactive"]
            self._add_tags(person, [name for name, status in wanted.items() if status == "active"])

    def bulk(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        update_existing: bool,
        sync_tags: bool,
        skip_duplicate_check: bool,
        check_required: bool,
    ) -> Bulk:
        first: dict[str, Mapping[str, Any]] = {}
        items = list(items)
        for number, item in enumerate(items):
            first.setdefault(item.get("email_address", f" {number}").lower(), item)
        if len(first) < len(items) and not skip_duplicate_check:
            raise Refusal("shape")
        told = Bulk()
        for item in first.values():
            try:
                person, new = self._bulk_item(
                    item, update_existing=update_existing, sync_tags=sync_tags, check_required=check_required
                )
            except Refusal as refusal:
                told.errors.append((item.get("email_address", ""), refusal.reasons))
            else:
                (told.new if new else told.updated).append(person.id)
        return told

    def _bulk_item(
        self, item: Mapping[str, Any], *, update_existing: bool, sync_tags: bool, check_required: bool
    ) -> tuple[Person, bool]:
        """The member, and whether it counts as created."""
        item = {name: value for name, value in item.items() if value is not None}
        if "email_address" not in item or "id" in item or not (item.get("status") or item.get("status_if_new")):
            raise Refusal("shape")
        person = self.find(md5(item["email_address"]))
        if person is None:
            status = item.get("status_if_new") or item["status"]
            return self._create(item, status, check_required=check_required), True
        returns = person.status == "archived" and "status" in item
        if not update_existing and not returns:
            raise Refusal("exists")
        asked = check_required and ("merge_fields" in item or returns)
        reasons = self._wrong_values(item, person.values, check_required=asked)
        if not person.may_become(item.get("status", person.status)):
            reasons.add("compliance")
        if reasons:
            raise Refusal(*reasons)
        with Noted(self, person):
            self._fill(person, item)
            self._become(person, item.get("status", person.status))
        with Noted(self, person):
            if sync_tags and "tags" in item:
                person.tags = [name for name in person.tags if name in item["tags"]]
            self._add_tags(person, item.get("tags", ()))
        return person, returns

    # The people and the merchant

    def happen(self, event: str, address: str, values: Mapping[str, Any], new_address: str) -> None:
        """One event of the control plane."""
        if event == "signup":
            self._sign_up(address, values)
            return
        person = self.known(md5(address))
        if event == "archive":
            self.archive(person.id)
        elif event == "delete_permanent":
            self.delete_permanently(person.id)
        elif event == "address":
            self._move(person, new_address)
        elif event == "confirm":
            if person.status != "pending":
                raise Refusal("shape")
            with Noted(self, person):
                self._join(person)
        elif event in ("profile", "merge"):
            if self._wrong_values({"merge_fields": values}, {}, check_required=False):
                raise Refusal("values")
            with Noted(self, person):
                self._fill(person, {"merge_fields": values})
        else:
            with Noted(self, person):
                self._leave(person, event)

    def _leave(self, person: Person, event: str) -> None:
        if event == "hard_bounce":
            self._become(person, "cleaned")
            return
        self._become(person, "unsubscribed")
        if event != "unsubscribe_admin":
            person.left = True
            person.reason = "Abuse complaint" if event == "complaint" else "None given"
        if event == "complaint":
            person.barred = True

    def _move(self, person: Person, address: str) -> None:
        """The person changes their own address; nobody but its owner brings a forgotten one back."""
        reasons = {"fake"} if address in FAKE else set()
        reasons |= {"exists"} if self.find(md5(address)) else set()
        reasons |= {"forgotten"} if md5(address) in self.forgotten else set()
        if reasons:
            raise Refusal(*reasons)
        with Noted(self, person):
            person.address = address

    def _sign_up(self, address: str, values: Mapping[str, Any]) -> None:
        """Mailchimp's own form: open to everybody, with a click to confirm where the audience wants one."""
        person = self.find(md5(address))
        if person and person.status == "subscribed":
            return
        held = person.values if person else {}
        if self._wrong_values({"merge_fields": values}, held, check_required=person is None):
            raise Refusal("values")
        if address in FAKE:
            raise Refusal("fake")
        if person is None:
            status = "pending" if self.double_optin else "subscribed"
            person = self._enter(address, status, {"merge_fields": values})
            person.signed_up = self.now
            self.forgotten.discard(person.id)
            return
        with Noted(self, person):
            self._fill(person, {"merge_fields": values})
            person.signed_up = self.now
            if self.double_optin:
                self._become(person, "pending")
            else:
                self._join(person)

    def _join(self, person: Person) -> None:
        self._become(person, "subscribed")
        person.opted_in = self.now

    # What they have in common

    def _create(self, body: Mapping[str, Any], status: str, *, check_required: bool) -> Person:
        address = body["email_address"]
        reasons = self._wrong_values(body, {}, check_required=check_required) | self._unwelcome(address)
        if reasons:
            raise Refusal(*reasons)
        return self._enter(address, status, body)

    def _enter(self, address: str, status: str, body: Mapping[str, Any]) -> Person:
        person = Person(address, "", {}, [], self.now, 0)
        self._fill(person, body)
        self._become(person, status)
        self._add_tags(person, body.get("tags", ()))
        self.people.append(person)
        self.touch(person)
        new = {"status": status, "merge_fields": dict(person.values), "tags": list(person.tags)}
        self.rows.append((address, "created", "", None, new))
        return person

    def _update(self, person: Person, body: Mapping[str, Any], *, taken: str, check_required: bool) -> Person:
        check_required = check_required and "merge_fields" in body
        reasons = self._wrong_values(body, person.values, check_required=check_required)
        address = body.get("email_address") or person.address
        moves = md5(address) != person.id
        if moves:
            reasons |= self._unwelcome(address)
            reasons |= {taken} if self.find(md5(address)) else set()
            reasons |= {"compliance"} if person.left or person.barred else set()
        status = body.get("status") or person.status
        if not person.may_become(status):
            reasons.add("compliance")
        if reasons:
            raise Refusal(*reasons)
        with Noted(self, person):
            self._fill(person, body)
            self._become(person, status)
            if moves:
                person.address = address
        return person

    def _unwelcome(self, address: str) -> set[str]:
        return {
            reason
            for reason, true in (
                ("fake", address in FAKE),
                ("forgotten", md5(address) in self.forgotten),
                ("throttled", address.lower() in self.throttled),
            )
            if true
        }

    def _wrong_values(self, body: Mapping[str, Any], held: Mapping[str, Any], *, check_required: bool) -> set[str]:
        age = body.get("merge_fields", {}).get("AGE", held.get("AGE", ""))
        wrong = age == "old" or (age == "" and self.age_required and check_required)
        return {"values"} if wrong else set()

    def _fill(self, person: Person, body: Mapping[str, Any]) -> None:
        """Fields left out keep their value, "" clears, digits become a number, unknown fields are ignored."""
        sent = body.get("merge_fields", {})
        read = {tag: int(value) if tag == "AGE" and value != "" else value for tag, value in sent.items()}
        known = {**person.values, **{tag: value for tag, value in read.items() if tag in ("FNAME", "AGE")}}
        person.values = {tag: value for tag, value in known.items() if value != ""}

    def _add_tags(self, person: Person, names: Iterable[str]) -> None:
        """New names stand before those that were there."""
        new = [name for name in dict.fromkeys(names) if name not in person.tags]
        person.tags = new + person.tags

    def _become(self, person: Person, status: str) -> None:
        old = person.status
        if status == old:
            return
        person.status = status
        if status == "subscribed":
            person.left, person.barred, person.reason = False, False, ""
            person.opted_in = self.now if person.opted_in is None else person.opted_in
            self.last_sub = self.now
        elif status == "unsubscribed":
            person.reason = person.reason if person.left else "N/A (Unsubscribed by admin)"
            self.last_unsub = self.now
        elif status == "cleaned":
            person.barred = True
        elif status == "pending":
            self.confirmation_mails += 1

    def touch(self, person: Person) -> None:
        self._places += 1
        person.changed, person.place = self.now, self._places


class Noted:
    """A `with` block around one write: what differs afterwards goes into the audit trail and moves `last_changed`."""

    def __init__(self, book: Book, person: Person) -> None:
        self.book, self.person, self.before = book, person, person.facts()

    def __enter__(self) -> None:
        return

    def __exit__(self, *failure: object) -> None:
        after = self.person.facts()
        if after == self.before:
            return
        address, status, values, tags, *_ = self.before
        both = [
            ("status", "status", status, after[1]),
            *(("field", tag, values.get(tag, ""), after[2].get(tag, "")) for tag in ("FNAME", "AGE")),
            ("address", "email_address", address, after[0]),
            ("tags", "tags", list(tags), list(after[3])),
        ]
        self.book.rows += [(address, *row) for row in both if row[2] != row[3]]
        self.book.touch(self.person)


def md5(address: str) -> str:
    """A member's id in paths."""
    return hashlib.md5(address.lower().encode()).hexdigest()


def written(moment: int | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
