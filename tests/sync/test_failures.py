"""Mailchimp fails, the line is cut, the key is refused, somebody cancels: normal cases, each with its end (B7, A8)."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from nexpura.customers.models import Customer
from nexpura.integrations.models import Integration
from nexpura.mailchimp.pace import Patience
from nexpura.sync import connect, erasures, forget, line, panel, renames, runs, schedule
from nexpura.sync.clock import Clock
from nexpura.sync.models import DirtyAddress, LoginLease, MemberResult, SyncRun
from nexpura.sync.run import run_sync
from nexpura.sync.store import Begun, Busy, RunLostError, beat, begin
from nexpura.sync.store.work import cleared
from tests.sync.conftest import CLERK, KEY


@pytest.fixture
def thirty(shop):
    """Thirty consenting customers and an empty audience."""
    shop.audience()
    for number in range(30):
        shop.consenting(f"c{number:02}@inbox.example", first=f"C{number}")
    return shop


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "reset", "truncate", "malformed"])
def test_passing_failures_are_retried_within_the_run(thirty, kind, when):
    thirty.emulator.control("faults", [{"kind": kind, "method": "PUT", "path": ".*", "every": 4, "when": when}])

    run = thirty.sync()

    assert (run.status, run.synced) == ("succeeded", 30)
    assert set(thirty.statuses().values()) == {"subscribed"}
    assert len(thirty.statuses()) == 30


def test_a_call_that_hangs_is_given_up_and_tried_again(thirty, settings):
    settings.NEXPURA_MAILCHIMP_TIMEOUT = 0.3
    thirty.emulator.control("faults", [{"kind": "hang", "method": "PUT", "path": ".*", "nth": 3, "seconds": 1}])

    run = thirty.sync()

    assert (run.status, run.synced) == ("succeeded", 30)


def test_never_more_than_ten_requests_at_once(thirty):
    thirty.emulator.control("latency", [{"path": ".*", "base_ms": 20}])

    thirty.sync()

    assert 2 <= max(row["concurrency"] for row in thirty.emulator.log()) <= 10


def test_a_key_refused_mid_run_ends_it_with_what_was_done_kept_and_the_integration_in_error(thirty):
    thirty.emulator.control("faults", [{"kind": "403", "method": "POST", "path": ".*", "nth": list(range(4, 100))}])

    run = thirty.sync()

    done = len(thirty.statuses())
    row = Integration.objects.get()
    assert 1 <= done < 30
    assert (run.status, run.error["code"]) == ("failed", "access_lost")
    assert MemberResult.objects.filter(state="accepted").count() == done
    assert (row.status, row.error["code"]) == ("error", "access_lost")


def test_the_next_run_finishes_what_a_failed_one_left(thirty):
    thirty.emulator.control("faults", [{"kind": "403", "method": "POST", "path": ".*", "nth": list(range(4, 100))}])
    thirty.sync()
    thirty.emulator.control("faults", [])

    run = thirty.sync()

    assert (run.status, run.synced, run.faulty) == ("succeeded", 30, False)
    assert Integration.objects.get().status == "connected"


def test_a_mailchimp_that_is_away_fails_the_run_in_words_and_keeps_the_connection(thirty, monkeypatch):
    impatient = line.AT_A_PAGE
    opened = line.to_mailchimp
    monkeypatch.setattr(line, "to_mailchimp", lambda key, **more: opened(key, patience=impatient))
    thirty.emulator.control("faults", [{"kind": "503", "path": ".*", "every": 1}])

    run = thirty.sync()

    assert (run.status, run.error["code"]) == ("failed", "mailchimp_unavailable")
    assert Integration.objects.get().status == "connected"
    assert Integration.objects.get().last_checked_at is None


def test_a_page_gives_up_on_a_mailchimp_that_hangs(thirty, monkeypatch):
    hasty = Patience(attempts=2, first_pause=0.01, longest_pause=0.01, total=0.6, connect=1.0, read=0.3)
    monkeypatch.setattr(line, "AT_A_PAGE", hasty)
    connect.disconnect(thirty.tenant, CLERK)
    thirty.emulator.control("faults", [{"kind": "hang", "method": "GET", "path": ".*", "every": 1, "seconds": 3}])
    began = time.monotonic()

    answer = thirty.connect()

    assert isinstance(answer, connect.Refused)
    assert answer.code == "unreachable"
    assert time.monotonic() - began < 2.5


def test_two_clicks_make_one_run(thirty, settings):
    first = runs.start(thirty.tenant, CLERK)
    second = runs.start(thirty.tenant, CLERK)

    assert first.pk == second.pk
    assert SyncRun.objects.count() == 1


def test_a_run_somebody_carries_out_is_not_carried_out_twice(thirty):
    run = runs.start(thirty.tenant, CLERK)
    assert isinstance(begin(run.pk), Begun)

    answer = asyncio.run(run_sync(run.pk, clock=Clock()))

    assert isinstance(answer, Busy)


def test_a_worker_believed_dead_cannot_write_after_its_successor_began(thirty):
    run = runs.start(thirty.tenant, CLERK)
    first = begin(run.pk)
    SyncRun.objects.update(heartbeat_at=run.queued_at - timedelta(minutes=5))
    second = begin(run.pk)

    assert isinstance(second, Begun)
    with pytest.raises(RunLostError):
        beat(first, 1)
    with pytest.raises(RunLostError):
        cleared(first, ("add",), 5)


def test_two_tenants_on_one_mailchimp_user_run_one_after_the_other(thirty, other_tenant):
    connect.connect(other_tenant, CLERK, key_text=KEY, audience_id="abc123def4", auto_sync=False)
    ours, theirs = runs.start(thirty.tenant, CLERK), runs.start(other_tenant, CLERK)

    first = begin(ours.pk)
    second = begin(theirs.pk)

    assert isinstance(first, Begun)
    assert isinstance(second, Busy)


def _while_running(shop, act):
    """Start a run with slow calls and do something in the middle of it."""
    shop.emulator.control("latency", [{"method": "PUT", "path": ".*", "base_ms": 150}])
    with transaction.atomic():
        run, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    worker = threading.Thread(target=lambda: asyncio.run(run_sync(run.pk, clock=Clock())))
    worker.start()
    while not shop.statuses():
        pass
    act(run)
    worker.join()
    run.refresh_from_db()
    return run


def test_a_cancelled_run_ends_at_its_next_call_and_the_next_one_finishes(thirty):
    run = _while_running(thirty, lambda run: runs.cancel(run, CLERK))
    done = len(thirty.statuses())
    thirty.emulator.control("latency", [])

    after = thirty.sync()

    assert run.status == "cancelled"
    assert done < 30
    assert (after.synced, sum(run.counts.values())) == (30, 30)


def test_disconnect_during_a_run_ends_it(thirty):
    run = _while_running(thirty, lambda run: connect.disconnect(thirty.tenant, CLERK))

    assert run.status == "cancelled"
    assert len(thirty.statuses()) < 30
    assert not LoginLease.objects.exists()


def test_a_consent_withdrawn_while_the_run_is_under_way_is_not_written_over(thirty):
    last = Customer.objects.get(address="c29@inbox.example")

    run = _while_running(thirty, lambda run: thirty.says_no(last))
    thirty.sync()

    assert run.status == "succeeded"
    assert thirty.statuses().get("c29@inbox.example") in (None, "unsubscribed")
    assert sum(run.counts.values()) == run.book


def test_a_scheduled_run_that_would_unsubscribe_too_many_stops_and_says_so(thirty):
    thirty.sync()
    for customer in Customer.objects.order_by("id")[:12]:
        thirty.says_no(customer)

    stopped = thirty.sync("schedule")
    held = list(thirty.statuses().values()).count("unsubscribed")
    pressed = thirty.sync("manual")

    assert (stopped.status, stopped.error["code"], held) == ("stopped", "brake", 0)
    assert pressed.counts["unsubscribed"] == 12
    assert list(thirty.statuses().values()).count("unsubscribed") == 12


def test_ten_withdrawals_are_never_held_back(thirty):
    thirty.sync()
    for customer in Customer.objects.order_by("id")[:10]:
        thirty.says_no(customer)

    run = thirty.sync("schedule")

    assert (run.status, run.counts["unsubscribed"]) == ("succeeded", 10)


def test_opt_outs_not_yet_in_mailchimp_are_counted(thirty):
    thirty.sync()
    for customer in Customer.objects.order_by("id")[:3]:
        thirty.says_no(customer)

    before = panel.unsent_opt_outs(thirty.tenant).to_send
    thirty.sync()

    assert (before, panel.unsent_opt_outs(thirty.tenant).count) == (3, 0)


def test_an_opt_out_said_under_an_earlier_address_is_counted_until_it_is_in_mailchimp(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    shop.person("ada@inbox.example", "address", new_email="ada@new.example")
    shop.sync()
    renames.take_over(shop.tenant, CLERK, ada, "ada@new.example")

    before = panel.unsent_opt_outs(shop.tenant).count
    shop.sync()

    assert (before, panel.unsent_opt_outs(shop.tenant).count) == (1, 0)
    assert shop.statuses() == {"ada@new.example": "unsubscribed"}


def test_a_run_that_died_between_sending_and_settling_is_found_by_rereading(thirty):
    """What landed is counted as done without being sent again; what did not is sent."""
    run = runs.start(thirty.tenant, CLERK)

    async def killed_midway() -> None:
        work = asyncio.create_task(run_sync(run.pk, clock=Clock()))
        while len(thirty.emulator.members("abc123def4")) < 9:  # noqa: ASYNC110  # another server sets no event
            await asyncio.sleep(0.005)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(killed_midway())
    landed = len(thirty.statuses())
    asyncio.run(run_sync(run.pk, clock=Clock()))
    run.refresh_from_db()

    assert landed < 30
    assert (run.status, run.synced, run.faulty) == ("succeeded", 30, False)
    assert not DirtyAddress.objects.exists()
    created = [row for row in thirty.emulator.audit() if not row.get("old")]
    assert len(created) >= 30


def test_the_daily_run_comes_once_a_day_in_a_quiet_hour_and_catches_up_once(thirty):
    connect.set_auto_sync(thirty.tenant, CLERK, True)
    due = Integration.objects.get().next_sync_at
    local = due.astimezone(thirty.tenant.zone)

    early = runs.start_due(due - timedelta(minutes=1))
    three_days_late = runs.start_due(due + timedelta(days=3))
    again = runs.start_due(due + timedelta(days=3, minutes=1))

    assert 1 <= local.hour < 5
    assert (early, three_days_late, again) == (0, 1, 0)
    assert Integration.objects.get().next_sync_at > due + timedelta(days=3)


def test_switched_off_the_schedule_does_nothing(thirty):
    connect.set_auto_sync(thirty.tenant, CLERK, True)
    due = Integration.objects.get().next_sync_at
    connect.set_auto_sync(thirty.tenant, CLERK, False)

    assert runs.start_due(due + timedelta(days=2)) == 0


def test_the_local_time_of_the_daily_run_stays_over_a_change_of_the_clocks(tenant):
    zone = tenant.zone
    moment = schedule.next_time(7, zone, tenant.created_at)
    local = set()
    for _ in range(370):
        moment = schedule.next_time(7, zone, moment)
        local.add(moment.astimezone(zone).time())

    assert len(local) <= 2


def test_no_key_and_no_address_is_logged(thirty, caplog):
    caplog.set_level("DEBUG")
    thirty.emulator.control("faults", [{"kind": "500", "method": "PUT", "path": ".*", "every": 5}])

    thirty.sync()

    said = caplog.text
    assert KEY[:12] not in said
    assert "inbox.example" not in said


def test_a_key_that_cannot_be_opened_ends_the_run_in_words(thirty, settings):
    settings.NEXPURA_ENCRYPTION_KEYS = ["b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyMDE="]

    run = thirty.sync()

    assert (run.status, run.error["code"]) == ("failed", "key_unreadable")
    assert Integration.objects.get().status == "error"


def test_a_key_that_cannot_be_opened_is_told_alike_by_a_sync_and_by_an_erasure(thirty, settings):
    thirty.sync()
    settings.NEXPURA_ENCRYPTION_KEYS = ["b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyMDE="]

    run = thirty.sync()
    erasure = erasures.erase(thirty.tenant, CLERK, Customer.objects.latest("id").pk, "unsubscribe")
    forget.carry_out(erasure.pk, datetime.now(UTC))
    erasure.refresh_from_db()

    words = ("code", "title", "detail", "remedy")
    assert [run.error[word] for word in words] == [erasure.problem[word] for word in words]


def test_a_run_whose_command_died_before_it_began_is_taken_up_by_a_worker(thirty):
    with transaction.atomic():
        run, _ = runs.create(thirty.tenant, CLERK, "command", past_brake=False)

    too_soon = runs.revive(run.queued_at + timedelta(seconds=1))
    revived = runs.revive(run.queued_at + timedelta(minutes=5))
    again = runs.revive(run.queued_at + timedelta(minutes=5))

    assert (too_soon, revived, again) == (0, 1, 0)
