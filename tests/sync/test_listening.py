"""The webhook itself: made after connecting, watched over, taken away (B3). It is a convenience, never a condition."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.request import Request, urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from nexpura import settings as ours
from nexpura.integrations.models import Integration
from nexpura.mailchimp.client import MailchimpClient
from nexpura.sync import connect, hear, listen, panel, tasks
from nexpura.sync.clock import Clock
from nexpura.sync.models import Webhook
from nexpura.tenants.models import AuditEvent
from tests.sync.conftest import AUDIENCE, CLERK, KEY
from tests.sync.doorstep import pages, until, work
from tests.sync.test_consent_in_life import mailchimp_is_at

ADA = "ada@inbox.example"


@pytest.fixture
def public(settings):
    """Mailchimp can reach our pages."""
    with pages() as url:
        settings.NEXPURA_PUBLIC_URL = url
        yield url


@pytest.fixture
def connected(shop, public):
    """A shop whose webhook is made."""
    shop.audience()
    work()
    return shop


def asked_of(shop, what: str = "/webhooks") -> list[str]:
    """The requests about webhooks, in order."""
    return [
        f"{row['method']} {row['path'].partition(AUDIENCE)[2].partition('?')[0]}"
        for row in shop.emulator.log()
        if what in row["path"]
    ]


def in_mailchimp(shop) -> list[dict]:
    """The webhooks Mailchimp has."""
    return shop.emulator.webhooks(AUDIENCE)


def delete_in_mailchimp(shop, remote_id: str) -> None:
    url = f"{shop.emulator.url}/us14/3.0/lists/{AUDIENCE}/webhooks/{remote_id}"
    key = base64.b64encode(f"x:{KEY}".encode()).decode()
    urlopen(Request(url, headers={"Authorization": f"Basic {key}"}, method="DELETE")).close()


def row(shop) -> Webhook:
    return Webhook.objects.exclude(state="ended").get(tenant=shop.tenant)


def audit_lines(shop) -> list[str]:
    lines = AuditEvent.objects.filter(tenant=shop.tenant, action__contains="webhook").order_by("id")
    return list(lines.values_list("action", flat=True))


# --- made ----------------------------------------------------------------------------------------------------------


def test_connecting_itself_writes_nothing_and_has_a_job_ask(shop, public):
    shop.audience()

    assert shop.writes() == []
    assert work() == ["listen"]
    assert asked_of(shop) == ["GET /webhooks", "POST /webhooks"]


def test_mailchimp_tells_what_people_and_the_merchant_do_and_not_what_we_write(connected):
    (hook,) = in_mailchimp(connected)

    on = {name for name, wanted in hook["events"].items() if wanted}
    assert on == {"subscribe", "unsubscribe", "profile", "cleaned", "upemail"}
    assert hook["sources"] == {"user": True, "admin": True, "api": False}


def test_the_url_is_one_nobody_can_guess_and_we_keep_only_its_digest(connected, public):
    (hook,) = in_mailchimp(connected)
    secret = hook["url"].removeprefix(f"{public}/webhooks/mailchimp/")

    assert len(secret) >= 43
    assert row(connected).secret_hash == hear.digest(secret)
    assert row(connected).remote_id == hook["id"]
    assert row(connected).signing_secret is not None


def test_the_making_is_in_the_audit_trail_without_the_secret(connected, public):
    line = AuditEvent.objects.get(action="mailchimp.webhook_registered")

    assert line.after == {"public_url": public, "signed": True}


def test_runs_ask_nothing_more_while_all_is_well(connected):
    before = len(asked_of(connected))

    connected.sync()
    connected.sync()

    assert work() == []
    assert len(asked_of(connected)) == before


@pytest.mark.parametrize(
    ("ours", "theirs", "reachable"),
    [
        ("https://shop.example", "https://{dc}.api.mailchimp.com/3.0", True),
        ("http://shop.example", "https://{dc}.api.mailchimp.com/3.0", False),
        ("http://127.0.0.1:8000", "https://{dc}.api.mailchimp.com/3.0", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:9000/3.0", True),
        ("http://shop.example", "http://127.0.0.1:9000/3.0", False),
        ("", "https://{dc}.api.mailchimp.com/3.0", False),
    ],
)
def test_mailchimp_is_asked_only_where_it_can_reach_us(settings, ours, theirs, reachable):
    settings.NEXPURA_PUBLIC_URL, settings.NEXPURA_MAILCHIMP_URL = ours, theirs

    assert bool(listen.public_url()) is reachable


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://shop.example", "https://shop.example"),
        (" https://shop.example:8443/ ", "https://shop.example:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("", ""),
    ],
)
def test_the_public_url_is_read_as_it_is_typed(monkeypatch, written, read):
    monkeypatch.setenv("NEXPURA_PUBLIC_URL", written)

    assert ours._public_url("NEXPURA_PUBLIC_URL") == read


@pytest.mark.parametrize(
    "written",
    [
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://shop.example/nexpura",
        "https://shop.example?x=1",
        "https://shop.example#x",
        "https://user:word@shop.example",
        "https://shop.example:port",
        "https://[::1",
    ],
)
def test_a_public_url_that_cannot_be_right_stops_the_program_with_a_line_that_names_it(monkeypatch, written):
    monkeypatch.setenv("NEXPURA_PUBLIC_URL", written)

    with pytest.raises(ImproperlyConfigured, match=r"NEXPURA_PUBLIC_URL .* https://nexpura\.example"):
        ours._public_url("NEXPURA_PUBLIC_URL")


def test_without_a_public_url_nothing_is_asked_and_the_sync_hears_all_the_same(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "unsubscribe")

    shop.sync()

    ada.refresh_from_db()
    assert ada.consent_state == "withdrawn"
    assert (work(), asked_of(shop), Webhook.objects.count()) == ([], [], 0)


def test_an_account_that_does_not_sign_is_heard_by_its_url(shop, public, monkeypatch):
    create = MailchimpClient.create_webhook

    async def without_a_secret(*args):
        return replace(await create(*args), signing_secret=None)

    monkeypatch.setattr(MailchimpClient, "create_webhook", without_a_secret)
    shop.audience()

    work()

    assert (row(shop).state, row(shop).signing_secret) == ("listening", None)


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unreachable(shop, settings):
    """The public URL is set, but nobody answers there."""
    settings.NEXPURA_PUBLIC_URL = "http://127.0.0.1:9"
    shop.audience()
    return shop


def test_a_url_mailchimp_cannot_reach_is_told_in_plain_words_and_is_no_error_of_the_sync(unreachable):
    ada = unreachable.consenting(ADA)

    work()
    run = unreachable.sync()

    problem = panel.state(unreachable.tenant).inbound.problem
    assert problem["title"] == "Mailchimp could not reach this installation"
    assert "http://127.0.0.1:9" in problem["detail"]
    assert (run.status, Integration.objects.get().status) == ("succeeded", "connected")
    ada.refresh_from_db()
    assert ada.consent_state == "granted"


def test_what_was_mended_is_noticed_by_itself_with_growing_pauses(unreachable, settings):
    work()
    pauses = []
    for _ in range(3):
        failed = row(unreachable)
        pauses.append(round((failed.retry_at - failed.asked_at).total_seconds() / 3600))
        assert listen.try_again(failed.retry_at - timedelta(minutes=1)) == 0
        assert listen.try_again(failed.retry_at) == 1
        Webhook.objects.filter(pk=failed.pk).update(retry_at=datetime.now(UTC))
        work()
    with pages() as url:
        settings.NEXPURA_PUBLIC_URL = url
        Webhook.objects.filter(state="failed").update(public_url=url, retry_at=datetime.now(UTC))
        tasks._tidy(datetime.now(UTC))
        listen.try_again(datetime.now(UTC))
        work()

    assert pauses == [1, 2, 4]
    assert row(unreachable).state == "listening"


def test_the_button_tries_again_but_not_at_every_press(unreachable):
    work()

    unreachable.sync()
    at_once = work()
    Webhook.objects.update(asked_at=datetime.now(UTC) - timedelta(minutes=11))
    unreachable.sync("schedule")
    unattended = work()
    unreachable.sync()
    later = work()

    assert (at_once, unattended, later) == ([], [], ["listen"])


def test_a_key_that_may_not_make_webhooks_leaves_the_connection_as_it_is(shop, public):
    shop.audience()
    shop.emulator.control("faults", [{"kind": "403", "method": "POST", "path": ".*/webhooks", "every": 1}])

    work()

    assert row(shop).error["code"] == "webhook_not_allowed"
    assert Integration.objects.get().status == "connected"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["503", "reset", "truncate", "429"])
def test_mailchimp_away_while_asked_is_asked_again_and_has_one_webhook_in_the_end(shop, public, kind, when):
    shop.audience()
    shop.emulator.control("faults", [{"kind": kind, "method": "POST", "path": ".*/webhooks", "times": 1, "when": when}])

    work()
    assert row(shop).error["code"] == "mailchimp_unavailable"
    listen.try_again(row(shop).retry_at)
    Webhook.objects.update(retry_at=datetime.now(UTC))
    work()

    assert row(shop).state == "listening"
    assert [hook["id"] for hook in in_mailchimp(shop)] == [row(shop).remote_id]


def test_a_worker_killed_while_asking_leaves_no_second_webhook(shop, public, monkeypatch):
    shop.audience()
    monkeypatch.setattr(listen.webhooks, "listening", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work()
    monkeypatch.undo()
    assert (row(shop).state, len(in_mailchimp(shop))) == ("asking", 1)

    assert listen.try_again(datetime.now(UTC) + timedelta(minutes=4)) == 0
    assert listen.try_again(datetime.now(UTC) + timedelta(minutes=6)) == 1
    Webhook.objects.update(retry_at=datetime.now(UTC))
    work()

    assert row(shop).state == "listening"
    assert [hook["id"] for hook in in_mailchimp(shop)] == [row(shop).remote_id]


# --- watched over --------------------------------------------------------------------------------------------------


def test_another_public_url_replaces_the_webhook_at_the_next_run(connected, settings):
    former = row(connected)
    with pages() as url:
        settings.NEXPURA_PUBLIC_URL = url
        connected.sync()
        assert work() == ["listen"]

        (hook,) = in_mailchimp(connected)
        assert hook["url"].startswith(url)
        assert row(connected).pk != former.pk
        assert audit_lines(connected) == [
            "mailchimp.webhook_registered",
            "mailchimp.webhook_removed",
            "mailchimp.webhook_registered",
        ]


def test_without_a_public_url_any_more_mailchimp_is_asked_to_be_silent(connected, settings):
    settings.NEXPURA_PUBLIC_URL = ""

    connected.sync()
    work()

    assert in_mailchimp(connected) == []
    assert not Webhook.objects.exclude(state="ended").exists()


def test_once_a_week_one_request_tells_whether_mailchimp_still_has_it(connected):
    before = len(asked_of(connected))
    Webhook.objects.update(checked_at=datetime.now(UTC) - timedelta(days=7))

    connected.sync()
    work()
    connected.sync()
    work()

    assert asked_of(connected)[before:] == ["GET /webhooks"]


def test_a_webhook_somebody_deleted_in_mailchimp_is_made_again(connected):
    former = row(connected)
    delete_in_mailchimp(connected, former.remote_id)
    Webhook.objects.update(checked_at=datetime.now(UTC) - timedelta(days=7))

    connected.sync()
    work()

    (hook,) = in_mailchimp(connected)
    assert row(connected).remote_id == hook["id"] != former.remote_id


def test_when_a_sync_hears_what_should_have_been_told_hours_ago_the_webhook_is_made_anew(connected):
    """Mailchimp disables a webhook that kept failing, and does not say so."""
    mailchimp_is_at(connected, hours=5)
    connected.consenting(ADA)
    connected.sync()
    former = row(connected)
    delete_in_mailchimp(connected, former.remote_id)
    Webhook.objects.update(listening_since=datetime.now(UTC) - timedelta(days=1))
    mailchimp_is_at(connected, hours=3)
    connected.person(ADA, "unsubscribe")
    mailchimp_is_at(connected)

    connected.sync()
    connected.sync()
    work()

    (hook,) = in_mailchimp(connected)
    assert row(connected).remote_id == hook["id"] != former.remote_id


def test_what_a_sync_hears_soon_after_it_happened_is_no_reason_for_doubt(connected):
    connected.consenting(ADA)
    connected.sync()
    Webhook.objects.update(listening_since=datetime.now(UTC) - timedelta(days=1))
    connected.person(ADA, "unsubscribe")

    connected.sync()

    assert row(connected).checked_at is not None


def test_another_key_keeps_the_webhook(connected):
    former = row(connected)

    connect.replace_key(connected.tenant, CLERK, KEY)
    work()

    assert row(connected).pk == former.pk
    assert [hook["id"] for hook in in_mailchimp(connected)] == [former.remote_id]


# --- taken away ----------------------------------------------------------------------------------------------------


def test_disconnecting_deletes_it_in_mailchimp_and_closes_the_url(connected):
    connect.disconnect(connected.tenant, CLERK)

    assert in_mailchimp(connected) == []
    assert Webhook.objects.get().state == "ended"
    line = AuditEvent.objects.get(action="mailchimp.webhook_removed")
    assert (line.actor_name, "signing" in str(line.before)) == ("a clerk", False)


def test_disconnecting_does_not_wait_for_a_mailchimp_that_hangs_and_its_next_message_ends_it(connected):
    connected.consenting(ADA)
    connected.sync()
    connected.emulator.control("faults", [{"kind": "hang", "method": "DELETE", "path": ".*", "every": 1, "seconds": 9}])
    began = time.monotonic()

    connect.disconnect(connected.tenant, CLERK)

    assert time.monotonic() - began < 6
    assert Integration.objects.get().config_encrypted is None
    connected.emulator.control("faults", [])
    connected.person(ADA, "unsubscribe")
    until(lambda: [one["status"] for one in connected.emulator.deliveries()] == [410])
    connected.person("new@post.example", "signup")
    assert len(connected.emulator.deliveries()) == 1


def test_a_webhook_left_behind_is_deleted_when_the_audience_is_connected_again(connected):
    connected.emulator.control("faults", [{"kind": "503", "method": "DELETE", "path": ".*", "every": 1}])
    connect.disconnect(connected.tenant, CLERK)
    connected.emulator.control("faults", [])
    assert len(in_mailchimp(connected)) == 1

    connected.connect()
    work()

    assert [hook["id"] for hook in in_mailchimp(connected)] == [row(connected).remote_id]


def test_webhooks_of_others_are_left_alone(connected, other_tenant, public):
    """Another shop of this installation on the same audience, and a service that has nothing to do with us."""
    connect.connect(other_tenant, CLERK, key_text=KEY, audience_id=AUDIENCE, auto_sync=False)
    work()
    assert len(in_mailchimp(connected)) == 2

    connect.disconnect(connected.tenant, CLERK)
    connected.connect()
    work()

    theirs = Webhook.objects.get(tenant=other_tenant)
    assert {hook["id"] for hook in in_mailchimp(connected)} == {theirs.remote_id, row(connected).remote_id}


def test_a_shop_that_disconnects_while_mailchimp_is_asked_leaves_no_webhook(shop, public, monkeypatch):
    shop.audience()
    listening = listen.webhooks.listening

    def late(*args):
        connect.disconnect(shop.tenant, CLERK)
        return listening(*args)

    monkeypatch.setattr(listen.webhooks, "listening", late)

    work()

    assert in_mailchimp(shop) == []
    assert Webhook.objects.get().state == "ended"


def test_long_after_they_ended_webhooks_are_forgotten(connected):
    connect.disconnect(connected.tenant, CLERK)

    tasks._tidy(datetime.now(UTC) + timedelta(days=29))
    kept = Webhook.objects.count()
    tasks._tidy(datetime.now(UTC) + timedelta(days=31))

    assert (kept, Webhook.objects.count()) == (1, 0)


# --- told ----------------------------------------------------------------------------------------------------------


def test_the_status_command_tells_how_mailchimp_is_heard(connected, capsys):
    connected.consenting(ADA)
    connected.sync()
    connected.person(ADA, "unsubscribe")
    until(lambda: connected.emulator.deliveries())
    until(lambda: panel.state(connected.tenant).inbound.accepted)

    call_command("status", tenant=connected.tenant.slug, json=True)
    told = json.loads(capsys.readouterr().out)["inbound"]
    call_command("status", tenant=connected.tenant.slug)

    assert (told["listening"], told["accepted"], told["rejected"]) == (True, 1, {})
    assert "Mailchimp tells us at once: 1 messages" in capsys.readouterr().out


def test_the_job_may_find_nothing_to_do(connected):
    before = len(asked_of(connected))

    asyncio.run(listen.listen(Integration.objects.get().pk, clock=Clock()))

    assert len(asked_of(connected)) == before
