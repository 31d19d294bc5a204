"""A no is heard and carried out whatever else goes on at that moment, and nobody is asked who did not want to be."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction

from nexpura.audience.reasons import Reason
from nexpura.customers import intake, ledger
from nexpura.customers.models import Customer
from nexpura.integrations.models import Integration
from nexpura.sync import connect, erasures, explain, facts, forget, renames, store
from nexpura.sync.clock import Clock
from nexpura.sync.models import KnownAudience, KnownMember, LoginLease, SyncRun, Webhook
from nexpura.sync.run import run_sync
from nexpura.sync.store import inbound
from tests.sync.conftest import CLERK, Shop
from tests.sync.erasing import tables_that_name
from tests.sync.test_consent_in_life import choose, mailchimp_is_at

ADA, BEN = "ada@inbox.example", "ben@inbox.example"
NEW = "ada.king@post.example"


def later() -> None:
    """Let Mailchimp's clock, which counts whole seconds, move on."""
    time.sleep(1.1)


def consent_of(customer: Customer) -> str:
    return Customer.objects.values_list("consent_state", flat=True).get(pk=customer.pk)


def just_before_it_is_sent(monkeypatch, act) -> None:
    """Let somebody act once, after a sync has read the audience and before its first call."""
    plan_of = store.plan_of

    def after_the_reading(run):
        monkeypatch.setattr(store, "plan_of", plan_of)
        act()
        return plan_of(run)

    monkeypatch.setattr(store, "plan_of", after_the_reading)


# --- while somebody else is being erased --------------------------------------------------------------------------


def waiting_erasure(shop: Shop, email: str = "erased@inbox.example") -> None:
    """Somebody is erased while Mailchimp does not answer."""
    gone = shop.consenting(email, first="Gone")
    shop.sync()
    shop.emulator.control("faults", [{"kind": "503", "method": "PATCH", "path": ".*", "every": 1}])
    erasure = erasures.erase(shop.tenant, CLERK, gone.pk, "unsubscribe")
    forget.carry_out(erasure.pk, datetime.now(UTC))
    shop.emulator.control("faults", [])


def test_somebody_who_leaves_in_mailchimp_is_heard_while_the_erasure_of_somebody_else_waits(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting(ADA)
    waiting_erasure(shop)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert consent_of(ada) == "withdrawn"


def test_an_erasure_that_waits_in_another_shop_makes_nobody_deaf_here(shop, other_tenant, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    theirs = Shop(other_tenant, shop.emulator)
    theirs.connect()
    waiting_erasure(theirs)
    connect.disconnect(other_tenant, CLERK)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert consent_of(ada) == "withdrawn"


# --- between the reading of a sync and its calls ------------------------------------------------------------------


def test_somebody_who_leaves_while_their_new_name_is_on_its_way_has_said_no(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(first_name="Augusta")
    later()
    just_before_it_is_sent(monkeypatch, lambda: shop.person(ADA, "unsubscribe"))

    shop.sync()
    shop.sync()

    assert (shop.statuses(), consent_of(ada)) == ({ADA: "unsubscribed"}, "withdrawn")


@pytest.mark.parametrize("others", [0, 40], ids=["alone", "among many"])
def test_somebody_who_signs_up_and_leaves_while_we_are_about_to_add_them_has_said_no(shop, monkeypatch, others):
    shop.audience()
    ada = shop.consenting(ADA)
    for number in range(others):
        shop.consenting(f"c{number}@inbox.example")
    later()
    just_before_it_is_sent(monkeypatch, lambda: signs_up_and_leaves(shop))

    first = shop.sync()
    second = shop.sync()

    assert (shop.statuses()[ADA], consent_of(ada)) == ("unsubscribed", "withdrawn")
    assert (first.counts["waiting"], first.faulty) == (1, False)
    assert (second.counts["withheld"], second.counts["added"], second.faulty) == (1, 0, False)


def test_a_later_yes_in_the_shop_does_not_by_itself_subscribe_whoever_left_while_being_added(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    later()
    just_before_it_is_sent(monkeypatch, lambda: signs_up_and_leaves(shop))
    shop.sync()
    shop.sync()
    later()
    shop.says_yes(ada)
    written = len(shop.writes())

    run = shop.sync()

    assert shop.writes()[written:] == []
    assert (shop.statuses(), run.counts["kept"]) == ({ADA: "unsubscribed"}, 1)


def test_who_had_left_before_and_was_missed_when_connecting_stays_out_and_their_yes_in_the_book_stands(
    shop, monkeypatch
):
    shop.audience()
    ada = shop.consenting(ADA)

    def was_not_shown():
        signs_up_and_leaves(shop)
        KnownAudience.objects.update(listing_complete=False)

    just_before_it_is_sent(monkeypatch, was_not_shown)

    shop.sync()
    run = shop.sync()

    assert (shop.statuses(), consent_of(ada)) == ({ADA: "unsubscribed"}, "granted")
    assert (run.counts["kept"], run.faulty) == (1, False)
    assert explain.explain(shop.tenant, ada).reason == Reason.UNSUBSCRIBED_THERE


def signs_up_and_leaves(shop: Shop) -> None:
    shop.person(ADA, "signup")
    shop.person(ADA, "unsubscribe")


def test_somebody_who_leaves_while_their_member_moves_has_said_no(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=NEW)
    later()
    just_before_it_is_sent(monkeypatch, lambda: shop.person(ADA, "unsubscribe"))

    shop.sync()
    shop.sync()

    assert (shop.statuses(), consent_of(ada)) == ({ADA: "unsubscribed"}, "withdrawn")


def test_somebody_who_signs_up_again_themselves_just_before_they_are_asked_is_not_asked(shop, monkeypatch):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    choose(shop, ask_to_confirm=True)
    mailchimp_is_at(shop, hours=1)
    shop.person(ADA, "unsubscribe")
    shop.sync()
    mailchimp_is_at(shop)
    shop.says_yes(ada)
    just_before_it_is_sent(monkeypatch, lambda: shop.person(ADA, "signup"))

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed"}


def test_whose_member_changes_just_before_they_are_asked_is_not_asked_before_another_look(shop, monkeypatch):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    choose(shop, ask_to_confirm=True)
    mailchimp_is_at(shop, hours=1)
    shop.person(ADA, "unsubscribe")
    shop.sync()
    mailchimp_is_at(shop)
    shop.says_yes(ada)

    def comes_and_goes():
        shop.person(ADA, "signup")
        shop.person(ADA, "unsubscribe")

    just_before_it_is_sent(monkeypatch, comes_and_goes)

    run = shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert not any(shop.emulator.metrics()["confirmation_mails"].values())
    assert (run.counts["waiting"], run.faulty) == (1, False)


def test_somebody_who_leaves_once_more_just_before_they_are_subscribed_again_has_said_no(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    shop.sync()
    shop.says_yes(ada)
    later()
    later()
    just_before_it_is_sent(monkeypatch, lambda: shop.person(ADA, "unsubscribe"))

    shop.sync()
    shop.sync()

    assert (shop.statuses(), consent_of(ada)) == ({ADA: "unsubscribed"}, "withdrawn")


@pytest.mark.parametrize("ago", [{"hours": 1}, {"seconds": 10}], ids=["long before", "just before"])
def test_somebody_who_leaves_just_before_we_unsubscribe_them_is_not_subscribed_again_by_us(shop, monkeypatch, ago):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)

    def leaves():
        mailchimp_is_at(shop, **ago)
        shop.person(ADA, "unsubscribe")
        mailchimp_is_at(shop)

    just_before_it_is_sent(monkeypatch, leaves)
    run = shop.sync()
    written = len(shop.writes())
    later()
    shop.says_yes(ada)

    shop.sync()

    assert shop.writes()[written:] == []
    assert shop.statuses() == {ADA: "unsubscribed"}
    assert (run.counts["unsubscribed"], run.counts["withheld"], run.faulty) == (0, 1, False)


def test_somebody_who_leaves_just_before_their_old_member_is_ended_has_said_no(shop, monkeypatch):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email="")

    def leaves():
        mailchimp_is_at(shop, seconds=10)
        shop.person(ADA, "unsubscribe")
        mailchimp_is_at(shop)

    just_before_it_is_sent(monkeypatch, leaves)
    shop.sync()

    shop.sync()

    assert consent_of(ada) == "withdrawn"


def test_our_own_unsubscribe_met_by_its_repetition_is_ours_to_undo(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 3.0
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    shop.emulator.control("faults", [{"kind": "reset", "method": "PATCH", "path": ".*", "when": "after", "times": 2}])
    run = shop.sync()
    patched = [write for write in shop.writes() if write["method"] == "PATCH"]

    shop.says_yes(ada)
    shop.sync()

    assert (len(patched), run.counts["unsubscribed"]) == (3, 1)
    assert shop.statuses() == {ADA: "subscribed"}


# --- whose address changed in the book or in Mailchimp meanwhile --------------------------------------------------


def test_somebody_who_leaves_at_the_address_they_had_is_not_added_at_the_one_they_have(shop):
    shop.audience()
    ada, ben = shop.consenting(ADA), shop.consenting(BEN)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=NEW)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed", BEN: "subscribed"}
    assert (consent_of(ada), consent_of(ben)) == ("withdrawn", "granted")


def test_a_no_at_an_address_somebody_else_has_by_now_is_not_that_of_whoever_had_it(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=NEW)
    ben = shop.consenting(ADA, first="Ben")
    shop.sync()
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert (consent_of(ada), consent_of(ben)) == ("granted", "withdrawn")


def test_a_no_that_met_nobody_because_the_address_was_just_changed_reaches_the_new_one(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    later()
    just_before_it_is_sent(monkeypatch, lambda: shop.person(ADA, "address", new_email=NEW))
    shop.sync()
    shop.sync()

    renames.take_over(shop.tenant, CLERK, Customer.objects.get(pk=ada.pk), NEW)
    shop.sync()

    assert shop.statuses() == {NEW: "unsubscribed"}


# --- while nobody knows what became of an unsubscribe of another shop -------------------------------------------------


def test_somebody_who_leaves_long_after_another_shop_failed_to_unsubscribe_them_has_said_no(
    shop, other_tenant, settings
):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada, theirs = shop.consenting(ADA), Shop(other_tenant, shop.emulator)
    theirs.connect()
    her_double = theirs.consenting(ADA)
    shop.sync()
    theirs.sync()
    theirs.says_no(her_double)
    shop.emulator.control("faults", [{"kind": "reset", "method": "PATCH", "path": ".*", "when": "before", "every": 1}])
    theirs.sync()
    shop.emulator.control("faults", [])
    SyncRun.objects.filter(tenant=other_tenant).update(finished_at=datetime.now(UTC) - timedelta(days=2))
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert consent_of(ada) == "withdrawn"


# --- whom the last reading did not show ---------------------------------------------------------------------------


def test_somebody_erased_who_kept_their_member_and_then_says_stop_is_unsubscribed(shop):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.consenting(ADA)
    shop.sync()
    erasure = erasures.erase(shop.tenant, CLERK, ada.pk, "keep")
    forget.carry_out(erasure.pk, datetime.now(UTC))
    mailchimp_is_at(shop)
    shop.sync()

    cleaned = intake.validate(shop.tenant, first_name="Ada", last_name="", email=ADA, phone="")
    back = intake.create(shop.tenant, CLERK, cleaned, again=True)
    ledger.record(back, CLERK, granted=False, source="profile")
    shop.sync()
    shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}


def test_a_member_whom_the_first_reading_missed_is_unsubscribed_after_a_no(shop):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    shop.person(ADA, "signup")
    mailchimp_is_at(shop)
    shop.sync()
    KnownMember.objects.filter(address=ADA).delete()  # pulled over a page's edge, unseen
    KnownAudience.objects.update(listing_complete=False)
    ada = shop.customer(ADA)

    shop.says_no(ada)
    shop.sync()
    shop.sync()

    assert shop.statuses()[ADA] == "unsubscribed"


# --- while shops connect, workers die and people are erased -------------------------------------------------------


def test_somebody_written_down_while_the_shop_connects_is_synced_like_everybody(shop):
    shop.audience()
    shop.sync()
    connect.disconnect(shop.tenant, CLERK)
    ready, go = threading.Event(), threading.Event()

    def clerk():
        try:
            with transaction.atomic():
                shop.consenting(ADA)
                ready.set()
                go.wait(10)
        finally:
            connection.close()

    writing = threading.Thread(target=clerk)
    writing.start()
    ready.wait(10)
    connecting = threading.Thread(target=lambda: (shop.connect(), connection.close()))
    connecting.start()
    connecting.join(2)
    go.set()
    writing.join()
    connecting.join()

    run = shop.sync()

    assert (shop.statuses(), run.faulty) == ({ADA: "subscribed"}, False)


def test_a_no_after_a_worker_died_ends_what_its_last_call_does_late(shop, monkeypatch):
    shop.audience()
    shop.consenting(BEN)
    shop.sync()
    ada = shop.consenting(ADA)
    cleared = store.cleared

    def killed(run, kinds, limit):
        monkeypatch.setattr(store, "cleared", cleared)
        cleared(run, kinds, limit)  # on its way now
        raise OperationalError("killed")

    monkeypatch.setattr(store, "cleared", killed)
    with pytest.raises(OperationalError):
        shop.sync()
    shop.says_no(ada)
    SyncRun.objects.update(heartbeat_at=None)
    run = SyncRun.objects.get(status="running")
    LoginLease.objects.all().delete()
    asyncio.run(run_sync(run.pk, clock=Clock()))

    shop.person(ADA, "signup")  # as Mailchimp carries out at last what the worker asked
    shop.sync()

    assert shop.statuses()[ADA] == "unsubscribed"


def cleared_and_never_sent(shop: Shop, monkeypatch, *, died: bool, meanwhile) -> None:
    """Let a worker end between the clearing of a call and the call itself; another goes on after `meanwhile`."""
    with monkeypatch.context() as patch:
        cleared = store.cleared

        def and_then_nothing(*asked):
            if works := cleared(*asked):
                raise OperationalError("the database is gone")
            return works

        patch.setattr(store, "cleared", and_then_nothing)
        if died:
            patch.setattr(store, "forget_unsent", lambda run: None)
        with pytest.raises(OperationalError):
            shop.sync()
    meanwhile()
    SyncRun.objects.update(heartbeat_at=None)
    LoginLease.objects.all().delete()
    asyncio.run(run_sync(SyncRun.objects.get(status="running").pk, clock=Clock()))


ENDS = pytest.mark.parametrize("died", [True, False], ids=["died", "stopped"])


@ENDS
def test_whoever_leaves_after_a_worker_ended_before_unsubscribing_them_is_not_subscribed_again_by_us(
    shop, monkeypatch, died
):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    cleared_and_never_sent(shop, monkeypatch, died=died, meanwhile=lambda: shop.person(ADA, "unsubscribe"))
    written = len(shop.writes())
    later()
    shop.says_yes(ada)

    run = shop.sync()

    assert shop.writes()[written:] == []
    assert (shop.statuses(), run.counts["kept"], run.faulty) == ({ADA: "unsubscribed"}, 1, False)


@ENDS
def test_whoever_leaves_after_a_worker_ended_before_ending_their_old_member_has_said_no(shop, monkeypatch, died):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email="")
    later()

    cleared_and_never_sent(shop, monkeypatch, died=died, meanwhile=lambda: shop.person(ADA, "unsubscribe"))

    assert consent_of(ada) == "withdrawn"


@ENDS
def test_whoever_signs_up_after_a_worker_ended_before_subscribing_them_again_is_not_ours_to_end(
    shop, monkeypatch, died
):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    shop.sync()
    shop.says_yes(ada)
    cleared_and_never_sent(shop, monkeypatch, died=died, meanwhile=lambda: shop.person(ADA, "signup"))

    Customer.objects.filter(pk=ada.pk).update(email="")
    shop.sync()

    assert shop.statuses() == {ADA: "subscribed"}


def test_whoever_is_erased_while_mailchimp_is_asked_about_them_stays_erased(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    audience = KnownAudience.objects.get()
    webhook = Webhook.objects.create(tenant=shop.tenant, audience=audience, secret_hash="x")
    inbound.ask_to_look(webhook, [ADA])
    look = inbound.begin(Integration.objects.get().pk)
    known_members = facts.known_members

    def erase():
        erasures.erase(shop.tenant, CLERK, ada.pk, "keep")
        connection.close()

    erasing = threading.Thread(target=erase)

    def meanwhile(*asked):
        known = known_members(*asked)
        monkeypatch.setattr(facts, "known_members", known_members)
        erasing.start()
        erasing.join(2)
        return known

    monkeypatch.setattr(facts, "known_members", meanwhile)
    inbound.take_in(look, {}, [ADA])
    erasing.join()

    assert tables_that_name(ADA) == set()
