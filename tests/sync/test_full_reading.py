"""Everybody read, once a week or when somebody asks: drift is told, and mended by the rules, never silently."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from io import StringIO
from itertools import count, pairwise
from threading import Event
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction

from nexpura.audience import diff
from nexpura.audience.consent import Granted
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.member import Cause, KnownMember, OptOutRecord, Status
from nexpura.audience.plan import Add, Bucket
from nexpura.audience.reasons import Reason
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.sync import drift, erasures, outcome, reading, runs, schedule
from nexpura.sync.clock import Clock
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.sync.models import KnownMember as Row
from nexpura.sync.run import run_sync
from nexpura.sync.store.learn import mark
from nexpura.tenants.models import AuditEvent
from tests.sync.conftest import CLERK, Shop

ADA, BEA = "ada@inbox.example", "bea@inbox.example"
LONG_AGO = "2024-05-01T10:00:00+00:00"
NAMED = {"FNAME": "Ann", "LNAME": "Example"}


def there(email: str, status: str = "subscribed", **more) -> dict:
    """A member who has been in the audience for years, called what customers here are called."""
    return {"email_address": email, "status": status, "merge_fields": NAMED, "last_changed": LONG_AGO, **more}


def full(shop: Shop, trigger: str = "command", at: datetime | None = None) -> SyncRun:
    """Carry out a run that was asked to read the whole audience."""
    with transaction.atomic():
        run, _ = runs.create(shop.tenant, CLERK, trigger, past_brake=False, full=True)
    asyncio.run(run_sync(run.pk, clock=Clock(at)))
    run.refresh_from_db()
    return run


def much_later(shop: Shop) -> None:
    """As if everything had been read again since it was last written: no change is new any more."""
    shop.tenant.known_audiences.update(read_through=datetime.now(UTC) + timedelta(hours=1))


def found(run: SyncRun) -> dict[str, int]:
    assert run.drift is not None, "nothing was compared"
    return {kind: one["members"] for kind, one in run.drift["found"].items()}


def known(email: str = ADA) -> Row:
    return Row.objects.get(address=email)


def consenting(shop: Shop, email: str = ADA):
    """A customer whose yes is younger than the member's last change."""
    return shop.consenting(email)


@pytest.fixture
def agreed(shop) -> Shop:
    """Ada is a customer and a member, and both agree; so does a stranger, who is a member only."""
    shop.audience(there(ADA), there("own@post.example"))
    shop.ada = consenting(shop)
    run = shop.sync()
    assert (run.counts["agreement"], shop.writes()) == (1, [])
    return shop


# --- when ----------------------------------------------------------------------------------------


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
A_WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("read_at", "whole"), [("at that moment", False), ("a second before", True), ("weeks before", True)]
)
def test_a_sync_reads_everybody_when_the_shops_moment_of_the_week_has_passed_since(agreed, read_at, whole):
    moment = schedule.whole_reading_due(agreed.tenant.pk, datetime.now(UTC))
    before = {"at that moment": timedelta(0), "a second before": timedelta(seconds=1), "weeks before": 5 * A_WEEK}
    agreed.tenant.known_audiences.update(full_read_at=moment - before[read_at])

    run = agreed.sync("schedule")

    assert (run.drift is not None) is whole
    assert run.full is False


def test_everybody_is_read_once_a_week_by_nightly_syncs():
    nights = [NOON + timedelta(days=day, seconds=day % 3) for day in range(28)]  # a little later, or earlier
    read_at = [NOON - A_WEEK]
    for night in nights:
        if read_at[-1] < schedule.whole_reading_due(5, night):
            read_at.append(night + timedelta(minutes=2))

    gaps = [later.date() - earlier.date() for earlier, later in pairwise(read_at)]
    assert gaps[:2] == [A_WEEK, timedelta(days=3)]  # the second is its own moment of the week
    assert gaps[2:] == [A_WEEK] * 3


def test_the_weekly_readings_of_shops_are_spread_over_the_week():
    moments = [schedule.whole_reading_due(tenant_id, NOON) for tenant_id in range(7_000)]

    assert all(NOON - A_WEEK < moment <= NOON for moment in moments)
    days = Counter((NOON - moment).days for moment in moments)
    assert set(days) == set(range(7))
    assert max(days.values()) < 1_150


def test_a_weekly_reading_that_failed_is_tried_again_by_the_next_sync(agreed):
    agreed.tenant.known_audiences.update(full_read_at=datetime.now(UTC) - A_WEEK)
    agreed.emulator.control("faults", [{"kind": "403", "method": "GET", "path": ".*/members", "every": 1}])
    failed = agreed.sync("schedule")
    agreed.emulator.control("faults", [])

    run = agreed.sync("schedule")

    assert (failed.status, failed.drift) == ("failed", None)
    assert run.drift == {"complete": True, "found": {}}


def test_after_a_whole_reading_syncs_ask_for_changes_only(agreed):
    full(agreed)
    before = len(agreed.emulator.log())

    run = agreed.sync()

    asked = [row["path"] for row in agreed.emulator.log()[before:] if "/members" in row["path"]]
    assert (run.drift, run.requests) == (None, 4)
    assert asked


def test_everybody_is_read_when_somebody_asks(agreed):
    run = full(agreed)

    assert run.full
    assert run.drift == {"complete": True, "found": {}}
    assert AuditEvent.objects.filter(action="mailchimp.sync_started").latest("id").after["whole_audience"] is True


def test_the_first_reading_has_nothing_to_be_compared_with(shop):
    shop.audience(there(ADA))

    run = full(shop)

    assert (run.status, run.drift) == ("succeeded", None)


def test_a_run_that_waits_reads_everybody_if_that_is_asked_for_meanwhile(agreed):
    waiting = runs.start(agreed.tenant, CLERK)

    asked = runs.start(agreed.tenant, CLERK, full=True)

    assert (asked.pk, asked.full) == (waiting.pk, True)
    assert SyncRun.objects.get(pk=waiting.pk).full


def test_a_run_that_has_begun_goes_on_as_it_began(agreed):
    begun = runs.start(agreed.tenant, CLERK)
    SyncRun.objects.filter(pk=begun.pk).update(status="running", started_at=datetime.now(UTC))

    asked = runs.start(agreed.tenant, CLERK, full=True)

    assert (asked.pk, asked.full) == (begun.pk, False)


def test_whoever_asks_for_a_reading_has_not_agreed_to_mass_unsubscribes(agreed):
    assert runs.start(agreed.tenant, CLERK, full=True).past_brake is False


def test_a_run_that_reads_twice_reads_everybody_once(agreed):
    run = runs.start(agreed.tenant, CLERK, full=True)
    listed = mock.Mock()

    async def twice(begun, mailchimp):
        await reading.read_audience(begun, mailchimp)
        return await reading.read_audience(begun, mailchimp)

    def members(self, audience_id, *, since=None, status=""):
        listed(since)
        return LISTING(self, audience_id, since=since, status=status)

    with mock.patch("nexpura.sync.run.read_audience", twice), mock.patch.object(MailchimpClient, "members", members):
        asyncio.run(run_sync(run.pk, clock=Clock()))

    assert [call.args[0] is None for call in listed.call_args_list] == [True, True, False, False]
    run.refresh_from_db()
    assert run.drift == {"complete": True, "found": {}}


LISTING = MailchimpClient.members


# --- what is drift -------------------------------------------------------------------------------


def test_an_unchanged_book_and_our_own_writes_are_no_drift(shop):
    shop.audience(there(ADA, tags=["theirs"]), there("own@post.example", "unsubscribed"), there(BEA, "archived"))
    consenting(shop)
    cleo = shop.consenting("cleo@inbox.example", first="Cleo", phone="+61291234567")
    cleo.tags = ["gold"]
    cleo.save()
    shop.sync()
    written = len(shop.writes())
    much_later(shop)

    run = full(shop)

    assert run.drift == {"complete": True, "found": {}}
    assert len(shop.writes()) == written


def test_what_changed_since_the_last_reading_is_no_drift(agreed):
    agreed.person(ADA, "profile", merge_fields={"FNAME": "Adda"})
    agreed.person("own@post.example", "unsubscribe")
    agreed.person("new@post.example", "signup")

    run = full(agreed)

    assert found(run) == {}
    assert agreed.member(ADA)["merge_fields"]["FNAME"] == "Ann"


@pytest.mark.parametrize(
    ("kind", "otherwise"),
    [
        ("unknown", lambda row: row.delete()),
        ("unknown", lambda row: Row.objects.filter(pk=row.pk).update(status="", last_changed=None)),
        ("status", lambda row: Row.objects.filter(pk=row.pk).update(status="cleaned")),
        ("details", lambda row: Row.objects.filter(pk=row.pk).update(merge_fields={"FNAME": "Anna"})),
        ("tags", lambda row: Row.objects.filter(pk=row.pk).update(tags=["once"])),
        ("status", lambda row: Row.objects.filter(pk=row.pk).update(status="cleaned", tags=["once"])),
    ],
)
def test_whoever_is_otherwise_than_known_is_counted_once_and_the_customer_named(agreed, kind, otherwise):
    otherwise(known())

    run = full(agreed)

    assert run.drift["found"] == {kind: {"members": 1, "customers": [agreed.ada.pk]}}
    assert (known().status, known().merge_fields["FNAME"], known().tags) == ("subscribed", "Ann", [])
    assert agreed.writes() == []
    assert (run.status, run.counts["agreement"], run.faulty) == ("succeeded", 1, False)


def test_a_stranger_is_counted_and_no_customer_named(agreed):
    known("own@post.example").delete()

    run = full(agreed)

    assert run.drift["found"] == {"unknown": {"members": 1, "customers": []}}


def test_a_field_that_was_added_to_the_audience_is_nobodys_drift(agreed):
    Row.objects.update(merge_fields={**NAMED, "SHOE": "", "BIRTHDAY": "01/02"})

    assert found(full(agreed)) == {}


def test_the_order_of_tags_is_no_drift(shop):
    shop.audience(there(ADA, tags=["one", "two"]))
    consenting(shop)
    shop.sync()
    Row.objects.update(tags=["two", "one"])

    assert found(full(shop)) == {}


def test_drift_of_many_names_a_few_customers(shop):
    shop.audience(*(there(f"c{number}@inbox.example") for number in range(8)))
    customers = [consenting(shop, f"c{number}@inbox.example") for number in range(8)]
    shop.sync()
    Row.objects.update(status="cleaned")

    run = full(shop)

    told = [customer.pk for customer in customers[: drift.CUSTOMERS_TOLD]]
    assert run.drift["found"] == {"status": {"members": 8, "customers": told}}


def test_where_somebody_was_erased_nothing_is_compared(agreed):
    erasures.erase(agreed.tenant, CLERK, agreed.ada.pk, "keep")
    much_later(agreed)

    run = full(agreed)

    assert found(run) == {}
    assert not Row.objects.filter(address=ADA).exists()


def test_what_a_broken_off_reading_found_is_told_by_the_next_sync(agreed):
    known().delete()
    with mock.patch.object(reading.store, "reading_ended", side_effect=ValueError):
        broken = full(agreed)

    run = agreed.sync()

    assert (broken.status, broken.drift) == ("failed", None)
    assert found(run) == {"unknown": 1}
    assert KnownAudience.objects.get().drift is None


# --- what follows from it ------------------------------------------------------------------------


def test_details_that_drifted_are_brought_up_to_date_in_the_same_run(agreed):
    agreed.person(ADA, "profile", merge_fields={"FNAME": "Adda"})
    much_later(agreed)

    run = full(agreed)

    assert found(run) == {"details": 1}
    assert (run.counts["updated"], agreed.member(ADA)["merge_fields"]["FNAME"]) == (1, "Ann")
    assert run.results.get().kind == "update"


def test_a_no_found_by_drift_is_heard_like_any_no(shop):
    shop.audience(there(ADA, "unsubscribed", unsubscribed_by="user"))
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime(2023, 1, 1, tzinfo=UTC))
    shop.sync()
    Row.objects.update(status="subscribed")

    run = full(shop)

    ada.refresh_from_db()
    assert found(run) == {"status": 1}
    assert ada.consent_state == "withdrawn"
    assert ada.consent_events.latest("id").source == "mailchimp"
    assert (run.counts["withheld"], shop.writes()) == (1, [])


def missing_once(monkeypatch, *left_out: str) -> None:
    """Have the next listing leave these members out, as if somebody deleted had pulled them over a page's edge."""

    async def members(self, audience_id, *, since=None, status=""):
        async for page in LISTING(self, audience_id, since=since, status=status):
            kept = tuple(member for member in page.members if member.address not in left_out)
            yield type(page)(kept, page.total_items, page.offset, page.at)

    monkeypatch.setattr(MailchimpClient, "members", members)


def test_what_stood_before_connecting_changes_nothing_though_the_first_reading_missed_it(shop, monkeypatch):
    shop.audience(there(ADA, "unsubscribed", unsubscribed_by="user"), there("own@post.example"))
    ada = shop.customer(ADA)
    with monkeypatch.context() as patch:
        missing_once(patch, ADA)
        shop.sync()
    assert not KnownAudience.objects.get().listing_complete
    shop.says_yes(ada, claimed_at=datetime(2023, 1, 1, tzinfo=UTC))

    run = shop.sync()

    ada.refresh_from_db()
    assert KnownAudience.objects.get().listing_complete
    assert (ada.consent_state, run.counts["kept"], shop.writes()) == ("granted", 1, [])


def test_a_no_said_after_connecting_is_heard_though_several_readings_missed_it(shop, monkeypatch):
    shop.audience(there(ADA), there("own@post.example"))
    ada = consenting(shop)
    with monkeypatch.context() as patch:
        missing_once(patch, ADA)
        shop.sync()
        time.sleep(2.1)  # Mailchimp tells whole seconds
        shop.person(ADA, "unsubscribe")
        time.sleep(2.1)
        shop.sync()

    shop.sync()

    ada.refresh_from_db()
    assert ada.consent_state == "withdrawn"


def test_a_yes_given_after_a_no_found_by_drift_is_not_taken_back(shop):
    shop.audience(there(ADA, "unsubscribed", unsubscribed_by="user"))
    ada = consenting(shop)
    shop.sync()
    Row.objects.update(status="subscribed")

    full(shop)

    ada.refresh_from_db()
    assert ada.consent_state == "granted"
    assert shop.statuses() == {ADA: "unsubscribed"}


def unseen_noes(shop: Shop, number: int) -> None:
    """So many people say no, of whose members we know nothing, and a sync takes that for done."""
    emails = [f"c{n}@inbox.example" for n in range(number)]
    shop.audience(*map(there, emails), *(there(f"own{n}@post.example") for n in range(20)))
    customers = [shop.customer(email) for email in emails]
    shop.sync()
    Row.objects.filter(address__in=emails).delete()
    for customer in customers:
        shop.says_no(customer)
    shop.sync()
    assert shop.writes() == []


def test_a_no_that_was_taken_for_carried_out_is_carried_out_when_its_member_is_found(shop):
    unseen_noes(shop, 2)

    run = full(shop, "schedule")

    assert found(run) == {"unknown": 2}
    assert run.counts["unsubscribed"] == 2
    assert shop.statuses()["c0@inbox.example"] == "unsubscribed"


def test_mass_unsubscribes_for_drift_wait_for_a_person_although_somebody_asked_for_the_reading(shop):
    unseen_noes(shop, 12)

    run = full(shop)

    assert (run.status, found(run)) == ("stopped", {"unknown": 12})
    assert set(shop.statuses().values()) == {"subscribed"}


def test_a_member_subscribed_again_since_the_no_is_left_alone_when_it_is_found(agreed):
    agreed.says_no(agreed.ada)
    agreed.sync()
    time.sleep(1.1)  # Mailchimp's clock counts whole seconds
    agreed.person(ADA, "signup")
    much_later(agreed)
    Row.objects.filter(address=ADA).update(status="", last_changed=None, opt_out=None)

    run = full(agreed)

    assert found(run) == {"unknown": 1}
    assert agreed.statuses()[ADA] == "subscribed"
    assert run.counts["kept"] == 1


# --- who is gone ---------------------------------------------------------------------------------


def test_a_customers_member_that_was_deleted_is_told_and_not_offered_to_mailchimp_again(agreed):
    agreed.person(ADA, "delete_permanent")
    unseen = agreed.sync()

    run = full(agreed)
    after = agreed.sync()

    assert (unseen.counts["agreement"], found(run)) == (1, {"gone": 1})
    assert run.drift["found"]["gone"]["customers"] == [agreed.ada.pk]
    assert (known().status, run.counts["kept"], after.counts["kept"]) == ("", 1, 1)
    assert agreed.writes() == []
    assert agreed.statuses() == {"own@post.example": "subscribed"}
    agreed.ada.refresh_from_db()
    assert agreed.ada.consent_state == "granted"


def test_a_stranger_who_was_deleted_is_told_and_nothing_is_written(agreed):
    agreed.person("own@post.example", "delete_permanent")

    run = full(agreed)

    assert run.drift["found"] == {"gone": {"members": 1, "customers": []}}
    assert (known("own@post.example").status, agreed.writes()) == ("", [])
    assert found(full(agreed)) == {}


def test_a_no_of_somebody_who_is_gone_has_nothing_left_to_do(agreed):
    agreed.says_no(agreed.ada)
    agreed.person(ADA, "delete_permanent")

    run = full(agreed)

    assert (found(run), run.counts["withheld"], agreed.writes()) == ({"gone": 1}, 1, [])


def test_an_incomplete_listing_tells_nobody_gone(agreed, monkeypatch):
    agreed.person(ADA, "delete_permanent")
    monkeypatch.setattr(reading, "_is_complete", lambda seen, totals: False)

    run = full(agreed)

    assert run.drift == {"complete": False, "found": {}}
    assert known().status == "subscribed"
    assert drift.caveats(run.drift)
    assert KnownAudience.objects.get().listing_complete  # what an earlier one has proven holds


def test_a_no_that_an_incomplete_listing_missed_is_heard_by_the_next_sync(agreed, monkeypatch):
    monkeypatch.setattr(import_module("nexpura.sync.store.learn"), "OVERLAP", timedelta(seconds=1))
    time.sleep(3.1)  # so that only what was not read yet is read again
    agreed.person(ADA, "unsubscribe")
    time.sleep(3.1)
    with monkeypatch.context() as patch:
        missing_once(patch, ADA)
        run = full(agreed)

    agreed.sync()

    agreed.ada.refresh_from_db()
    assert run.drift == {"complete": False, "found": {}}
    assert agreed.ada.consent_state == "withdrawn"


def during_the_reading(monkeypatch, act, *, before: str) -> None:
    """Have something happen before the listing of this status is read: '' for the first, 'archived' for the second."""

    async def members(self, audience_id, *, since=None, status=""):
        if status == before:
            act()
        async for page in LISTING(self, audience_id, since=since, status=status):
            yield page

    monkeypatch.setattr(MailchimpClient, "members", members)


def test_whoever_connects_anew_and_a_reading_that_finds_drift_do_not_wait_in_a_circle(agreed, monkeypatch):
    """Connecting holds the audience while it marks; what a reading found is written there, and marked."""
    Row.objects.filter(address=ADA).update(status="cleaned")
    held = Event()

    def connects() -> None:
        with closing(connection), transaction.atomic():
            KnownAudience.objects.select_for_update(no_key=True).get()
            held.set()
            time.sleep(1.0)
            mark(agreed.tenant.pk, [ADA])

    with ThreadPoolExecutor(1) as others:
        connecting = list[Future]()

        def begin() -> None:
            connecting.append(others.submit(connects))
            held.wait(10)

        during_the_reading(monkeypatch, begin, before="")
        run = full(agreed)
        connecting[0].result()

    assert found(run) == {"status": 1}


@pytest.mark.parametrize("cut_before", ["", "archived"])
def test_a_reading_that_is_cut_short_tells_nobody_gone_and_the_next_one_does(agreed, monkeypatch, cut_before):
    agreed.person(ADA, "delete_permanent")

    def cut() -> None:
        raise errors.TryLater(503, "Busy")

    with monkeypatch.context() as patch:
        during_the_reading(patch, cut, before=cut_before)
        broken = full(agreed)
    unharmed = (known().status, known("own@post.example").status)

    run = full(agreed)

    assert (broken.status, broken.drift, unharmed) == ("failed", None, ("subscribed", "subscribed"))
    assert run.drift == {"complete": True, "found": {"gone": {"members": 1, "customers": [agreed.ada.pk]}}}


def test_a_worker_that_dies_while_it_asks_who_is_gone_leaves_the_rest_to_its_successor(shop, monkeypatch):
    emails = [f"c{number}@inbox.example" for number in range(6)]
    shop.audience(*map(there, emails), there("own@post.example"))
    customers = [consenting(shop, email) for email in emails]
    shop.sync()
    for email in emails[:4]:
        shop.person(email, "delete_permanent")
    run = runs.start(shop.tenant, CLERK, full=True)
    calls = count(1)
    gone = reading.store.gone

    def dying(*args) -> None:
        if next(calls) == 2:
            raise OperationalError("the worker is gone, and its connection")
        gone(*args)

    monkeypatch.setattr(reading, "ASKED_ABOUT_AT_ONCE", 2)
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(reading.store, "gone", dying)
        asyncio.run(run_sync(run.pk, clock=Clock()))
    told = {row.address for row in Row.objects.filter(status="")}
    SyncRun.objects.update(heartbeat_at=datetime.now(UTC) - timedelta(hours=1))

    asyncio.run(run_sync(run.pk, clock=Clock()))

    run.refresh_from_db()
    assert len(told) == 2
    assert run.drift["complete"]
    assert run.drift["found"] == {"gone": {"members": 4, "customers": [one.pk for one in customers[:4]]}}
    assert (run.status, run.counts["kept"], run.counts["agreement"], shop.writes()) == ("succeeded", 4, 2, [])


def test_members_the_listing_left_out_are_asked_about_and_are_not_gone(agreed, monkeypatch):
    async def members(self, audience_id, *, since=None, status=""):
        async for page in LISTING(self, audience_id, since=since, status=status):
            kept = tuple(member for member in page.members if member.address not in (ADA, "own@post.example"))
            yield type(page)(kept, len(kept), page.offset, page.at)

    monkeypatch.setattr(MailchimpClient, "members", members)

    run = full(agreed)

    assert run.drift == {"complete": False, "found": {}}
    assert {known().status, known("own@post.example").status} == {"subscribed"}


@pytest.mark.parametrize("before", ["", "archived"])
def test_somebody_who_changes_their_address_while_everybody_is_read_is_not_gone(agreed, monkeypatch, before):
    during_the_reading(monkeypatch, lambda: agreed.person(ADA, "address", new_email="new@post.example"), before=before)

    run = full(agreed)
    monkeypatch.undo()
    agreed.sync()

    assert found(run) == {}
    assert (known().status, known().renamed_to) == ("", "new@post.example")
    assert agreed.statuses() == {"own@post.example": "subscribed", "new@post.example": "subscribed"}


def test_somebody_who_joins_while_everybody_is_read_is_not_gone(agreed, monkeypatch):
    during_the_reading(monkeypatch, lambda: agreed.person("new@post.example", "signup"), before="archived")

    run = full(agreed)

    assert found(run) == {}


def test_whoever_was_archived_is_in_the_second_listing(agreed):
    agreed.person(ADA, "archive")
    agreed.sync()

    run = full(agreed)

    assert (found(run), known().status, run.counts["kept"]) == ({}, "archived", 1)


def test_somebody_who_comes_back_between_the_two_listings_is_not_gone(shop, monkeypatch):
    shop.audience(there(ADA, "archived"))
    consenting(shop)
    shop.sync()
    during_the_reading(monkeypatch, lambda: shop.person(ADA, "signup"), before="archived")

    run = full(shop)

    assert (found(run), known().status) == ({}, "subscribed")


def test_another_shop_with_the_same_audience_is_none_the_wiser(agreed, other_tenant):
    other = Shop(other_tenant, agreed.emulator)
    other.connect()
    other.consenting(ADA)
    other.sync()
    agreed.person(ADA, "delete_permanent")

    run = full(agreed)

    assert found(run) == {"gone": 1}
    assert Row.objects.get(tenant=other_tenant, address=ADA).status == "subscribed"
    assert found(full(other)) == {"gone": 1}


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "archived", "transactional"])
def test_whoever_was_out_already_and_is_gone_is_not_offered_to_mailchimp(shop, status):
    shop.audience(there(ADA, status, unsubscribed_by="user"), there("own@post.example"))
    consenting(shop)
    shop.sync()
    shop.person(ADA, "delete_permanent")

    run = full(shop)

    assert (found(run), run.counts["kept"], shop.writes()) == ({"gone": 1}, 1, [])


OUT = KnownMember(Status.UNSUBSCRIBED, NAMED, last_changed=datetime(2024, 5, 1, tzinfo=UTC))
OURS = OptOutRecord(Cause.WITHDRAWAL, datetime(2024, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("what", "member", "stays_out"),
    [
        ("they left themselves", OUT, True),
        ("their mail came back", KnownMember(Status.CLEANED), True),
        ("the merchant archived them", KnownMember(Status.ARCHIVED), True),
        ("they were subscribed", KnownMember(Status.SUBSCRIBED), True),
        ("they had been asked to confirm", KnownMember(Status.PENDING), True),
        ("we unsubscribed them, a yes came since", KnownMember(OUT.status, {}, OUT.last_changed, opt_out=OURS), True),
        ("they never were a member", KnownMember(Status.ABSENT), False),
    ],
)  # fmt: skip
def test_a_yes_brings_nobody_back_whose_member_was_deleted(what, member, stays_out):
    yes = ConsentFact(2, granted=True, at=datetime(2026, 1, 1, tzinfo=UTC))
    ada = CustomerFacts(1, "Ann", "Example", events=(yes,))

    decision = diff.change(
        Granted(ada, yes), AddressFacts(ADA, (ada,)), outcome.gone(member), Terms(), datetime(2026, 1, 2, tzinfo=UTC)
    )

    if stays_out:
        assert (decision.bucket, decision.reason) == (Bucket.KEPT, Reason.FORGOTTEN)
    else:
        assert isinstance(decision, Add)


def test_whoever_was_out_and_gone_comes_back_by_signing_up(shop):
    shop.audience(there(ADA, "unsubscribed", unsubscribed_by="user"))
    consenting(shop)
    shop.sync()
    shop.person(ADA, "delete_permanent")
    full(shop)
    shop.person(ADA, "signup", merge_fields=NAMED)

    run = shop.sync()

    assert (run.synced, run.counts["agreement"]) == (1, 1)


# --- the command ---------------------------------------------------------------------------------


def told_by(shop: Shop, *options: str) -> str:
    out = StringIO()
    call_command("sync", "--tenant", shop.tenant.slug, *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_reads_everybody_and_tells_what_was_otherwise(agreed):
    known().delete()
    agreed.person("own@post.example", "delete_permanent")

    first, second = told_by(agreed, "--full"), told_by(agreed, "--full")

    assert first.splitlines() == [
        "✓ Synced 1 subscribers",
        "Read everybody in the audience: 2 members were otherwise than known here",
        "  1 in the audience, and not known here",
        "  1 no longer in the audience: deleted in Mailchimp",
    ]
    assert second.splitlines()[1:] == ["Read everybody in the audience: as known here"]


def test_the_commands_json_has_the_drift(agreed):
    told = json.loads(told_by(agreed, "--full", "--json"))

    assert (told["full"], told["drift"]) == (True, {"complete": True, "found": {}})


def test_a_dry_run_reads_nothing_and_so_cannot_be_full(agreed):
    with pytest.raises(CommandError, match="not allowed with"):
        told_by(agreed, "--full", "--dry-run")


def test_the_command_waits_for_another_run_and_then_reads_everybody(agreed):
    begun = runs.start(agreed.tenant, CLERK)
    SyncRun.objects.filter(pk=begun.pk).update(started_at=datetime.now(UTC))  # it has been put back

    told_by(agreed, "--full")

    newest = agreed.tenant.sync_runs.latest("id")
    assert (newest.pk > begun.pk, newest.full) == (True, True)
