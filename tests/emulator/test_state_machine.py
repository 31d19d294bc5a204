"""Random calls and events, step by step against the rules as `model.py` has them.

Always the same lives of an audience, unless EMULATOR_LIVES says how many new ones there shall be.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from . import model
from .calling import KEY, LIST
from .direct import Direct, Told
from .model import Book, Person, Refusal

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
LONG_AGO = NOON - 86_400
ADMIN = "N/A (Unsubscribed by admin)"
BUSY = "busy@inbox.example"
OF_THE_PERSON = ("unsubscribe", "complaint", "hard_bounce", "profile", "address", "confirm", "signup")
OF_THE_MERCHANT = ("unsubscribe_admin", "merge", "archive")
MEMBERS = f"/lists/{LIST}/members"

SEEDS, LIVES = 9, 9  # after ten lives from one seed most others are repetitions of them
SETTINGS = settings(
    max_examples=LIVES,
    stateful_step_count=40,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

LEFT = {"left": True, "reason": "None given"}
# Who was there before: what the emulator is told, what the book holds.
BEGINNINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "subscribed": ({}, {}),
    "pending": ({}, {}),
    "transactional": ({}, {}),
    "cleaned": ({}, {"barred": True}),
    "unsubscribed": ({"unsubscribed_by": "admin"}, {"reason": ADMIN}),
    "unsubscribed, by themselves": ({"unsubscribed_by": "user"}, LEFT),
    "unsubscribed, under review": ({"unsubscribed_by": "admin", "compliance": True}, {"barred": True, "reason": ADMIN}),
    "pending, having left": ({"unsubscribed_by": "user"}, LEFT),
    "archived": ({}, {}),
    "archived, having left": ({"unsubscribed_by": "user"}, LEFT),
    "archived, under review": ({"compliance": True}, {"barred": True}),
}
FORGOTTEN = "permanently deleted"
SAME = "the address the path names"

# Few people, so that they meet often; in other case they are the same.
PEOPLE = ["ann@inbox.example", "bob@inbox.example", "cid@post.example", "dot@post.example"]
POOL = [*PEOPLE, "Ann@Inbox.Example", "BOB@inbox.example", "eve@post.example", "fay@post.example", BUSY]
beginnings = st.fixed_dictionaries(dict.fromkeys(PEOPLE, st.sampled_from([*BEGINNINGS, FORGOTTEN, "", ""])))
anybody = st.sampled_from([*POOL, *POOL, "foo@bar.com"])
present = st.runner().flatmap(lambda audience: st.sampled_from(audience.present() or POOL))
somebody = st.one_of(present, present, present, st.sampled_from(POOL))
forms = st.sampled_from(["hash", "HASH", "address", "contact"])
pauses = st.sampled_from([0, 1, 60])
statuses = st.sampled_from([*["subscribed"] * 3, *["pending"] * 2, "unsubscribed", "cleaned", "transactional"])
values = st.fixed_dictionaries(
    {},
    optional={
        "FNAME": st.sampled_from(["Ann", "Bo", ""]),
        "AGE": st.sampled_from([7, "8", 9, "", "old"]),
        "NOPE": st.just("x"),
    },
)
names = st.sampled_from(["vip", "new", "cold"])
tags = st.lists(names, max_size=3)
tag_changes = st.lists(
    st.fixed_dictionaries({"name": names, "status": st.sampled_from(["active", "inactive"])}), max_size=3
)
additions = st.fixed_dictionaries(
    {"email_address": present | anybody, "status": statuses}, optional={"merge_fields": values, "tags": tags}
)
writes = st.fixed_dictionaries(
    {},
    optional={
        "email_address": st.just(SAME) | anybody,
        "status": statuses,
        "status_if_new": st.none() | statuses,
        "merge_fields": values,
        "tags": tags,
    },
)
items = st.fixed_dictionaries(
    {"email_address": present | anybody, "status": statuses, "status_if_new": statuses},
    optional={"merge_fields": values, "tags": tags},
)
bulk_items = st.builds(
    lambda item, left_out: {name: value for name, value in item.items() if name not in left_out},
    items,
    st.sampled_from([(), ("status",), ("status_if_new",)] * 3 + [("status", "status_if_new"), ("email_address",)]),
)
bulk_bodies = st.lists(bulk_items, min_size=1, max_size=4)


class Audience(RuleBasedStateMachine):
    """One audience and its book. Every step does the same to both and compares what became of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, double_optin: bool, age_required: bool) -> None:
        super().__init__()
        kind = {"double_optin": double_optin, "age_required": age_required}
        self.emulator = Direct(loop, {})
        self.book = Book(NOON, **kind, throttled={BUSY})
        self.requests = 0
        self.steps = 0
        self.audited = 0  # rows of the audit trail that were looked at
        self.by: int | str = ""  # the last call or event, in the words of the audit trail

    @initialize(them=beginnings)
    def begin(self, them: dict[str, str]) -> None:
        members = []
        for address, was in them.items():
            if was in BEGINNINGS:
                told, held = BEGINNINGS[was]
                status = was.partition(",")[0]
                opted_in = None if status in ("pending", "transactional") else LONG_AGO
                since = {} if opted_in is None else {"timestamp_opt": opted_in}
                members.append({"email_address": address, "status": status, **told, **since})
                self.book.people.append(Person(address, status, {}, [], NOON, len(members), opted_in, **held))
        forgotten = [address for address, was in them.items() if was == FORGOTTEN]
        self.book.forgotten = set(map(model.md5, forgotten))
        fields = [{"tag": "FNAME"}, {"tag": "AGE", "type": "number", "required": self.book.age_required}]
        audience = {
            "id": LIST,
            "double_optin": self.book.double_optin,
            "merge_fields": fields,
            "members": members,
            "forgotten": forgotten,
        }
        account = {"users": [{"keys": [KEY]}], "throttled": [BUSY], "lists": [audience]}
        assert self.emulator.control("reset", {"accounts": [account], "now": NOON}).status == 200

    def present(self) -> list[str]:
        return [person.address for person in self.book.people]

    # Steps

    @rule(body=additions, skip=st.booleans(), pause=pauses)
    def post(self, body: dict[str, Any], skip: bool, pause: int) -> None:
        self._wait(pause)

        told = self._ask("POST", MEMBERS, body, skip)

        self._judge(told, lambda: self.book.post(body, check_required=not skip))

    @rule(address=somebody, form=forms, body=writes, skip=st.booleans(), pause=pauses)
    def put(self, address: str, form: str, body: dict[str, Any], skip: bool, pause: int) -> None:
        self._wait(pause)
        body = _named(body, address)
        named = address if form == "address" else None

        told = self._ask("PUT", f"{MEMBERS}/{self._key(address, form)}", body, skip)

        key = model.md5(address)
        self._judge(told, lambda: self.book.put(key, body, address=named, check_required=not skip))

    @rule(address=somebody, form=forms, body=writes, skip=st.booleans(), pause=pauses)
    def patch(self, address: str, form: str, body: dict[str, Any], skip: bool, pause: int) -> None:
        self._wait(pause)
        body = _named(body, address)

        told = self._ask("PATCH", f"{MEMBERS}/{self._key(address, form)}", body, skip)

        self._judge(told, lambda: self.book.patch(model.md5(address), body, check_required=not skip))

    @rule(address=somebody, form=forms, pause=pauses)
    def delete(self, address: str, form: str, pause: int) -> None:
        self._wait(pause)

        told = self._ask("DELETE", f"{MEMBERS}/{self._key(address, form)}")

        self._judge(told, lambda: self.book.archive(model.md5(address)))

    @precondition(lambda self: len(self.book.people) > 2)
    @rule(address=somebody, form=forms, by_hand=st.booleans())
    def delete_permanently(self, address: str, form: str, by_hand: bool) -> None:
        if by_hand:
            self._happen(address, "delete_permanent", {}, address, 0)
            return
        told = self._ask("POST", f"{MEMBERS}/{self._key(address, form)}/actions/delete-permanent")

        self._judge(told, lambda: self.book.delete_permanently(model.md5(address)))

    @rule(address=somebody, form=forms, changes=tag_changes, pause=pauses)
    def tag(self, address: str, form: str, changes: list[dict[str, str]], pause: int) -> None:
        self._wait(pause)

        told = self._ask("POST", f"{MEMBERS}/{self._key(address, form)}/tags", {"tags": changes})

        self._judge(told, lambda: self.book.tag(model.md5(address), changes))

    @rule(
        items=bulk_bodies,
        update_existing=st.booleans(),
        sync_tags=st.booleans(),
        skip_duplicate_check=st.booleans(),
        skip=st.booleans(),
        pause=pauses,
    )
    def bulk(
        self,
        items: list[dict[str, Any]],
        update_existing: bool,
        sync_tags: bool,
        skip_duplicate_check: bool,
        skip: bool,
        pause: int,
    ) -> None:
        self._wait(pause)
        body = {"members": items, "update_existing": update_existing, "sync_tags": sync_tags}

        told = self._ask("POST", f"/lists/{LIST}", body, skip, skip_duplicate_check=str(skip_duplicate_check).lower())

        self._judge(
            told,
            lambda: self.book.bulk(
                items,
                update_existing=update_existing,
                sync_tags=sync_tags,
                skip_duplicate_check=skip_duplicate_check,
                check_required=not skip,
            ),
        )

    @rule(address=somebody, event=st.sampled_from(OF_THE_PERSON), sent=values, new=anybody, pause=pauses)
    def the_person_acts(self, address: str, event: str, sent: dict[str, Any], new: str, pause: int) -> None:
        self._happen(address, event, sent, new, pause)

    @rule(address=somebody, event=st.sampled_from(OF_THE_MERCHANT), sent=values, pause=pauses)
    def the_merchant_acts(self, address: str, event: str, sent: dict[str, Any], pause: int) -> None:
        self._happen(address, event, sent, address, pause)

    def _happen(self, address: str, event: str, sent: dict[str, Any], new: str, pause: int) -> None:
        self._wait(pause)
        body = {"list_id": LIST, "email": address, "event": event, "merge_fields": sent, "new_email": new}

        told = self.emulator.control("member_event", body)

        try:
            self.book.happen(event, address, sent, new)
        except Refusal as refusal:
            assert told.status == 400, (told.body, refusal.reasons)
        else:
            assert (told.status, told.body) == (200, {"applied": 1})
        self.by = f"member_event {event}"

    @rule(address=somebody, form=forms)
    def read(self, address: str, form: str) -> None:
        told = self._ask("GET", f"{MEMBERS}/{self._key(address, form)}")

        self._judge(told, lambda: self.book.known(model.md5(address)))

    # What is always true

    @invariant()
    def agree(self) -> None:
        self.steps += 1
        self._the_audit_trail_tells_what_changed()
        self._the_members_are_those_of_the_book()
        self._the_counts_are_those_of_the_book()
        self._a_listing_shows_who_was_asked_for()
        self._a_question_about_recent_changes_is_answered_exactly()

    def _the_members_are_those_of_the_book(self) -> None:
        rows = self.emulator.look("members", list_id=LIST)
        assert [row["id"] for row in rows] == [person.id for person in self.book.people]
        assert len({row["email_address"].lower() for row in rows}) == len(rows)
        assert self.book.forgotten.isdisjoint(row["id"] for row in rows)
        for row, person in zip(rows, self.book.people, strict=True):
            shown = person.visible()
            assert (row["email_address"], row["status"]) == (person.address, person.status)
            assert (row["merge_fields"], row["tags"]) == (person.values, person.tags)
            assert (row["last_changed"], row["timestamp_opt"]) == (shown["last_changed"], shown["timestamp_opt"])
            person.named = person.named or (row["contact_id"], row["web_id"])
            assert (row["contact_id"], row["web_id"]) == person.named

    def _the_counts_are_those_of_the_book(self) -> None:
        stats = self._get(f"/lists/{LIST}", fields="stats")["stats"]
        counts = self.book.counts()
        assert stats["member_count"] == counts["subscribed"]
        assert stats["unsubscribe_count"] == counts["unsubscribed"]
        assert stats["cleaned_count"] == counts["cleaned"]
        assert stats["last_sub_date"] == model.written(self.book.last_sub)
        assert stats["last_unsub_date"] == model.written(self.book.last_unsub)

    def _a_listing_shows_who_was_asked_for(self) -> None:
        """In turn: every status, and none."""
        status = (None, *model.STATUSES)[self.steps % 7]
        expected = self.book.listed(status)
        told = self._get(MEMBERS, fields="members.id,total_items", **({"status": status} if status else {}))
        assert told["total_items"] == len(expected)
        assert [row["id"] for row in told["members"]] == [person.id for person in expected]

    def _a_question_about_recent_changes_is_answered_exactly(self) -> None:
        """In turn: every moment at which something changed; in order of arrival, and of change."""
        moments = sorted({person.changed for person in self.book.people} | {NOON - 1})
        since = moments[self.steps % len(moments)]
        expected = self.book.listed(since=since)
        query = {"since_last_changed": model.written(since), "fields": "members.id"}
        if self.steps % 2:
            query["sort_field"] = "last_changed"
            expected.sort(key=lambda person: (person.changed, person.place))
        assert [row["id"] for row in self._get(MEMBERS, **query)["members"]] == [person.id for person in expected]

    def _the_audit_trail_tells_what_changed(self) -> None:
        """By which call, and nothing else. Fields that are no merge fields are left out of the comparison."""
        rows = self.emulator.look("audit")
        told, self.audited = rows[self.audited :], len(rows)
        told = [row for row in told if row["event"] != "field" or row["field"] in ("FNAME", "AGE")]
        assert {row["request"] for row in told} <= {self.by}
        rows = [(row["email_address"], row["event"], row["field"], row["old"], row["new"]) for row in told]
        assert sorted(rows, key=repr) == sorted(self.book.rows, key=repr)
        self.book.rows.clear()
        assert self.emulator.look("metrics")["confirmation_mails"] == {LIST: self.book.confirmation_mails}

    # How a step is taken

    def _wait(self, seconds: int) -> None:
        if seconds:
            self.book.now += seconds
            self.emulator.control("clock", {"now": self.book.now})

    def _ask(self, method: str, path: str, body: Any = None, skip: bool = False, **query: str) -> Told:
        self.requests += 1
        query |= {"skip_merge_validation": "true"} if skip else {}
        return self.emulator.ask(method, path, body, **query)

    def _get(self, path: str, **query: str) -> Any:
        self.requests += 1
        told = self.emulator.ask("GET", path, count="1000", **query)
        assert told.status == 200, told.body
        return told.body

    def _key(self, address: str, form: str) -> str:
        digest = model.md5(address)
        person = self.book.find(digest)
        contact = person.named[0] if person and person.named else digest
        return {"hash": digest, "HASH": digest.upper(), "address": address, "contact": contact}[form]

    def _judge(self, told: Told, do: Any) -> None:
        """Do to the book what was asked of the emulator; both must come to the same."""
        try:
            expected = do()
        except Refusal as refusal:
            assert (told.status, told.body["title"]) in refusal.answers, (told.body, refusal.reasons)
            assert any(_says(told.body["detail"], reason) for reason in refusal.reasons), (told.body, refusal.reasons)
        else:
            self._compare(told, expected)
        self.by = self.requests

    def _compare(self, told: Told, expected: Any) -> None:
        assert told.status == (204 if expected is None else 200), told.body
        if isinstance(expected, Person):
            shown = expected.visible()
            assert {name: _plain(told.body.get(name)) for name in shown} == shown
            assert ("unsubscribe_reason" in told.body) == (expected.status == "unsubscribed")
        elif isinstance(expected, model.Bulk):
            _compare_bulk(told.body, expected)


def _named(body: dict[str, Any], address: str) -> dict[str, Any]:
    return {name: address if value == SAME else value for name, value in body.items()}


def _compare_bulk(body: Any, expected: model.Bulk) -> None:
    assert [member["id"] for member in body["new_members"]] == expected.new
    assert [member["id"] for member in body["updated_members"]] == expected.updated
    assert [error["email_address"] for error in body["errors"]] == [address for address, _ in expected.errors]
    for error, (_, reasons) in zip(body["errors"], expected.errors, strict=True):
        assert any(_says(error["error"], reason) for reason in reasons), (error, reasons)
        assert (error["error_code"] == "ERROR_CONTACT_EXISTS") == (reasons == {"exists"})
    counts = (body["total_created"], body["total_updated"], body["error_count"])
    assert counts == (len(expected.new), len(expected.updated), len(expected.errors))


def _says(detail: str, reason: str) -> bool:
    return model.REASONS[reason][1] in detail


def _plain(value: Any) -> Any:
    """Tags by their names; everything else as it is."""
    return [tag["name"] for tag in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("double_optin", "age_required"), [(False, False), (True, True)], ids=["plain", "double opt-in, a required field"]
)
def test_the_emulator_agrees_with_the_rules_whatever_happens(double_optin, age_required):
    asked_for = os.environ.get("EMULATOR_LIVES")
    seeds = range(SEEDS) if asked_for is None else [secrets.randbits(32) for _ in range(int(asked_for) // LIVES + 1)]
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        for number in seeds:

            @seed(number)
            def begun() -> Audience:
                return Audience(loop, double_optin=double_optin, age_required=age_required)

            run_state_machine_as_test(begun, settings=SETTINGS)
