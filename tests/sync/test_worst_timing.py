"""Consent under the worst timing: said again, moved, shared, cut off, archived, imported, stopped (B1, B2, B5)."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction

from nexpura.audience import consent, diff
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.member import KnownMember, Status
from nexpura.audience.plan import OptOut
from nexpura.customers import intake, ledger
from nexpura.customers.importing import import_customers
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.result import Refused
from nexpura.sync import connect, runs, store
from nexpura.sync.clock import Clock
from nexpura.sync.models import KnownMember as Row
from nexpura.sync.models import LoginLease
from nexpura.sync.run import run_sync
from tests.sync.conftest import AUDIENCE, CLERK


def move(customer, email):
    """Give a customer another address."""
    customer.email = email
    customer.save()
    customer.refresh_from_db()


def later():
    """Let Mailchimp's clock, which counts whole seconds, move on."""
    time.sleep(1.1)


def test_a_no_said_again_after_somebody_subscribed_the_member_again_is_carried_out_again(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    shop.sync()
    later()
    shop.person("ada@inbox.example", "signup")
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "subscribed"}
    shop.says_no(ada)  # in the shop, again: stop writing to me
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}


def test_a_yes_given_for_another_address_does_not_undo_somebody_elses_no(shop):
    shop.audience()
    bea = shop.consenting("bea@inbox.example", first="Bea")
    shop.sync()
    shop.says_no(bea)
    shop.sync()
    ada = shop.consenting("ada@inbox.example", first="Ada")  # newer than Bea's no, for Ada's own address
    shop.sync()
    move(ada, "bea@inbox.example")  # mistyped, or a merge in the file
    shop.sync()
    assert shop.statuses()["bea@inbox.example"] == "unsubscribed"


def test_our_unsubscribe_is_not_undone_without_a_newer_yes(shop):
    shop.audience()
    shop.consenting("ada@inbox.example", first="Ada")
    shop.sync()
    twin = shop.customer("old@inbox.example", first="Ada")
    shop.says_no(twin)
    move(twin, "ada@inbox.example")
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}
    move(twin, "")
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}


def test_somebody_who_signed_up_themselves_is_not_unsubscribed_when_the_customer_moves(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.person("ada@inbox.example", "unsubscribe")
    shop.sync()
    later()
    shop.person("ada@inbox.example", "signup")
    shop.sync()
    move(ada, "new@inbox.example")
    shop.sync()
    assert shop.statuses()["ada@inbox.example"] == "subscribed"


def test_a_refused_opt_out_is_tried_again(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    send = MailchimpClient.send

    async def refusing(self, call):
        return Refused(
            errors.MemberRefused(400, "Bad Request", "Your request could not be processed.", errors.Refusal.OTHER)
        )

    monkeypatch.setattr(MailchimpClient, "send", refusing)
    shop.sync()
    monkeypatch.setattr(MailchimpClient, "send", send)
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}


def test_a_refusal_ends_when_the_person_signs_up_themselves(shop):
    shop.audience()
    shop.consenting("ada@inbox.example", first="Ada")
    shop.emulator.control("member_event", {"list_id": AUDIENCE, "email": "x@post.example", "event": "signup"})
    shop.sync()
    shop.emulator.control(
        "member_event", {"list_id": AUDIENCE, "email": "ada@inbox.example", "event": "delete_permanent"}
    )
    # a full reading of a fresh mirror: Mailchimp forgot the address
    Row.objects.all().delete()
    shop.tenant.known_audiences.update(full_read_at=None, decided_under="")
    run = shop.sync()
    assert run.counts["kept"] == 1, run.counts
    later()
    shop.person(
        "ada@inbox.example", "signup", merge_fields={"FNAME": "Adda", "LNAME": "Example"}
    )  # what our remedy says
    run = shop.sync()
    assert shop.statuses()["ada@inbox.example"] == "subscribed"
    assert (run.synced, run.counts["kept"]) == (1, 0)


def test_an_archived_member_is_not_counted_as_synced(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()
    later()
    shop.person("ada@inbox.example", "archive")
    run = shop.sync()
    assert run.synced == 0


def test_an_archived_member_is_neither_unsubscribed_nor_subscribed_again(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    later()
    shop.person("ada@inbox.example", "archive")
    shop.says_no(ada)
    shop.sync()
    first = shop.statuses()
    shop.says_yes(ada)
    shop.sync()
    assert (first, shop.statuses()) == ({"ada@inbox.example": "archived"}, {"ada@inbox.example": "archived"})


def test_an_undated_yes_in_the_same_file_does_not_beat_a_withdrawal(shop, tmp_path):
    shop.audience()
    ann = shop.customer("old@inbox.example", first="Ann")
    ann.external_id = "E1"
    ann.save()
    shop.says_no(ann)
    file = tmp_path / "book.csv"
    file.write_text(
        "external_id,first_name,last_name,email,marketing_consent\n"
        "E1,Ann,Example,ann@inbox.example,\n"
        "E2,Anna,Sample,ann@inbox.example,yes\n"
    )
    outcome = import_customers(shop.tenant, CLERK, file)
    shop.sync()
    assert (outcome.granted, len(outcome.conflicts), shop.statuses()) == (0, 1, {})


def test_a_withdrawal_under_way_while_connecting_is_carried_out(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    connect.disconnect(shop.tenant, CLERK)
    ready, go = threading.Event(), threading.Event()

    def clerk():
        try:
            with transaction.atomic():
                ledger.record(ada, CLERK, granted=False, source="profile")
                ready.set()
                go.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=clerk)
    thread.start()
    ready.wait(10)
    connecting = threading.Thread(target=lambda: (shop.connect(), connection.close()))
    connecting.start()
    connecting.join(3)  # a mended connect waits for the clerk
    go.set()
    thread.join()
    connecting.join()
    shop.sync()
    ada.refresh_from_db()
    assert ada.consent_state == "withdrawn"
    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}


def test_an_opt_out_whose_replies_were_cut_is_still_ours_to_undo(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    shop.emulator.control("faults", [{"kind": "reset", "method": "PATCH", "path": ".*", "every": 1, "when": "after"}])
    shop.sync()
    shop.emulator.control("faults", [])
    shop.sync()
    shop.says_yes(ada)
    shop.sync()
    assert shop.statuses() == {"ada@inbox.example": "subscribed"}


def test_undos_held_back_do_not_block_the_settling_beside_them(shop, monkeypatch):
    shop.audience()
    everybody = [shop.consenting(f"c{n:03}@inbox.example") for n in range(80)]
    shop.sync()
    for one in everybody:
        shop.says_no(one)
    shop.sync()
    for one in everybody:
        shop.says_yes(one)
    plan_of = store.plan_of

    def acted(run):
        shop.emulator.control(
            "member_event",
            [{"list_id": AUDIENCE, "email": f"c{n:03}@inbox.example", "event": "unsubscribe"} for n in range(0, 80, 2)],
        )
        return plan_of(run)

    later()
    monkeypatch.setattr(store, "plan_of", acted)
    run = shop.sync()
    assert run.status in ("succeeded", "partial"), run.status


def test_a_disconnect_while_a_run_ends_waits_for_its_turn(shop):
    shop.audience()
    run = runs.start(shop.tenant, CLERK)
    begun = store.begin(run.pk)
    url = connection.settings_dict
    told = []
    with psycopg.connect(
        host=url["HOST"], port=url["PORT"], user=url["USER"], password=url["PASSWORD"], dbname=url["NAME"]
    ) as other:
        other.execute("SELECT 1 FROM integrations_integration FOR UPDATE")  # as disconnect does first

        def ending():
            try:
                store.finish(begun, store.Ending("succeeded"), requests=1, unanswered=False, now=datetime.now(UTC))
            except OperationalError as error:
                told.append(repr(error))
            finally:
                connection.close()

        thread = threading.Thread(target=ending)
        thread.start()
        time.sleep(0.5)
        try:
            other.execute("UPDATE sync_syncrun SET cancel_requested_at = now()")  # as disconnect does next
        except psycopg.errors.DeadlockDetected as error:
            told.append(repr(error))
        other.rollback()
        thread.join()
    assert told == []


def test_the_databases_own_log_names_nobody(shop, cluster):
    shop.audience()
    one = intake.validate(
        shop.tenant,
        first_name="Ann",
        last_name="Secretname",
        email="ann.secret@inbox.example",
        phone="",
        external_id="T1",
    )
    intake.create(shop.tenant, CLERK, one)
    before = cluster.log.stat().st_size
    with pytest.raises(ValidationError):
        intake.create(shop.tenant, CLERK, one)
    time.sleep(0.3)
    said = cluster.log.read_bytes()[before:].decode()
    assert "ann.secret@" not in said


def test_a_stopped_worker_keeps_the_mailchimp_user_while_requests_are_open(shop):
    shop.audience()
    for n in range(9):
        shop.consenting(f"c{n}@inbox.example")
    shop.emulator.control("latency", [{"method": "PUT", "path": ".*", "base_ms": 9000}])
    run = runs.start(shop.tenant, CLERK)

    async def stopped():
        task = asyncio.create_task(run_sync(run.pk, clock=Clock()))
        while shop.emulator.metrics()["open_requests"] < 9:  # noqa: ASYNC110  # another server sets no event
            await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stopped())
    lease = LoginLease.objects.filter(expires_at__gt=datetime.now(UTC) + timedelta(seconds=30)).exists()
    assert lease


def test_a_newer_no_recorded_earlier_is_carried_out_too():
    first, second, third, ninth = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 9))
    facts = AddressFacts(
        "x@inbox.example",
        customers=(
            CustomerFacts(1, events=(ConsentFact(3, False, first), ConsentFact(4, True, second))),  # imported, dated
            CustomerFacts(2, events=(ConsentFact(2, False, third),)),  # joined the address afterwards
        ),
    )
    known = KnownMember(Status.SUBSCRIBED, carried_out=3)
    decision = diff.change(consent.decide(facts), facts, known, Terms(), ninth)
    assert isinstance(decision, OptOut), decision


def test_a_member_added_by_a_call_whose_replies_were_cut_is_still_ours(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.emulator.control("faults", [{"kind": "reset", "method": "PUT", "path": ".*", "every": 1, "when": "after"}])
    shop.sync()
    shop.emulator.control("faults", [])
    shop.sync()
    move(ada, "new@inbox.example")
    shop.sync()
    assert shop.statuses() == {"new@inbox.example": "subscribed"}  # moved, as only a member of ours is
