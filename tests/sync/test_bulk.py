"""Many at once: adds and updates of subscribed members, and why no status changes by them (A8, B2, B7)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from nexpura.audience import plan
from nexpura.customers.models import Customer
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.result import Refused
from nexpura.sync import sending
from nexpura.sync.database import from_db
from nexpura.sync.models import DirtyAddress, KnownMember, MemberResult
from nexpura.sync.store import standings
from tests.sync.conftest import AUDIENCE

MANY = 40
"""Enough for a bulk call of five at each of the nine places."""


def address(number: int) -> str:
    return f"c{number}@inbox.example"


def many(shop, number: int = MANY) -> list[Customer]:
    return [shop.consenting(address(n), first=f"First{n}") for n in range(number)]


def bulk_calls(shop) -> list[dict]:
    return [row for row in shop.writes() if row["method"] == "POST" and row["path"].endswith(f"/lists/{AUDIENCE}")]


def single_calls(shop) -> list[dict]:
    return [row for row in shop.writes() if row["method"] in ("PUT", "PATCH")]


def before_each_bulk_call(monkeypatch, act) -> None:
    """Have something happen in Mailchimp after the audience was read, and before members are written."""
    send = MailchimpClient.send_bulk

    async def sent(self, call):
        if acted := act():
            await acted
        await asyncio.sleep(0.2)  # all of them are under way
        return await send(self, call)

    monkeypatch.setattr(MailchimpClient, "send_bulk", sent)


def renamed(shop, customers) -> None:
    Customer.objects.filter(pk__in=[one.pk for one in customers]).update(last_name="Renamed")


def once(act):
    """Return what does `act` the first time only."""
    left = [act]
    return lambda: left.pop()() if left else None


def test_many_new_people_go_in_as_many_calls_as_are_allowed_at_once(shop):
    shop.audience()
    many(shop)

    run = shop.sync()

    assert (run.status, run.counts["added"], run.faulty) == ("succeeded", MANY, False)
    assert set(shop.statuses().values()) == {"subscribed"}
    assert [len(row["body"]["members"]) for row in bulk_calls(shop)] == [5] * 8
    assert single_calls(shop) == []


def test_a_handful_goes_singly(shop):
    shop.audience()
    many(shop, 9)

    shop.sync()

    assert (bulk_calls(shop), len(single_calls(shop))) == ([], 9)


def test_no_bulk_call_carries_a_status_for_somebody_who_is_there(shop):
    shop.audience()
    customers = many(shop)
    shop.sync()
    renamed(shop, customers)

    run = shop.sync()

    assert run.counts["updated"] == MANY
    sent = [member for row in bulk_calls(shop) for member in row["body"]["members"]]
    assert len(sent) == 2 * MANY
    assert all("status" not in member and member["status_if_new"] == "subscribed" for member in sent)
    assert {row["body"]["update_existing"] for row in bulk_calls(shop)[:8]} == {False}
    assert {row["body"]["update_existing"] for row in bulk_calls(shop)[8:]} == {True}


@pytest.mark.parametrize(("left", "status"), [("unsubscribe", "unsubscribed"), ("hard_bounce", "cleaned")])
def test_whoever_came_and_went_meanwhile_keeps_their_status_and_is_not_ours(shop, monkeypatch, left, status):
    shop.audience()
    many(shop)

    def comes_and_goes():
        shop.person(address(3), "signup")
        shop.person(address(3), left)

    before_each_bulk_call(monkeypatch, once(comes_and_goes))

    run = shop.sync()

    assert shop.statuses()[address(3)] == status
    assert not KnownMember.objects.get(address=address(3)).added_by_us
    assert (run.counts["added"], run.faulty) == (MANY - 1, False)
    assert shop.sync().counts["added"] == 0


def test_whoever_signed_up_themselves_meanwhile_is_not_ours(shop, monkeypatch):
    shop.audience()
    many(shop)
    before_each_bulk_call(monkeypatch, once(lambda: shop.person(address(3), "signup")))

    run = shop.sync()

    assert (run.status, shop.statuses()[address(3)]) == ("succeeded", "subscribed")
    assert [row["method"] for row in single_calls(shop)] == ["PUT"]
    assert shop.member(address(3))["merge_fields"]["FNAME"] == "First3"


def test_whoever_leaves_while_names_are_sent_has_left_and_has_withdrawn(shop, monkeypatch):
    shop.audience()
    customers = many(shop)
    shop.sync()
    renamed(shop, customers)
    before_each_bulk_call(monkeypatch, once(lambda: shop.person(address(3), "unsubscribe")))

    shop.sync()
    shop.sync()

    assert shop.statuses()[address(3)] == "unsubscribed"
    customers[3].refresh_from_db()
    assert customers[3].consent_state == "withdrawn"


def test_a_bulk_update_that_makes_somebody_ends_bulk_calls_for_that_run(shop, monkeypatch):
    monkeypatch.setattr(plan, "BULK_LIMIT", 3)
    shop.audience()
    customers = many(shop, 100)
    shop.sync()
    renamed(shop, customers)
    before_each_bulk_call(monkeypatch, once(lambda: shop.person(address(0), "address", new_email="new@post.example")))
    begins = shop.log_begins_here()

    run = shop.sync()

    assert (run.status, run.faulty) == ("succeeded", False)
    assert shop.statuses()[address(0)] == "subscribed"  # a yes stands, and nobody said no
    calls = Counter(row["method"] for row in shop.emulator.log()[begins:])
    assert 2 <= calls["POST"] <= 18  # those that were under way or cleared
    assert calls["PATCH"] == 100 - 3 * calls["POST"]


def test_one_refused_address_of_a_bulk_call_holds_up_nobody(shop):
    shop.audience()
    many(shop)
    shop.consenting("foo@bar.com")

    run = shop.sync()

    assert (run.status, run.counts["added"], run.counts["failed"]) == ("partial", MANY, 1)


def test_a_bulk_call_refused_whole_is_sent_singly(shop, monkeypatch):
    shop.audience()
    many(shop)

    async def refused(self, call):
        return Refused(errors.MemberRefused(400, "Invalid Resource", "", errors.Refusal.OTHER, {}))

    monkeypatch.setattr(MailchimpClient, "send_bulk", refused)

    run = shop.sync()

    assert (run.status, run.counts["added"], len(single_calls(shop))) == ("succeeded", MANY, MANY)


@pytest.mark.parametrize("kind", ["reset", "truncate", "502"])
def test_a_bulk_add_whose_reply_was_lost_is_looked_at_and_not_repeated(shop, kind):
    shop.audience()
    many(shop)
    fault = {"kind": kind, "method": "POST", "path": ".*", "nth": [2, 3], "when": "after"}
    shop.emulator.control("faults", [fault])

    run = shop.sync()

    assert (run.status, run.counts["added"], run.faulty) == ("succeeded", MANY, False)
    assert KnownMember.objects.filter(added_by_us=True).count() == MANY
    sent = [member["email_address"] for row in bulk_calls(shop) for member in row["body"]["members"]]
    assert sorted(sent) == sorted(set(sent))
    assert single_calls(shop) == []


def test_a_bulk_add_that_never_arrived_is_sent_again_in_the_same_run(shop):
    shop.audience()
    many(shop)
    fault = {"kind": "reset", "method": "POST", "path": ".*", "nth": [2, 3], "when": "before"}
    shop.emulator.control("faults", [fault])

    run = shop.sync()

    assert (run.status, run.counts["added"], run.faulty) == ("succeeded", MANY, False)
    assert set(shop.statuses().values()) == {"subscribed"}
    assert len(shop.statuses()) == MANY


def test_a_mailchimp_that_cuts_every_bulk_call_leaves_them_waiting_and_the_next_run_finishes(shop):
    shop.audience()
    many(shop)
    shop.emulator.control("faults", [{"kind": "reset", "method": "POST", "path": ".*", "every": 1}])

    run = shop.sync()
    assert (run.counts["waiting"], run.faulty) == (MANY, False)
    assert MemberResult.objects.filter(state="sending").count() == MANY

    shop.emulator.control("faults", [])
    run = shop.sync()
    assert (run.status, run.counts["added"]) == ("succeeded", MANY)


def test_a_no_said_while_bulk_calls_are_under_way_is_not_overtaken(shop, monkeypatch):
    monkeypatch.setattr(plan, "BULK_LIMIT", 3)
    shop.audience()
    customers = many(shop, 100)

    async def says_no():
        await from_db(shop.says_no)(customers[99])

    before_each_bulk_call(monkeypatch, once(says_no))

    shop.sync()

    assert len(shop.statuses()) == 99
    assert address(99) not in shop.statuses()


def test_a_no_said_while_a_cleared_call_waited_too_long_for_its_place_is_not_overtaken(shop, monkeypatch):
    monkeypatch.setattr(plan, "BULK_LIMIT", 3)
    monkeypatch.setattr(sending, "CLEARED_FOR", 0.1)
    shop.audience()
    customers = {one.email: one for one in many(shop, 100)}
    in_the_tenth_call = sorted(customers)[28]
    said = asyncio.Event()

    async def says_no():
        await asyncio.sleep(0.3)  # the nine before are under way, and the tenth is cleared
        await from_db(shop.says_no)(customers[in_the_tenth_call])
        said.set()

    speak = once(says_no)
    before_each_bulk_call(monkeypatch, lambda: speak() or said.wait())

    shop.sync()

    assert len(shop.statuses()) == 99
    assert in_the_tenth_call not in shop.statuses()


def test_what_was_cleared_and_never_sent_is_not_left_as_if_it_had_been(shop, monkeypatch):
    monkeypatch.setattr(plan, "BULK_LIMIT", 3)
    shop.audience()
    many(shop, 200)
    shop.emulator.control("faults", [{"kind": "reset", "method": "POST", "path": ".*", "every": 1}])
    calls, send = [], MailchimpClient.send_bulk

    async def counted(self, call):
        calls.append(call)
        return await send(self, call)

    monkeypatch.setattr(MailchimpClient, "send_bulk", counted)

    shop.sync()

    assert sending.GIVE_UP_AFTER <= len(calls) < 200 / 3
    assert MemberResult.objects.filter(state="sending").count() == 3 * len(calls)


def test_a_book_is_marked_whole_in_however_many_steps(shop, monkeypatch):
    monkeypatch.setattr(standings, "STEP", 3)
    shop.audience()
    many(shop, 10)
    for _ in range(4):
        shop.consenting(address(4), first="First4")  # more at one address than a step takes
    DirtyAddress.objects.all().delete()
    shop.tenant.known_audiences.update(decided_under="")

    shop.sync()

    assert shop.statuses() == {address(number): "subscribed" for number in range(10)}
