"""What happens in Mailchimp reaches the book at once: told by a message, decided by the member we then read (B3).

The emulator delivers to our own pages over the loopback; jobs are done where a worker would do them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations import vault
from nexpura.integrations.models import Integration
from nexpura.mailchimp import webhook
from nexpura.mailchimp.key import ApiKey
from nexpura.sync import connect, listen, look, runs, tasks, tenth
from nexpura.sync.clock import Clock
from nexpura.sync.models import (
    AddressToLookAt,
    DirtyAddress,
    HeardMessage,
    KnownMember,
    MemberResult,
    MessageCount,
    SyncRun,
    Webhook,
)
from nexpura.sync.run import run_sync
from nexpura.sync.store import inbound
from tests.sync.conftest import AUDIENCE, CLERK, KEY
from tests.sync.doorstep import pages, until, work

ADA, NEW = "ada@inbox.example", "ada.king@post.example"


@pytest.fixture
def shop(shop, settings):
    """A shop that Mailchimp tells at once, with Ada in its book and in the audience; nothing waits."""
    with pages() as url:
        settings.NEXPURA_PUBLIC_URL = url
        shop.audience({"email_address": "own@post.example"})
        shop.ada = shop.consenting(ADA, first="Ada")
        shop.sync()
        work()
        assert Webhook.objects.get().state == "listening"
        yield shop


def told(shop, messages: int = 1) -> None:
    """Wait until Mailchimp has told us so many things, and all were heard."""
    until(lambda: len(shop.emulator.deliveries()) >= messages)
    until(lambda: shop.emulator.metrics()["open_deliveries"] == 0)
    assert {one["status"] for one in shop.emulator.deliveries()} == {200}


def message(event: str = "unsubscribe", email: str = ADA, **fields: str) -> bytes:
    """A message as Mailchimp writes them."""
    fired_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    data = {"data[id]": f"id of {email}"[:10], "data[list_id]": AUDIENCE, "data[email]": email}
    return urlencode({"type": event, "fired_at": fired_at, **data, **fields}).encode()


def send(shop, body: bytes, secret: str = "") -> int:
    """Send it to the URL Mailchimp was given; signed as Mailchimp does unless with another secret."""
    [told] = shop.emulator.webhooks(AUDIENCE)
    moment = str(int(time.time()))
    signature = f"t={moment},v1={webhook.sign(secret or told['signing_secret'], moment, body)}"
    headers = {"Content-Type": "application/x-www-form-urlencoded", webhook.SIGNATURE_HEADER: signature}
    try:
        with urlopen(Request(told["url"], body, headers)) as reply:
            return reply.status
    except HTTPError as refused:
        with refused:
            return refused.code


def consent_of(customer: Customer) -> str:
    customer.refresh_from_db()
    return customer.consent_state


def known(address: str = ADA) -> KnownMember:
    return KnownMember.objects.get(address=address)


def marked() -> set[str]:
    return set(DirtyAddress.objects.values_list("address", flat=True))


def waiting() -> set[str]:
    return set(AddressToLookAt.objects.values_list("address", flat=True))


def asked(shop, begin: int) -> list[str]:
    """What was asked of Mailchimp since, without the member's hash."""
    rows = shop.emulator.log()[begin:]
    return [f"{row['method']} {row['path'].partition(AUDIENCE)[2][:9]}" for row in rows]


def settled(shop) -> None:
    """A further sync writes nothing."""
    begin = len(shop.writes())
    shop.sync()
    assert shop.writes()[begin:] == []


# --- told, looked at, decided by what was read ---------------------------------------------------------------------


@pytest.mark.parametrize("event", ["unsubscribe", "complaint", "unsubscribe_admin"])
def test_somebody_who_leaves_in_mailchimp_has_withdrawn_at_once(shop, event):
    begin = shop.log_begins_here()
    shop.person(ADA, event)
    told(shop)

    assert work() == ["look"]

    newest = ConsentEvent.objects.filter(customer=shop.ada).order_by("-effective_at").first()
    assert (consent_of(shop.ada), newest.source, newest.address) == ("withdrawn", "mailchimp", ADA)
    assert asked(shop, begin) == ["GET /members/"]
    assert waiting() == set()
    settled(shop)


def test_what_was_heard_at_once_is_not_heard_again_by_the_next_sync(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    work()

    run = shop.sync()

    assert ConsentEvent.objects.filter(source="mailchimp").count() == 1
    assert (run.status, run.counts["withheld"], run.faulty) == ("succeeded", 1, False)


def test_a_bounce_marks_the_address_and_is_nobodys_no(shop):
    shop.person(ADA, "hard_bounce")
    told(shop)

    work()

    assert (known().status, consent_of(shop.ada)) == ("cleaned", "granted")
    assert ADA in marked()
    assert shop.sync().counts["kept"] == 1


def test_an_address_changed_in_mailchimp_is_proposed_to_the_shop_and_not_applied(shop):
    shop.person(ADA, "address", new_email=NEW)
    told(shop, messages=2)

    work()

    shop.ada.refresh_from_db()
    assert shop.ada.email == ADA
    assert (known().renamed_to, known().status, known(NEW).status) == (NEW, "", "subscribed")
    assert shop.sync().counts["kept"] == 1
    assert shop.statuses()[NEW] == "subscribed"
    settled(shop)


def test_changed_details_and_new_members_refresh_what_we_know(shop):
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})
    shop.person("fan@post.example", "signup", merge_fields={"FNAME": "Fan"})
    told(shop, messages=2)

    work()

    assert known().merge_fields["FNAME"] == "Augusta"
    assert known("fan@post.example").status == "subscribed"
    assert marked() == {ADA}


def test_a_message_about_somebody_the_book_does_not_know_changes_nothing_in_the_book(shop):
    shop.person("own@post.example", "unsubscribe")
    told(shop)

    work()

    assert known("own@post.example").status == "unsubscribed"
    assert (consent_of(shop.ada), marked()) == ("granted", set())
    assert not ConsentEvent.objects.filter(source="mailchimp").exists()


def test_a_member_deleted_for_ever_is_known_to_be_absent(shop):
    shop.person(ADA, "delete_permanent")
    told(shop)

    work()

    assert (known().status, consent_of(shop.ada)) == ("", "granted")
    assert ADA in marked()
    assert waiting() == set()
    assert shop.sync().counts["kept"] == 1  # Mailchimp takes them back only from themselves


def test_a_member_archived_in_mailchimp_is_nobodys_no(shop):
    shop.person(ADA, "archive")
    told(shop)

    work()

    assert (known().status, consent_of(shop.ada)) == ("archived", "granted")


def test_auto_sync_or_not_makes_no_difference_and_nothing_is_written_to_mailchimp(shop):
    connect.set_auto_sync(shop.tenant, CLERK, False)
    begin = len(shop.writes())
    shop.person(ADA, "unsubscribe")
    told(shop)

    work()

    assert consent_of(shop.ada) == "withdrawn"
    assert shop.writes()[begin:] == []
    assert SyncRun.objects.count() == 1


def test_a_yes_recorded_after_they_left_is_not_taken_back(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    time.sleep(2.1)  # Mailchimp tells whole seconds
    shop.says_yes(shop.customer(ADA, first="Bea"))

    work()

    assert consent_of(shop.ada) == "withdrawn"
    assert consent_of(Customer.objects.get(first_name="Bea")) == "granted"


# --- not believed --------------------------------------------------------------------------------------------------


def test_somebody_who_leaves_and_signs_up_again_before_the_next_sync_is_left_alone(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    work()
    shop.person(ADA, "signup")
    told(shop, 2)
    work()

    run = shop.sync()

    assert (consent_of(shop.ada), shop.statuses()[ADA], run.counts["kept"]) == ("withdrawn", "subscribed", 1)
    settled(shop)


def test_a_message_that_says_somebody_left_who_did_not_changes_nothing(shop):
    """What a message says is not used: also a genuine one only makes us look."""
    assert send(shop, message()) == 200

    work()

    assert (consent_of(shop.ada), known().status, marked()) == ("granted", "subscribed", set())


def test_a_forged_message_is_not_even_looked_into(shop):
    begin = shop.log_begins_here()

    assert send(shop, message(), secret="guessed") == 403

    assert work() == []
    assert asked(shop, begin) == []
    assert not HeardMessage.objects.exists()


def test_a_message_somebody_caught_and_plays_again_changes_nothing(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    work()
    begin = shop.log_begins_here()
    (first,) = shop.emulator.deliveries()

    shop.emulator.control("redeliver", {"number": first["number"], "signature": "same"})
    told(shop, messages=2)
    shop.emulator.control("redeliver", {"number": first["number"], "signature": "new"})
    told(shop, messages=3)

    assert work() == []
    assert asked(shop, begin) == []
    assert dict(MessageCount.objects.values_list("outcome", "count")) == {"accepted": 1, "replayed": 2}


def test_what_is_kept_of_a_message_tells_nothing_without_the_secret_key(shop, settings):
    webhook = Webhook.objects.get()
    identity = "unsubscribe\n2026-11-30 09:00:00\n" + ADA
    kept = []

    for secret in ("one", "another"):
        settings.SECRET_KEY = secret
        assert inbound.is_new(webhook, identity)
        assert not inbound.is_new(webhook, identity)
        kept.append(HeardMessage.objects.latest("id").identity)

    assert len(set(kept)) == 2


def test_the_echo_of_our_own_writes_is_not_told(shop):
    shop.says_no(shop.ada)
    shop.consenting("new@inbox.example")

    shop.sync()

    assert shop.statuses()[ADA] == "unsubscribed"
    assert (shop.emulator.deliveries(), work()) == ([], [])


def test_an_echo_that_comes_all_the_same_changes_nothing(shop):
    shop.says_no(shop.ada)
    shop.consenting("new@inbox.example")
    shop.sync()
    before = list(KnownMember.objects.order_by("pk").values())

    send(shop, message("unsubscribe", ADA))
    send(shop, message("subscribe", "new@inbox.example"))
    work()

    assert list(KnownMember.objects.order_by("pk").values()) == before
    assert marked() == set()
    assert not ConsentEvent.objects.filter(source="mailchimp").exists()


# --- beside a run --------------------------------------------------------------------------------------------------


def test_a_withdrawal_is_heard_while_a_run_is_under_way_and_ten_requests_are_never_exceeded(shop):
    for number in range(60):
        shop.consenting(f"c{number:02}@inbox.example")
    begin = shop.log_begins_here()
    shop.emulator.control(
        "latency", [{"method": "POST", "path": ".*/lists/[^/]+", "base_ms": 1200}]
    )  # the write falls half-way
    with transaction.atomic():
        run, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    worker = threading.Thread(target=lambda: (asyncio.run(run_sync(run.pk, clock=Clock())), connection.close()))
    worker.start()
    until(lambda: len(shop.statuses()) > 10)

    shop.person(ADA, "unsubscribe")
    told(shop)
    work()
    heard, still_running = consent_of(shop.ada), worker.is_alive()
    worker.join()

    run.refresh_from_db()
    assert (heard, still_running) == ("withdrawn", True)
    assert (run.status, run.faulty, run.counts["added"]) == ("succeeded", False, 60)
    assert max(row["concurrency"] for row in shop.emulator.log()[begin:]) <= 10


def test_a_member_a_run_is_just_writing_to_is_looked_at_when_the_reply_is_there(shop):
    """Read before our opt-out landed and taken in after: the older word would win."""
    shop.says_no(shop.ada)
    run = SyncRun.objects.get()
    SyncRun.objects.update(status="running")
    result = MemberResult.objects.create(
        tenant=shop.tenant, run=run, address=ADA, version=0, change={}, kind="opt_out", state="sending"
    )
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})
    told(shop)

    work()

    row = AddressToLookAt.objects.get()
    assert row.address == ADA
    assert timedelta(0) < row.due_at - datetime.now(UTC) < timedelta(seconds=6)
    assert known().merge_fields["FNAME"] == "Ada"
    MemberResult.objects.filter(pk=result.pk).update(state="accepted", settled_at=datetime.now(UTC))
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    look.take_up(datetime.now(UTC))
    work()
    assert (known().merge_fields["FNAME"], waiting()) == ("Augusta", set())


def test_what_was_read_before_a_runs_reply_came_does_not_win_over_it(shop, monkeypatch):
    take_in = inbound.take_in

    def after_the_reply(*args):
        results = MemberResult.objects.filter(address=ADA)
        if not waited:
            results.update(settled_at=datetime.now(UTC))
            SyncRun.objects.update(finished_at=datetime.now(UTC))
        waited.append(1)
        return take_in(*args)

    waited: list[int] = []
    monkeypatch.setattr(inbound, "take_in", after_the_reply)
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})
    told(shop)

    work()

    assert (known().merge_fields["FNAME"], waiting()) == ("Ada", {ADA})
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    look.take_up(datetime.now(UTC))
    work()
    assert (known().merge_fields["FNAME"], waiting()) == ("Augusta", set())


def test_a_member_who_is_just_being_moved_is_not_taken_for_renamed(shop):
    SyncRun.objects.update(status="running")
    MemberResult.objects.create(
        tenant=shop.tenant,
        run=SyncRun.objects.get(),
        address=NEW,
        version=0,
        change={"from_address": ADA},
        kind="move",
        state="sending",
    )
    shop.person(ADA, "address", new_email=NEW)
    told(shop, messages=2)

    work()

    assert known().renamed_to == ""
    assert waiting() == {ADA, NEW}


def test_a_look_waits_for_the_tenth_place_and_comes_back_if_a_page_keeps_it(shop, monkeypatch):
    shop.person(ADA, "unsubscribe")
    told(shop)
    login_id = Integration.objects.get().config["login_id"]
    held, done = threading.Event(), threading.Event()

    def page() -> None:
        async def hold() -> None:
            async with tenth.place(tenth.of_login(login_id, ApiKey.parse(KEY))) as place, place.taken():
                held.set()
                await asyncio.to_thread(done.wait, 20)

        asyncio.run(hold())

    holder = threading.Thread(target=page)
    holder.start()
    held.wait(10)
    begin = shop.log_begins_here()
    monkeypatch.setattr(tenth, "WAIT", 0.2)
    work()
    meanwhile = (consent_of(shop.ada), asked(shop, begin), waiting())
    done.set()
    holder.join()
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    look.take_up(datetime.now(UTC))
    work()

    assert meanwhile == ("granted", [], {ADA})
    assert consent_of(shop.ada) == "withdrawn"


# --- many at once --------------------------------------------------------------------------------------------------


def test_two_hundred_people_leaving_at_once_make_a_few_requests(shop):
    emails = [f"c{number:03}@inbox.example" for number in range(200)]
    shop.emulator.control(
        "member_event", [{"list_id": AUDIENCE, "email": email, "event": "signup"} for email in emails]
    )
    told(shop, 200)
    work()
    customers = [shop.customer(email) for email in emails]
    shop.sync()
    begin = shop.log_begins_here()

    shop.emulator.control(
        "member_event", [{"list_id": AUDIENCE, "email": email, "event": "unsubscribe"} for email in emails]
    )
    told(shop, 400)
    jobs = work()

    assert {consent_of(customer) for customer in customers} == {"withdrawn"}
    assert len(jobs) == 1
    assert asked(shop, begin) == ["GET /members"]
    assert waiting() == set()


def test_of_many_those_the_listing_does_not_show_are_read_singly_a_few_at_a_time(shop, monkeypatch):
    monkeypatch.setattr(look, "FEW", 5)
    emails = [f"c{number:03}@inbox.example" for number in range(12)]
    begin = shop.log_begins_here()
    for email in emails:
        assert send(shop, message("cleaned", email)) == 200

    jobs = work()

    assert waiting() == set()
    assert jobs == ["look", "look", "look"]
    assert sum(one == "GET /members/" for one in asked(shop, begin)) == 12


def test_a_message_that_comes_while_its_member_is_read_asks_for_another_look(shop, monkeypatch):
    take_in = inbound.take_in

    def while_something_happens(*args):
        if not shop.emulator.deliveries()[1:]:
            shop.person(ADA, "unsubscribe")
            told(shop, messages=2)
        return take_in(*args)

    monkeypatch.setattr(inbound, "take_in", while_something_happens)
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})
    told(shop)

    assert work() == ["look", "look"]

    assert consent_of(shop.ada) == "withdrawn"
    assert waiting() == set()


# --- Mailchimp away, the database slow, workers killed -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["503", "429", "500", "reset", "truncate"])
def test_while_mailchimp_is_away_the_look_is_put_off_and_then_made(shop, kind):
    shop.emulator.control("faults", [{"kind": kind, "method": "GET", "path": ".*/members/.*", "every": 1}])
    shop.person(ADA, "unsubscribe")
    told(shop)

    work()

    row = AddressToLookAt.objects.get()
    assert (row.tries, consent_of(shop.ada)) == (1, "granted")
    assert look.take_up(datetime.now(UTC)) == 0
    shop.emulator.control("faults", [])
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    assert look.take_up(datetime.now(UTC)) == 1
    work()
    assert (consent_of(shop.ada), waiting()) == ("withdrawn", set())


def test_the_pauses_grow_and_end_and_the_next_sync_finds_what_was_given_up(shop):
    shop.emulator.control("faults", [{"kind": "503", "method": "GET", "path": ".*/members/.*", "every": 1}])
    shop.person(ADA, "unsubscribe")
    told(shop)
    pauses = []

    while work():
        for row in AddressToLookAt.objects.all():
            pauses.append((row.due_at - datetime.now(UTC)).total_seconds() / 60)
        AddressToLookAt.objects.update(due_at=datetime.now(UTC))
        look.take_up(datetime.now(UTC))

    assert [round(pause, 1) for pause in pauses] == [2.5, 5, 10, 20, 40, 80, 160, 320, 360, 360]
    assert (waiting(), consent_of(shop.ada)) == (set(), "granted")
    shop.sync()
    assert consent_of(shop.ada) == "withdrawn"


def test_a_new_message_is_looked_into_at_once_whatever_pause_is_running(shop):
    shop.emulator.control("faults", [{"kind": "503", "method": "GET", "path": ".*/members/.*", "every": 1}])
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})
    told(shop)
    work()
    shop.emulator.control("faults", [])

    shop.person(ADA, "unsubscribe")
    told(shop, messages=2)
    work()

    assert (consent_of(shop.ada), waiting()) == ("withdrawn", set())


def test_what_was_read_before_mailchimp_went_away_is_kept_and_the_rest_is_put_off(shop):
    shop.person("own@post.example", "unsubscribe")
    shop.person(ADA, "unsubscribe")
    told(shop, messages=2)
    shop.emulator.control("faults", [{"kind": "503", "method": "GET", "path": ".*/members/.*", "nth": 2}])

    work()

    assert (consent_of(shop.ada), waiting()) == ("withdrawn", {"own@post.example"})


def test_who_is_gone_is_not_settled_before_everybody_was_read(shop):
    """The address may be one that somebody left for another of these."""
    shop.person(ADA, "address", new_email="zoe@post.example")
    told(shop, messages=2)
    shop.emulator.control("faults", [{"kind": "503", "method": "GET", "path": ".*/members/.*", "nth": 2}])
    work()
    assert waiting() == {ADA, "zoe@post.example"}
    assert known().status == "subscribed"
    shop.emulator.control("faults", [])
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    look.take_up(datetime.now(UTC))

    work()

    assert known().renamed_to == "zoe@post.example"


def test_a_refused_key_is_the_syncs_to_tell(shop):
    Integration.objects.update(config_encrypted=_sealed("f" * 32 + "-us14"))
    shop.person(ADA, "unsubscribe")
    told(shop)

    work()

    assert Integration.objects.get().status == "connected"
    assert waiting() == {ADA}


def _sealed(key_text: str) -> bytes:
    integration = Integration.objects.get()
    key = ApiKey.parse(key_text).value
    return vault.seal(key, tenant_id=integration.tenant_id, integration_id=integration.pk, field="api_key")


def test_a_key_that_cannot_be_opened_leaves_the_look_to_later(shop):
    Integration.objects.update(config_encrypted=b"sealed by others")
    shop.person(ADA, "unsubscribe")
    told(shop)

    work()

    assert waiting() == {ADA}


def test_a_look_that_was_lost_with_its_worker_is_made_by_the_next(shop, monkeypatch):
    shop.person(ADA, "unsubscribe")
    told(shop)
    monkeypatch.setattr(look, "_look", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work()
    monkeypatch.undo()
    now = datetime.now(UTC)

    assert look.take_up(now + timedelta(minutes=4)) == 0
    assert look.take_up(now + timedelta(minutes=6)) == 1
    AddressToLookAt.objects.update(due_at=now)
    work()

    assert consent_of(shop.ada) == "withdrawn"


def test_a_job_that_was_not_queued_is_queued_by_the_next_tick(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    ProcrastinateJob.objects.all().delete()

    asyncio.run(tasks.tick(0))
    asyncio.run(tasks.tick(0))

    assert work() == ["look"]
    assert consent_of(shop.ada) == "withdrawn"


def test_while_customers_are_imported_the_look_waits_its_turn(shop, monkeypatch):
    """An import holds the tenant; whoever hears a no waits for it, but not for ever."""
    monkeypatch.setattr(inbound, "LOCK_WAIT", "200ms")
    shop.person(ADA, "unsubscribe")
    told(shop)
    holding, done = threading.Event(), threading.Event()

    def importing() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM tenants_tenant FOR NO KEY UPDATE")
            holding.set()
            done.wait(20)
        connection.close()

    importer = threading.Thread(target=importing)
    importer.start()
    holding.wait(10)
    job = ProcrastinateJob.objects.get(task_name="nexpura:look")
    asyncio.run(tasks.look(**job.args))
    done.set()
    importer.join()

    assert (waiting(), consent_of(shop.ada)) == ({ADA}, "granted")
    AddressToLookAt.objects.update(due_at=datetime.now(UTC))
    work()
    assert consent_of(shop.ada) == "withdrawn"


# --- connected or not ----------------------------------------------------------------------------------------------


def test_before_the_first_sync_nobody_is_looked_at_and_nothing_is_a_withdrawal(shop, other_tenant):
    bea = Customer.objects.create(tenant=other_tenant, email=ADA, first_name="Bea")
    connect.connect(other_tenant, CLERK, key_text=KEY, audience_id=AUDIENCE, auto_sync=False)
    work()
    shop.person(ADA, "unsubscribe")
    told(shop, messages=2)
    begin = shop.log_begins_here()

    assert sorted(work()) == ["look", "look"]

    assert (consent_of(bea), consent_of(shop.ada)) == ("never", "withdrawn")
    assert asked(shop, begin) == ["GET /members/"]
    assert waiting() == set()


def test_after_disconnecting_nobody_waits_to_be_looked_at(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)
    begin = shop.log_begins_here()

    connect.disconnect(shop.tenant, CLERK)
    work()

    assert waiting() == set()
    assert [one for one in asked(shop, begin) if one.startswith("GET")] == []
    assert consent_of(shop.ada) == "granted"


def test_who_disconnects_while_somebody_is_looked_at_has_nothing_recorded(shop, monkeypatch):
    take_in = inbound.take_in

    def late(*args):
        connect.disconnect(shop.tenant, CLERK)
        return take_in(*args)

    monkeypatch.setattr(inbound, "take_in", late)
    shop.person(ADA, "unsubscribe")
    told(shop)

    work()

    assert (consent_of(shop.ada), known().status) == ("granted", "subscribed")


def test_messages_are_forgotten_after_a_week(shop):
    shop.person(ADA, "unsubscribe")
    told(shop)

    tasks._tidy(datetime.now(UTC) + timedelta(days=6))
    kept = HeardMessage.objects.count()
    tasks._tidy(datetime.now(UTC) + timedelta(days=8))

    assert (kept, HeardMessage.objects.count()) == (1, 0)


def test_no_job_names_anybody(shop):
    shop.person(ADA, "address", new_email=NEW)
    told(shop, messages=2)

    assert [row.args for row in ProcrastinateJob.objects.all()] == [{"integration_id": Integration.objects.get().pk}]


def test_a_listening_shop_costs_a_sync_no_request_more(shop):
    begin = shop.log_begins_here()
    with_webhook = shop.sync().requests
    listen.settings.NEXPURA_PUBLIC_URL = ""
    Webhook.objects.all().delete()

    without = shop.sync().requests

    assert with_webhook == without
    assert not any("webhooks" in one for one in asked(shop, begin))
