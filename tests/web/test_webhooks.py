"""The door Mailchimp's messages come to: whom it lets in, what it answers, what it counts (B3)."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection, transaction
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.customers.models import ConsentEvent
from nexpura.integrations import vault
from nexpura.integrations.models import Integration
from nexpura.mailchimp import webhook as signing
from nexpura.sync import hear
from nexpura.sync.models import AddressToLookAt, HeardMessage, KnownAudience, MessageCount, Webhook
from nexpura.tenants.models import Tenant

AUDIENCE = "abc123def4"
SIGNING_SECRET = "5e" * 32
FORM = "application/x-www-form-urlencoded"
ADA = "ada@inbox.example"
UNSUBSCRIBE = {
    "type": "unsubscribe",
    "data[action]": "unsub",
    "data[reason]": "manual",
    "data[id]": "8a25ff1d98",
    "data[list_id]": AUDIENCE,
    "data[email]": "Ada@Inbox.example",
}


class Doorstep:
    """Somebody at the secret URL: Mailchimp, or whoever says so."""

    def __init__(self, tenant: Tenant, *, signed: bool = True, state: str = "listening") -> None:
        self.tenant, self.signed = tenant, signed
        self.secret = secrets.token_urlsafe(32)
        self.client = Client(raise_request_exception=False)
        self.audience, _ = KnownAudience.objects.get_or_create(
            tenant=tenant, data_centre="us14", audience_id=AUDIENCE, defaults={"full_read_at": datetime.now(UTC)}
        )
        config = {"audience_id": AUDIENCE, "data_centre": "us14", "login_id": "l1"}
        self.integration, _ = Integration.objects.get_or_create(
            tenant=tenant, kind="mailchimp", defaults={"status": "connected", "config": config}
        )
        sealed = vault.seal(
            SIGNING_SECRET,
            tenant_id=tenant.pk,
            integration_id=self.integration.pk,
            field="webhook_signing_secret",
        )
        self.webhook = Webhook.objects.create(
            tenant=tenant,
            audience=self.audience,
            state=state,
            public_url="https://shop.example",
            secret_hash=hear.digest(self.secret),
            signing_secret=sealed if signed else None,
        )

    @property
    def path(self) -> str:
        return f"/webhooks/mailchimp/{self.secret}"

    def body(self, **fields: str) -> bytes:
        fired_at = f"{datetime.now(UTC) - timedelta(seconds=2):%Y-%m-%d %H:%M:%S}"
        return urlencode({**UNSUBSCRIBE, "fired_at": fired_at, **fields}).encode()

    def signature(self, body: bytes, at: datetime | None = None, secret: str = SIGNING_SECRET) -> str:
        moment = str(int((at or datetime.now(UTC)).timestamp()))
        return f"t={moment},v1={signing.sign(secret, moment, body)}"

    def tells(self, body: bytes | None = None, signature: str | None = None, content_type: str = FORM) -> int:
        """Send a message as Mailchimp does, but for what is named; returns the status answered."""
        body = self.body() if body is None else body
        if signature is None and self.signed:
            signature = self.signature(body)
        headers = {"X-Mailchimp-Signature": signature} if signature else {}
        return self.client.post(self.path, body, content_type=content_type, headers=headers).status_code

    def counted(self) -> dict[str, int]:
        return dict(MessageCount.objects.filter(webhook=self.webhook).values_list("outcome", "count"))

    def looked_for(self) -> set[str]:
        return set(AddressToLookAt.objects.filter(tenant=self.tenant).values_list("address", flat=True))

    def jobs(self) -> list[dict]:
        return list(ProcrastinateJob.objects.filter(task_name="nexpura:look").values_list("args", flat=True))

    def nothing_came_of_it(self) -> bool:
        return not self.looked_for() and not self.jobs() and not HeardMessage.objects.exists()


@pytest.fixture
def mailchimp_at(db, tenant) -> Doorstep:
    return Doorstep(tenant)


# --- who is let in -------------------------------------------------------------------------------------------------


def test_a_signed_message_has_the_address_looked_at_and_names_nobody_in_the_job(mailchimp_at):
    status = mailchimp_at.tells()

    assert status == 200
    assert mailchimp_at.looked_for() == {ADA}
    assert mailchimp_at.jobs() == [{"integration_id": mailchimp_at.integration.pk}]
    assert mailchimp_at.counted() == {"accepted": 1}


def test_a_message_by_itself_changes_nothing_in_the_book(mailchimp_at, zoe):
    mailchimp_at.tells(mailchimp_at.body(**{"data[email]": "zoe@inbox.example"}))

    zoe.refresh_from_db()
    assert zoe.consent_state == "never"
    assert not ConsentEvent.objects.exists()


def test_a_changed_address_has_both_looked_at(mailchimp_at):
    emails = {"data[new_email]": "New@Inbox.example", "data[old_email]": ADA}

    mailchimp_at.tells(mailchimp_at.body(type="upemail", **emails))

    assert mailchimp_at.looked_for() == {"new@inbox.example", ADA}


def test_without_a_signing_secret_the_url_is_enough(db, tenant):
    mailchimp_at = Doorstep(tenant, signed=False)

    assert mailchimp_at.tells() == 200
    assert mailchimp_at.looked_for() == {ADA}


def test_the_validator_gets_its_answer(mailchimp_at):
    got, headed = mailchimp_at.client.get(mailchimp_at.path), mailchimp_at.client.head(mailchimp_at.path)

    assert (got.status_code, headed.status_code) == (200, 200)


def test_while_mailchimp_is_asked_its_validator_gets_in_and_its_messages_may_come_again(db, tenant):
    mailchimp_at = Doorstep(tenant, signed=False, state="asking")

    assert mailchimp_at.client.get(mailchimp_at.path).status_code == 200
    assert mailchimp_at.tells() == 503
    assert mailchimp_at.nothing_came_of_it()


def test_messages_about_one_address_make_one_look(mailchimp_at):
    mailchimp_at.tells()
    mailchimp_at.tells(mailchimp_at.body(type="profile"))
    mailchimp_at.tells(mailchimp_at.body(type="subscribe"))

    assert mailchimp_at.looked_for() == {ADA}
    assert len(mailchimp_at.jobs()) == 1
    assert mailchimp_at.counted() == {"accepted": 3}


# --- who is not ----------------------------------------------------------------------------------------------------


def test_a_forged_signature_changes_nothing_and_is_counted(mailchimp_at):
    body = mailchimp_at.body()

    forged = [
        mailchimp_at.tells(body, signature=""),
        mailchimp_at.tells(body, signature="t=1,v1=00"),
        mailchimp_at.tells(body, signature=mailchimp_at.signature(body, secret="guessed")),
        mailchimp_at.tells(body + b"&x=1", signature=mailchimp_at.signature(body)),
    ]

    assert forged == [403] * 4
    assert mailchimp_at.counted() == {"forged": 4}
    assert mailchimp_at.nothing_came_of_it()


@pytest.mark.parametrize("minutes", [-6, 6, 60 * 24 * 30])
def test_a_stale_signature_changes_nothing_and_is_counted(mailchimp_at, minutes):
    body = mailchimp_at.body()
    signature = mailchimp_at.signature(body, datetime.now(UTC) - timedelta(minutes=minutes))

    assert mailchimp_at.tells(body, signature) == 403
    assert mailchimp_at.counted() == {"stale": 1}
    assert mailchimp_at.nothing_came_of_it()


def test_a_message_too_old_to_be_remembered_is_stale_signed_or_not(db, tenant):
    mailchimp_at = Doorstep(tenant, signed=False)
    old = f"{datetime.now(UTC) - timedelta(days=6, hours=1):%Y-%m-%d %H:%M:%S}"

    assert mailchimp_at.tells(mailchimp_at.body(fired_at=old)) == 403
    assert mailchimp_at.counted() == {"stale": 1}
    assert mailchimp_at.nothing_came_of_it()


def test_a_replayed_message_changes_nothing_and_is_counted(mailchimp_at):
    body = mailchimp_at.body()
    mailchimp_at.tells(body)
    AddressToLookAt.objects.all().delete()
    ProcrastinateJob.objects.all().delete()

    same = mailchimp_at.tells(body)
    signed_anew = mailchimp_at.tells(body, mailchimp_at.signature(body, datetime.now(UTC) + timedelta(seconds=9)))

    assert (same, signed_anew) == (200, 200)  # Mailchimp need not try again
    assert mailchimp_at.counted() == {"accepted": 1, "replayed": 2}
    assert not mailchimp_at.looked_for()
    assert not mailchimp_at.jobs()


def test_a_message_about_another_audience_changes_nothing_and_is_counted(mailchimp_at):
    assert mailchimp_at.tells(mailchimp_at.body(**{"data[list_id]": "0000000000"})) == 400
    assert mailchimp_at.counted() == {"foreign": 1}
    assert mailchimp_at.nothing_came_of_it()


@pytest.mark.parametrize("body", [b"\xff\0", b"type=unsubscribe", b"{}", b"a=" + b"1" * 60_000])
def test_what_is_no_message_changes_nothing_and_is_counted(mailchimp_at, body):
    assert mailchimp_at.tells(body) == 400
    assert mailchimp_at.counted() == {"malformed": 1}
    assert mailchimp_at.nothing_came_of_it()


def test_a_huge_body_is_not_read_to_its_end(mailchimp_at):
    assert mailchimp_at.tells(b"type=unsubscribe&x=" + b"1" * 3_000_000) == 413
    assert mailchimp_at.counted() == {"malformed": 1}
    assert mailchimp_at.nothing_came_of_it()


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_another_content_type_is_turned_away(mailchimp_at, content_type):
    assert mailchimp_at.tells(content_type=content_type) == 415
    assert mailchimp_at.counted() == {"malformed": 1}
    assert mailchimp_at.nothing_came_of_it()


@pytest.mark.parametrize("method", ["get", "head", "post", "put"])
@pytest.mark.parametrize("secret", ["x", "A" * 43, "A" * 4000, "%00", "é"])
def test_an_unknown_secret_is_a_404_whatever_is_asked(mailchimp_at, method, secret):
    response = getattr(mailchimp_at.client, method)(f"/webhooks/mailchimp/{secret}")

    assert response.status_code == 404
    assert mailchimp_at.counted() == {}


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_other_methods_are_not_allowed(mailchimp_at, method):
    response = getattr(mailchimp_at.client, method)(mailchimp_at.path)

    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, POST")


def test_after_disconnecting_mailchimp_is_told_that_the_url_is_gone(mailchimp_at):
    Integration.objects.update(status="disconnected", config={})

    assert mailchimp_at.tells() == 410
    assert mailchimp_at.client.get(mailchimp_at.path).status_code == 410
    assert mailchimp_at.nothing_came_of_it()


def test_a_url_of_a_former_audience_is_gone(mailchimp_at):
    mailchimp_at.integration.config = {**mailchimp_at.integration.config, "audience_id": "fff0000001"}
    mailchimp_at.integration.save()

    assert mailchimp_at.tells() == 410


@pytest.mark.parametrize("state", ["ended", "failed"])
def test_a_url_that_another_took_the_place_of_is_gone(db, tenant, state):
    mailchimp_at = Doorstep(tenant, state=state)

    assert mailchimp_at.tells() == 410


def test_one_shops_url_and_signature_say_nothing_about_another_shop(mailchimp_at, other_tenant):
    theirs = Doorstep(other_tenant)

    mailchimp_at.tells()

    assert mailchimp_at.looked_for() == {ADA}
    assert (theirs.looked_for(), theirs.counted()) == (set(), {})


# --- discretion ----------------------------------------------------------------------------------------------------


def test_no_cookie_is_set_and_no_page_is_shown(mailchimp_at):
    response = mailchimp_at.client.post(mailchimp_at.path, mailchimp_at.body(), content_type=FORM)

    assert response.content == b"Forbidden\n"
    assert not response.cookies


def test_neither_the_url_nor_anybody_is_in_the_log(mailchimp_at, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)

    mailchimp_at.tells()
    mailchimp_at.tells(signature="t=1,v1=00")
    mailchimp_at.tells(b"type=unsubscribe")
    mailchimp_at.client.put(mailchimp_at.path)
    mailchimp_at.client.get("/webhooks/mailchimp/" + "A" * 43)
    monkeypatch.setattr(hear, "hear", lambda *_: 1 / 0)
    assert mailchimp_at.tells() == 503  # Mailchimp tries again

    said = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert "ZeroDivisionError" in said
    assert mailchimp_at.secret not in said
    assert "A" * 43 not in said
    assert "inbox.example" not in said.lower()


def test_what_is_kept_of_a_message_does_not_tell_the_secret_or_what_signs_it(mailchimp_at):
    mailchimp_at.tells()

    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(w)::text FROM sync_webhook AS w")
        (row,) = cursor.fetchone()
        cursor.execute("SELECT row_to_json(m)::text FROM sync_heardmessage AS m")
        (heard,) = cursor.fetchone()
    assert mailchimp_at.secret not in row
    assert SIGNING_SECRET.encode().hex() not in row
    assert "8a25ff1d98" not in heard
    assert "ada" not in heard


# --- at once -------------------------------------------------------------------------------------------------------


@pytest.fixture
def committed_doorstep(committed, tenant) -> Doorstep:
    return Doorstep(tenant)


def test_a_message_is_answered_within_a_second_while_a_run_holds_its_rows(committed_doorstep):
    """A run locks the integration and its own row, an import the tenant's, a reading the audience's."""
    holding, done = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM integrations_integration FOR UPDATE")
            cursor.execute("SELECT 1 FROM tenants_tenant FOR NO KEY UPDATE")
            cursor.execute("UPDATE sync_knownaudience SET name = 'read'")
            cursor.execute("UPDATE sync_webhook SET checked_at = now()")
            holding.set()
            done.wait(20)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    holding.wait(10)
    began = time.monotonic()
    status = committed_doorstep.tells()
    took = time.monotonic() - began
    done.set()
    thread.join()

    assert (status, took < 1) == (200, True)
    assert committed_doorstep.looked_for() == {ADA}


def test_mailchimp_is_asked_to_try_again_rather_than_made_to_wait(committed_doorstep):
    committed_doorstep.tells()
    holding, done = threading.Event(), threading.Event()

    def somebody() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sync_addresstolookat FOR UPDATE")
            holding.set()
            done.wait(20)
        connection.close()

    thread = threading.Thread(target=somebody)
    thread.start()
    holding.wait(10)
    body = committed_doorstep.body(type="profile")
    began = time.monotonic()
    status = committed_doorstep.tells(body)
    took = time.monotonic() - began
    done.set()
    thread.join()

    assert (status, took < 1) == (503, True)
    assert committed_doorstep.counted() == {"accepted": 1}
    assert committed_doorstep.tells(body) == 200  # tried again, it is no replay
    assert committed_doorstep.counted() == {"accepted": 2}


def test_two_hundred_messages_at_once_are_all_heard_and_make_one_job(committed_doorstep):
    def tell(part: range) -> None:
        for number in part:
            email = f"c{number:03}@inbox.example"
            statuses.append(committed_doorstep.tells(committed_doorstep.body(**{"data[email]": email})))
        connection.close()

    statuses: list[int] = []
    threads = [threading.Thread(target=tell, args=(range(start, 200, 8),)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 200
    assert len(committed_doorstep.looked_for()) == 200
    assert len(committed_doorstep.jobs()) == 1
    assert committed_doorstep.counted() == {"accepted": 200}


# --- on the panel --------------------------------------------------------------------------------------------------


def test_the_panel_says_quietly_how_many_messages_came_and_how_many_were_rejected(mailchimp_at, as_bob):
    mailchimp_at.tells()
    mailchimp_at.tells(mailchimp_at.body(type="profile"))
    mailchimp_at.tells(signature="t=1,v1=00")

    page = " ".join(as_bob.sees("/integrations").split())

    assert "Mailchimp tells us at once" in page
    assert "2 messages, the last <time" in page
    assert "; 1 rejected, the last <time" in page
    assert mailchimp_at.secret not in page


def test_the_panel_says_what_late_messages_may_mean(mailchimp_at, as_bob):
    body = mailchimp_at.body()
    mailchimp_at.tells(body, mailchimp_at.signature(body, datetime.now(UTC) - timedelta(hours=1)))

    assert "see that the clock of this installation is right" in as_bob.sees("/integrations")


def test_the_panel_says_when_nothing_came_yet(mailchimp_at, as_bob):
    assert "no message yet" in as_bob.sees("/integrations")


def test_the_panel_says_what_to_do_where_mailchimp_cannot_reach_us(mailchimp_at, as_bob):
    error = {"title": "Mailchimp could not reach this installation", "detail": "It says no.", "remedy": "Open it."}
    Webhook.objects.update(state="failed", error=error)

    page = as_bob.sees("/integrations")

    assert "heard at each sync, not at once" in page
    assert "Mailchimp could not reach this installation" in page
    assert "Open it." in page


def test_the_panel_says_that_mailchimp_is_being_asked(mailchimp_at, as_bob, settings):
    Webhook.objects.all().delete()
    settings.NEXPURA_PUBLIC_URL = "https://shop.example"

    assert "Mailchimp is being asked to tell us at once" in as_bob.sees("/integrations")


def test_the_panel_says_that_without_a_public_url_each_sync_hears(mailchimp_at, as_bob):
    Webhook.objects.all().delete()

    assert "Unsubscribes in Mailchimp are heard at each sync." in as_bob.sees("/integrations")


def test_what_another_shop_was_told_is_not_on_this_ones_panel(mailchimp_at, other_tenant, as_bob):
    Doorstep(other_tenant).tells()

    assert "no message yet" in as_bob.sees("/integrations")
