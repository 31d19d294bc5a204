"""What Mailchimp tells by itself: read as it writes it, believed only with its signature."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from nexpura.mailchimp import webhook
from nexpura.mailchimp.errors import AudienceNotFound, TryLater, UnexpectedReply, WebhookRefused
from nexpura.mailchimp.webhook import DeliveryMalformed, Signature, Webhook

from .audiences import AUDIENCE
from .test_discretion import always, talking_to

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECRET = "0f" * 32
UNSUBSCRIBE = {
    "type": "unsubscribe",
    "fired_at": "2026-03-01 11:59:58",
    "data[action]": "unsub",
    "data[reason]": "manual",
    "data[id]": "8a25ff1d98",
    "data[list_id]": AUDIENCE,
    "data[email]": "Ada@Inbox.example",
    "data[merges][FNAME]": "Ada",
    "data[ip_opt]": "203.0.113.9",
}
UPEMAIL = {
    "type": "upemail",
    "fired_at": "2026-03-01 11:59:58",
    "data[list_id]": AUDIENCE,
    "data[new_id]": "51da8c3259",
    "data[new_email]": "new@inbox.example",
    "data[old_email]": "old@inbox.example",
}
URL = "https://shop.example/webhooks/mailchimp/s3cr3t"


def form(fields: dict[str, str] = UNSUBSCRIBE, **more: str) -> bytes:
    return urlencode(fields | more).encode()


def signed(body: bytes, at: datetime = NOW, secret: str = SECRET) -> str:
    moment = str(int(at.timestamp()))
    return f"t={moment},v1={webhook.sign(secret, moment, body)}"


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_message_tells_whom_it_is_about_in_which_audience_and_when():
    delivery = webhook.read(form())

    assert (delivery.event, delivery.audience_id) == ("unsubscribe", AUDIENCE)
    assert delivery.addresses == ("Ada@Inbox.example",)
    assert delivery.fired_at == datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)


def test_a_changed_address_is_about_the_new_one_and_the_old():
    assert webhook.read(form(UPEMAIL)).addresses == ("new@inbox.example", "old@inbox.example")


@pytest.mark.parametrize("event", ["subscribe", "profile", "cleaned", "unsubscribe"])
def test_every_event_we_ask_for_is_read(event):
    assert webhook.read(form(type=event)).event == event


def test_the_same_message_has_the_same_identity_and_no_other_has():
    others = [
        form(type="subscribe"),
        form(fired_at="2026-03-01 11:59:59"),
        form(**{"data[id]": "0000000000"}),
        form(UPEMAIL),
    ]

    identities = {webhook.read(body).identity for body in [form(), *others]}

    assert webhook.read(form()).identity in identities
    assert len(identities) == 5


def test_neither_repr_nor_exception_names_anybody():
    malformed = form(fired_at="ada@inbox.example")

    with pytest.raises(DeliveryMalformed) as raised:
        webhook.read(malformed)

    assert "ada" not in repr(webhook.read(form())).lower()
    assert "ada" not in f"{raised.value!r} {raised.value.__cause__} {raised.value.__context__}".lower()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"type=unsubscribe&data[email]=%ff%fe",
        b"just words",
        b'{"type": "unsubscribe"}',
        form(type="campaign"),
        form(type="unheard of"),
        form({}, type="unsubscribe"),
        form(**{"data[email]": ""}),
        form(**{"data[email]": "nobody"}),
        form(**{"data[email]": "a\0b@inbox.example"}),
        form(**{"data[email]": "a\nb@inbox.example"}),
        form(**{"data[email]": "a" * 400 + "@inbox.example"}),
        form(fired_at="yesterday"),
        form(**{f"x{number}": "" for number in range(2000)}),
    ],
)
def test_what_is_no_message_of_mailchimps_is_refused(body):
    with pytest.raises(DeliveryMalformed):
        webhook.read(body)


# --- signatures ----------------------------------------------------------------------------------------------------


def test_a_signature_over_exactly_these_bytes_is_genuine():
    assert webhook.verify(signed(form()), form(), SECRET, NOW) is Signature.GENUINE


def test_the_signature_is_the_hmac_that_others_compute_too():
    by_openssl = "42ac6f0448c1d9c3e1e82b9726248f58fef84afffcbad5188246e96070e0ea46"

    assert webhook.sign("secret", "1700000000", b"body") == by_openssl


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "t=,v1=",
        "t=now,v1=00",
        f"v1={webhook.sign(SECRET, '', form())}",
        f"t={int(NOW.timestamp())}",
        f"t={int(NOW.timestamp())},v1=",
        f"t={int(NOW.timestamp())},v1=ÿ",
        f"t={int(NOW.timestamp())},v0={webhook.sign(SECRET, str(int(NOW.timestamp())), form())}",
        f"t={'9' * 400},v1=00",
        signed(form(), secret="another"),
        signed(form(type="profile")),
    ],
)
def test_anything_else_is_forged(header):
    assert webhook.verify(header, form(), SECRET, NOW) is Signature.FORGED


def test_a_signature_moved_to_another_moment_is_forged():
    header = signed(form()).replace(f"t={int(NOW.timestamp())}", f"t={int(NOW.timestamp()) + 1}")

    assert webhook.verify(header, form(), SECRET, NOW) is Signature.FORGED


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(-301, Signature.STALE), (-300, Signature.GENUINE), (300, Signature.GENUINE), (301, Signature.STALE)],
)
def test_five_minutes_either_way_are_tolerated(seconds, verdict):
    header = signed(form(), NOW + timedelta(seconds=seconds))

    assert webhook.verify(header, form(), SECRET, NOW) is verdict


def test_while_a_secret_is_changed_one_good_signature_of_two_is_enough():
    header = f"{signed(form(), secret='new')}, v1={signed(form()).partition('v1=')[2].upper()}"

    assert webhook.verify(header, form(), SECRET, NOW) is Signature.GENUINE


# --- making, listing, deleting -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_mailchimp_is_asked_for_people_and_merchant_and_for_no_echo_of_our_writes():
    seen = []

    async def handler(request):
        seen.append((request.method, request.path, await request.json()))
        return await always(200, {"id": "ab12", "url": URL, "signing_secret": SECRET})(request)

    async with talking_to(handler) as mailchimp:
        made = await mailchimp.create_webhook(AUDIENCE, URL)

    events = {"subscribe": True, "unsubscribe": True, "profile": True, "cleaned": True, "upemail": True}
    sources = {"user": True, "admin": True, "api": False}
    body = {"url": URL, "events": {**events, "campaign": False}, "sources": sources}
    assert seen == [("POST", f"/3.0/lists/{AUDIENCE}/webhooks", body)]
    assert made == Webhook("ab12", URL, SECRET)
    assert "s3cr3t" not in repr(made)
    assert SECRET not in repr(made)


@pytest.mark.anyio
@pytest.mark.parametrize("secret", [{}, {"signing_secret": None}, {"signing_secret": ""}])
async def test_an_account_without_signing_gives_no_secret(secret):
    async with talking_to(always(200, {"id": "ab12", "url": URL, **secret})) as mailchimp:
        assert (await mailchimp.create_webhook(AUDIENCE, URL)).signing_secret is None


@pytest.mark.anyio
async def test_a_url_that_mailchimp_cannot_reach_is_refused_in_its_words_without_the_url():
    words = f"We couldn't verify the URL is working. {URL} HTTP Code: 403"
    problem = {"title": "Invalid Resource", "detail": "See errors.", "errors": [{"field": "url", "message": words}]}
    async with talking_to(always(400, problem)) as mailchimp:
        with pytest.raises(WebhookRefused) as refused:
            await mailchimp.create_webhook(AUDIENCE, URL)

    assert refused.value.detail == "We couldn't verify the URL is working. HTTP Code: 403"
    assert refused.value.__context__ is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "error"), [(404, AudienceNotFound), (405, UnexpectedReply), (500, TryLater), (429, TryLater)]
)
async def test_other_refusals_keep_their_meaning(status, error):
    async with talking_to(always(status, {"title": "No", "status": status})) as mailchimp:
        with pytest.raises(error):
            await mailchimp.create_webhook(AUDIENCE, URL)


@pytest.mark.anyio
async def test_a_webhook_is_not_made_twice_when_nobody_knows_whether_it_was_made():
    async with talking_to(always(200, b"cut")) as mailchimp:
        with pytest.raises(TryLater):
            await mailchimp.create_webhook(AUDIENCE, URL)

        assert mailchimp.requests == 1


@pytest.mark.anyio
async def test_all_webhooks_are_listed_not_the_first_ten():
    seen = []

    async def handler(request):
        seen.append(request.query.get("count"))
        return await always(200, {"webhooks": [{"id": "ab12", "url": URL}], "total_items": 1})(request)

    async with talking_to(handler) as mailchimp:
        assert await mailchimp.webhooks(AUDIENCE) == (Webhook("ab12", URL),)

    assert seen == ["1000"]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [204, 404])
async def test_a_webhook_that_is_gone_is_as_good_as_deleted(status):
    body = b"" if status == 204 else json.dumps({"title": "Resource Not Found", "status": 404}).encode()
    async with talking_to(always(status, body)) as mailchimp:
        await mailchimp.delete_webhook(AUDIENCE, "ab12")
