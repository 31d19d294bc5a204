"""Our client takes a whole tour of an audience: from the first look to the last member, one story in chapters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailchimp_emulator.serve import Running
from nexpura.mailchimp import calls, webhook
from nexpura.mailchimp.calls import Call
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.errors import AccessLost, AudienceNotFound, NotFound, Refusal, TryLater, WebhookRefused
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import Member
from nexpura.mailchimp.result import Accepted, Deferred, Refused

from ..emulator.receiving import quiet, receiving
from .audiences import AUDIENCE, joining, numbered

pytestmark = pytest.mark.anyio

ALICE, BOB, GONE = "alice@inbox.example", "bob@post.example", "gone@post.example"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
FIELDS = [{"tag": "FNAME"}, {"tag": "VISITS", "type": "number"}, {"tag": "SINCE", "type": "date"}]


async def test_our_client_takes_a_whole_tour(emulator, shop, open_client):
    key = shop(merge_fields=FIELDS, forgotten=[GONE], marketing_permissions=[{"id": "a0a0a0a0a0", "text": "Email"}])
    emulator.control("clock", {"now": NOON.isoformat()})

    async with open_client(key) as mailchimp:
        await it_looks_around(mailchimp)
        await it_adds_and_changes_somebody(mailchimp)
        await it_adds_many(mailchimp)
        await it_reads_everybody_and_what_changed(emulator, mailchimp)
        await it_opts_out_and_undoes_that(mailchimp)
        await it_cannot_bring_back_who_left(emulator, mailchimp)
        await it_leaves_the_archived_archived(emulator, mailchimp)
        await it_tags_and_renames(mailchimp)
        await it_is_told_what_people_do(emulator, mailchimp)
        await it_forgets(mailchimp)
        await it_tells_who_is_refused_and_why(emulator, mailchimp)
        await it_comes_through_bad_weather(emulator, mailchimp)
        await it_notices_that_the_audience_is_gone(emulator, mailchimp)

        assert mailchimp.unanswered == 0

    async with open_client(ApiKey.parse("0123456789abcdef-us14")) as stranger:
        with pytest.raises(AccessLost):
            await stranger.account()


async def it_looks_around(mailchimp: MailchimpClient) -> None:
    account = await mailchimp.account()
    audience = await mailchimp.audience(AUDIENCE)
    fields = await mailchimp.merge_fields(AUDIENCE)

    assert (account.role, account.total_subscribers) == ("owner", 0)
    assert (audience.name, audience.member_count, audience.double_optin) == ("Regulars", 0, False)
    assert {field.tag: field.type for field in fields} == {"FNAME": "text", "VISITS": "number", "SINCE": "date"}


async def it_adds_and_changes_somebody(mailchimp: MailchimpClient) -> None:
    granted_at = datetime(2025, 5, 1, 9, 30, tzinfo=UTC)
    values = {"FNAME": "Alice", "VISITS": 3, "SINCE": "2025-05-01"}
    join = calls.upsert(
        AUDIENCE,
        ALICE,
        merge_fields=values,
        status_if_new="subscribed",
        timestamp_opt=granted_at,
        ip_opt="192.0.2.7",
        tags=["VIP"],
        permissions=["a0a0a0a0a0"],
    )

    added = await accepted(mailchimp, join)
    again = await accepted(mailchimp, calls.upsert(AUDIENCE, ALICE.upper(), merge_fields={"VISITS": 4}))
    updated = await accepted(mailchimp, calls.update_fields(AUDIENCE, ALICE, {"FNAME": "Alicia"}))

    assert (added.status, added.timestamp_opt, added.tags) == ("subscribed", granted_at, ("VIP",))
    assert (again.id, again.address, again.merge_fields["VISITS"]) == (added.id, ALICE, 4)
    assert updated.merge_fields == {**values, "VISITS": 4, "FNAME": "Alicia"}
    assert await mailchimp.member(AUDIENCE, ALICE) == updated
    assert await mailchimp.permissions(AUDIENCE) == (("a0a0a0a0a0", "Email"),)


async def it_adds_many(mailchimp: MailchimpClient) -> None:
    results = [result async for _, result in mailchimp.send_all(numbered(map(joining, range(1, 41))))]

    assert {result.member.status for result in results if isinstance(result, Accepted) and result.member} == {
        "subscribed"
    }
    assert len(results) == 40
    assert (await mailchimp.audience(AUDIENCE)).member_count == 41


async def it_reads_everybody_and_what_changed(emulator: Running, mailchimp: MailchimpClient) -> None:
    emulator.control("clock", {"now": LATER.isoformat()})
    changed = await accepted(mailchimp, calls.update_fields(AUDIENCE, "c7@inbox.example", {"VISITS": 1}))

    everybody = [member async for page in mailchimp.members(AUDIENCE, page_size=7) for member in page.members]
    recent = [page async for page in mailchimp.members(AUDIENCE, since=NOON)]

    assert {member.address for member in everybody} == {ALICE, *(f"c{number}@inbox.example" for number in range(1, 41))}
    assert [page.members for page in recent] == [(listed(changed),)]
    assert recent[0].at == LATER


async def it_opts_out_and_undoes_that(mailchimp: MailchimpClient) -> None:
    out = await accepted(mailchimp, calls.unsubscribe(AUDIENCE, ALICE))
    again = await accepted(mailchimp, calls.unsubscribe(AUDIENCE, ALICE))
    kept = await accepted(
        mailchimp, calls.upsert(AUDIENCE, ALICE, merge_fields={"VISITS": 5}, status_if_new="subscribed")
    )
    back = await accepted(mailchimp, calls.resubscribe(AUDIENCE, ALICE))

    assert (out.status, out.unsubscribe_reason) == ("unsubscribed", "N/A (Unsubscribed by admin)")
    assert again == out
    assert (kept.status, kept.merge_fields["VISITS"]) == ("unsubscribed", 5)
    assert (back.status, back.timestamp_opt) == ("subscribed", out.timestamp_opt)


async def it_cannot_bring_back_who_left(emulator: Running, mailchimp: MailchimpClient) -> None:
    happens(emulator, ALICE, "unsubscribe")

    refused = await refusal(mailchimp, calls.resubscribe(AUDIENCE, ALICE))
    asked = await accepted(mailchimp, calls.resubscribe(AUDIENCE, ALICE, as_pending=True))
    happens(emulator, ALICE, "confirm")

    assert refused is Refusal.COMPLIANCE
    assert asked.status == "pending"
    assert (await mailchimp.member(AUDIENCE, ALICE)).status == "subscribed"


async def it_leaves_the_archived_archived(emulator: Running, mailchimp: MailchimpClient) -> None:
    happens(emulator, "c1@inbox.example", "archive")

    joined = await accepted(mailchimp, joining(1))
    present = [member.address async for page in mailchimp.members(AUDIENCE) for member in page.members]
    archived = [page.members async for page in mailchimp.members(AUDIENCE, status="archived")]

    assert joined.status == "archived"
    assert joined.address not in present
    assert archived == [(listed(joined),)]


async def it_tags_and_renames(mailchimp: MailchimpClient) -> None:
    before = await mailchimp.member(AUDIENCE, ALICE)
    assert await mailchimp.send(calls.retag(AUDIENCE, ALICE, add=["Rings"], remove=["VIP"])) == Accepted(None)

    renamed = await accepted(mailchimp, calls.rename(AUDIENCE, ALICE, BOB))
    again = await mailchimp.send(calls.rename(AUDIENCE, ALICE, BOB))
    taken = await refusal(mailchimp, calls.rename(AUDIENCE, "c4@inbox.example", BOB))

    assert (renamed.address, renamed.tags, renamed.contact_id) == (BOB, ("Rings",), before.contact_id)
    assert isinstance(again, Refused)
    assert isinstance(again.error, NotFound)
    assert taken is Refusal.EXISTS


async def it_is_told_what_people_do(emulator: Running, mailchimp: MailchimpClient) -> None:
    with receiving() as shop_front:
        made = await mailchimp.create_webhook(AUDIENCE, shop_front.url)
        with pytest.raises(WebhookRefused):
            await mailchimp.create_webhook(AUDIENCE, shop_front.url)
        await accepted(mailchimp, calls.update_fields(AUDIENCE, BOB, {"VISITS": 6}))  # what we do is not told to us
        happens(emulator, BOB, "unsubscribe")
        quiet(emulator)
        hooks = await mailchimp.webhooks(AUDIENCE)
        await mailchimp.delete_webhook(AUDIENCE, made.id)
        await mailchimp.delete_webhook(AUDIENCE, made.id)
        happens(emulator, BOB, "signup")
        quiet(emulator)

    [letter] = shop_front.posts
    delivery = webhook.read(letter.raw)
    signed = letter.headers["x-mailchimp-signature"]
    assert (delivery.event, delivery.audience_id, delivery.addresses) == ("unsubscribe", AUDIENCE, (BOB,))
    assert webhook.verify(signed, letter.raw, made.signing_secret or "", LATER) is webhook.Signature.GENUINE
    assert [(hook.id, hook.signing_secret) for hook in hooks] == [(made.id, None)]
    assert await mailchimp.webhooks(AUDIENCE) == ()


async def it_forgets(mailchimp: MailchimpClient) -> None:
    assert await mailchimp.send(calls.forget(AUDIENCE, BOB)) == Accepted(None)

    again = await mailchimp.send(calls.forget(AUDIENCE, BOB))
    back = await refusal(mailchimp, calls.upsert(AUDIENCE, BOB, merge_fields={}, status_if_new="subscribed"))

    assert isinstance(again, Refused)
    assert isinstance(again.error, NotFound)
    assert back is Refusal.FORGOTTEN


async def it_tells_who_is_refused_and_why(emulator: Running, mailchimp: MailchimpClient) -> None:
    happens(emulator, "c2@inbox.example", "hard_bounce")
    happens(emulator, "c3@inbox.example", "delete_permanent")
    wrong = calls.upsert(AUDIENCE, "new@inbox.example", merge_fields={"SINCE": "yesterday"}, status_if_new="subscribed")

    refusals = {
        "bounced": await refusal(mailchimp, calls.resubscribe(AUDIENCE, "c2@inbox.example")),
        "deleted": await refusal(mailchimp, joining(3)),
        "forgotten": await refusal(mailchimp, calls.upsert(AUDIENCE, GONE, merge_fields={}, status_if_new="pending")),
        "fake": await refusal(
            mailchimp, calls.upsert(AUDIENCE, "foo@bar.com", merge_fields={}, status_if_new="subscribed")
        ),
        "wrong field": await refusal(mailchimp, wrong),
    }

    assert refusals == {
        "bounced": Refusal.COMPLIANCE,
        "deleted": Refusal.FORGOTTEN,
        "forgotten": Refusal.FORGOTTEN,
        "fake": Refusal.FAKE_ADDRESS,
        "wrong field": Refusal.MERGE_FIELDS,
    }
    with pytest.raises(NotFound):
        await mailchimp.member(AUDIENCE, "c3@inbox.example")


async def it_comes_through_bad_weather(emulator: Running, mailchimp: MailchimpClient) -> None:
    weather = ("429", "before"), ("503", "before"), ("reset", "after")
    faults = [{"kind": kind, "when": when, "nth": number} for number, (kind, when) in enumerate(weather, start=1)]
    emulator.control("faults", faults)
    once = await accepted(mailchimp, joining(50))
    emulator.control("faults", [{"kind": "500"}])
    never = await mailchimp.send(joining(51))
    emulator.control("faults", [])

    assert once.address == "c50@inbox.example"
    assert [row["status"] for row in emulator.log()[-8:]] == [429, 503, None, 200, 500, 500, 500, 500]
    assert isinstance(never, Deferred)
    assert isinstance(never.error, TryLater)
    assert "c51@inbox.example" not in {member["email_address"] for member in emulator.members(AUDIENCE)}


async def it_notices_that_the_audience_is_gone(emulator: Running, mailchimp: MailchimpClient) -> None:
    emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    with pytest.raises(AudienceNotFound):
        await mailchimp.send(joining(1))
    with pytest.raises(AudienceNotFound):
        await mailchimp.audience(AUDIENCE)


async def accepted(mailchimp: MailchimpClient, call: Call) -> Member:
    """The member after a call that has to be accepted."""
    result = await mailchimp.send(call)
    assert isinstance(result, Accepted), result
    assert result.member is not None
    return result.member


def listed(member: Member) -> Member:
    """The member as listings tell it: without permissions."""
    return replace(member, permissions=())


async def refusal(mailchimp: MailchimpClient, call: Call) -> Refusal:
    """Why a call is refused that has to be."""
    result = await mailchimp.send(call)
    assert isinstance(result, Refused), result
    assert not isinstance(result.error, NotFound)
    return result.error.kind


def happens(emulator: Running, address: str, event: str) -> None:
    emulator.control("member_event", {"list_id": AUDIENCE, "email": address, "event": event})
