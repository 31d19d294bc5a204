"""The client against the emulator: reading an audience, changing members, telling one 404 from the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nexpura.mailchimp import calls
from nexpura.mailchimp.errors import AccessLost, AudienceNotFound, MemberRefused, NotFound, Refusal
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import subscriber_hash
from nexpura.mailchimp.result import Accepted, BulkResult, Refused

from .audiences import AUDIENCE, joining, numbered

pytestmark = pytest.mark.anyio

ALICE = "alice@inbox.example"
BOB = "bob@post.example"


async def test_a_key_shows_whose_it_is(shop, open_client):
    key = shop()

    async with open_client(key) as mailchimp:
        account = await mailchimp.account()

    assert account.role == "owner"
    assert account.login_id.isdigit()


async def test_a_wrong_key_loses_access(shop, open_client):
    shop()

    async with open_client(ApiKey.parse("0123456789abcdef-us14")) as mailchimp:
        with pytest.raises(AccessLost) as lost:
            await mailchimp.account()

    assert lost.value.title == "API Key Invalid"


async def test_an_audience_tells_its_settings_and_counts(shop, open_client):
    members = [{"email_address": ALICE}, {"email_address": BOB, "status": "unsubscribed"}]
    key = shop(members=members, double_optin=True)

    async with open_client(key) as mailchimp:
        audience = await mailchimp.audience(AUDIENCE)

    assert (audience.id, audience.name, audience.double_optin) == (AUDIENCE, "Regulars", True)
    assert (audience.member_count, audience.unsubscribe_count, audience.cleaned_count) == (1, 1, 0)


@pytest.mark.parametrize("audience_id", ["ffffffffff", "../", "a/b", " ", "é"])
async def test_an_audience_that_is_not_there_is_told_from_everything_else(shop, open_client, audience_id):
    key = shop()

    async with open_client(key) as mailchimp:
        with pytest.raises(AudienceNotFound):
            await mailchimp.audience(audience_id)
        with pytest.raises(AudienceNotFound):
            await mailchimp.merge_fields(audience_id)


async def test_the_merge_fields_of_an_audience_are_told_with_their_types(shop, open_client):
    fields = [
        {"tag": "FNAME", "type": "text", "required": True},
        {"tag": "PHONE", "type": "phone", "options": {"phone_format": "US"}},
    ]
    key = shop(merge_fields=fields)

    async with open_client(key) as mailchimp:
        first, phone = await mailchimp.merge_fields(AUDIENCE)

    assert (first.tag, first.required) == ("FNAME", True)
    assert (phone.type, phone.options["phone_format"]) == ("phone", "US")


async def test_a_new_address_joins_with_its_grant(shop, open_client):
    key = shop()
    granted_at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    call = calls.upsert(
        AUDIENCE,
        ALICE,
        merge_fields={"FNAME": "Alice"},
        status_if_new="subscribed",
        timestamp_opt=granted_at,
        ip_opt="192.0.2.7",
    )

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(call)

    assert isinstance(result, Accepted)
    assert (result.member.address, result.member.status) == (ALICE, "subscribed")
    assert result.member.merge_fields["FNAME"] == "Alice"
    assert result.member.timestamp_opt == granted_at


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "archived", "pending"])
async def test_an_upsert_leaves_the_status_of_a_member_alone(shop, open_client, status):
    key = shop(members=[{"email_address": ALICE, "status": status}])
    call = calls.upsert(AUDIENCE, ALICE, merge_fields={"FNAME": "Alice"}, status_if_new="subscribed")

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(call)

    assert isinstance(result, Accepted)
    assert result.member.status == status


async def test_an_opt_out_unsubscribes_and_can_be_undone_by_us(shop, open_client):
    fields = [{"tag": "LNAME", "type": "text", "required": True}]
    key = shop(members=[{"email_address": ALICE}], merge_fields=fields)

    async with open_client(key) as mailchimp:
        out = await mailchimp.send(calls.unsubscribe(AUDIENCE, ALICE))
        back = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE, merge_fields={"LNAME": "Ashe"}))

    assert isinstance(out, Accepted)
    assert out.member.status == "unsubscribed"
    assert out.member.unsubscribe_reason
    assert isinstance(back, Accepted)
    assert back.member.status == "subscribed"


async def test_who_unsubscribed_themselves_is_refused_and_can_be_asked(shop, open_client):
    key = shop(members=[{"email_address": ALICE, "status": "unsubscribed", "unsubscribed_by": "user"}])

    async with open_client(key) as mailchimp:
        refused = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE))
        asked = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE, as_pending=True))

    assert _kind(refused) is Refusal.COMPLIANCE
    assert isinstance(asked, Accepted)
    assert asked.member.status == "pending"


async def test_a_refused_address_names_its_reason(shop, open_client):
    fields = [{"tag": "LTV", "type": "number"}]
    key = shop(forgotten=["gone@inbox.example"], merge_fields=fields)
    typo, fake = ("name@", "foo@example.com")

    async with open_client(key) as mailchimp:
        refusals = [
            _kind(await mailchimp.send(calls.upsert(AUDIENCE, address, merge_fields={}, status_if_new="subscribed")))
            for address in (typo, fake, "gone@inbox.example")
        ]
        number = await mailchimp.send(
            calls.upsert(AUDIENCE, ALICE, merge_fields={"LTV": "much"}, status_if_new="subscribed")
        )

    assert refusals == [Refusal.INVALID_ADDRESS, Refusal.FAKE_ADDRESS, Refusal.FORGOTTEN]
    assert _kind(number) is Refusal.MERGE_FIELDS
    assert isinstance(number, Refused)
    assert isinstance(number.error, MemberRefused)
    assert number.error.fields == {"LTV": "Please enter a number"}


async def test_a_missing_member_is_a_refusal_of_that_member(shop, open_client):
    key = shop()

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(calls.unsubscribe(AUDIENCE, ALICE))
        with pytest.raises(NotFound):
            await mailchimp.member(AUDIENCE, ALICE)

    assert isinstance(result, Refused)
    assert isinstance(result.error, NotFound)


@pytest.mark.parametrize(
    "call", [joining(1), calls.unsubscribe(AUDIENCE, ALICE), calls.get_member(AUDIENCE, ALICE)], ids=lambda c: c.method
)
async def test_a_deleted_audience_is_told_from_a_missing_member(emulator, shop, open_client, call):
    key = shop(members=[{"email_address": ALICE}])
    emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    async with open_client(key) as mailchimp:
        with pytest.raises(AudienceNotFound):
            await mailchimp.send(call)


async def test_one_member_is_read_by_address(shop, open_client):
    key = shop(members=[{"email_address": ALICE, "tags": ["VIP"], "merge_fields": {"FNAME": "Alice"}}])

    async with open_client(key) as mailchimp:
        member = await mailchimp.member(AUDIENCE, ALICE.upper())

    assert (member.address, member.tags) == (ALICE, ("VIP",))
    assert member.contact_id


async def test_two_and_a_half_thousand_members_are_all_read(shop, open_client):
    key = shop(generate={"count": 2500, "merge_fields": {"FNAME": "Name{}"}})

    async with open_client(key) as mailchimp:
        pages = [page async for page in mailchimp.members(AUDIENCE)]
        requests = mailchimp.requests

    assert {member.address for page in pages for member in page.members} == {
        f"c{number}@inbox.example" for number in range(1, 2501)
    }
    assert sorted(page.offset for page in pages) == [0, 1000, 2000]
    assert {page.total_items for page in pages} == {2500}
    assert requests == 3


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (5, 1), (10, 1), (11, 2), (30, 3)])
async def test_no_page_is_asked_for_that_has_nobody(shop, open_client, count, requests):
    key = shop(generate={"count": count})

    async with open_client(key) as mailchimp:
        pages = [page async for page in mailchimp.members(AUDIENCE, page_size=10)]

        assert sum(len(page.members) for page in pages) == count
        assert mailchimp.requests == requests


async def test_who_joins_while_the_audience_is_read_is_read_too(emulator, shop, open_client):
    key = shop(generate={"count": 20, "last_changed": "2026-01-01T00:00:00Z"})

    async with open_client(key) as mailchimp:
        pages = mailchimp.members(AUDIENCE, page_size=10)
        first = await anext(pages)
        emulator.control("member_event", {"list_id": AUDIENCE, "email": BOB, "event": "signup"})
        read = {member.address for member in first.members}
        read |= {member.address async for page in pages for member in page.members}

    assert BOB in read
    assert len(read) == 21


async def test_only_what_changed_since_is_read_by_mailchimps_clock(emulator, shop, open_client):
    now = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    key = shop(generate={"count": 20, "last_changed": "2026-11-01T00:00:00Z"})
    emulator.control("clock", {"now": now.isoformat()})

    async with open_client(key) as mailchimp:
        emulator.control("member_event", {"list_id": AUDIENCE, "email": "c7@inbox.example", "event": "unsubscribe"})
        since = (now - timedelta(minutes=1)).astimezone()
        (page,) = [page async for page in mailchimp.members(AUDIENCE, since=since)]

    assert [(member.address, member.status) for member in page.members] == [("c7@inbox.example", "unsubscribed")]
    assert page.at == now


async def test_a_page_has_a_size_mailchimp_grants(shop, open_client):
    key = shop()

    async with open_client(key) as mailchimp:
        with pytest.raises(ValueError, match="1 to 1000"):
            await anext(mailchimp.members(AUDIENCE, page_size=1001))


async def test_many_calls_are_sent_each_with_its_result(emulator, shop, open_client):
    key = shop(forgotten=["c7@inbox.example"])

    async with open_client(key) as mailchimp:
        results = {number: result async for number, result in mailchimp.send_all(numbered(map(joining, range(1, 101))))}

    assert sorted(results) == list(range(1, 101))
    assert [number for number, result in results.items() if isinstance(result, Refused)] == [7]
    assert all(
        result.member.address == f"c{number}@inbox.example"
        for number, result in results.items()
        if isinstance(result, Accepted)
    )
    assert len(emulator.members(AUDIENCE)) == 99


async def test_there_are_never_more_requests_at_once_than_places(emulator, shop, open_client):
    key = shop()
    emulator.control("latency", [{"base_ms": 5}])

    async with open_client(key, places=4) as mailchimp:
        results = [result async for _, result in mailchimp.send_all(numbered(map(joining, range(1, 61))))]

    assert len(results) == 60
    assert emulator.metrics()["highest_concurrency"] == 4


def _kind(result: object) -> Refusal:
    assert isinstance(result, Refused)
    assert isinstance(result.error, MemberRefused)
    return result.error.kind


async def test_a_bulk_call_tells_of_each_member_what_became_of_it(shop, open_client):
    key = shop(members=[{"email_address": BOB, "status": "unsubscribed"}])
    members = [calls.upserted(one, merge_fields={}, status_if_new="subscribed") for one in (ALICE, BOB, "foo@bar.com")]

    async with open_client(key) as mailchimp:
        told = await mailchimp.send_bulk(calls.bulk(AUDIENCE, members, update_existing=False))

    assert isinstance(told, BulkResult)
    alice, bob, fake = (told.results[subscriber_hash(one)] for one in (ALICE, BOB, "foo@bar.com"))
    assert (alice.created, alice.member.status) == (True, "subscribed")
    assert bob.error.kind is Refusal.EXISTS
    assert fake.error.kind is Refusal.FAKE_ADDRESS


async def test_a_bulk_update_leaves_every_status_alone(shop, open_client):
    key = shop(members=[{"email_address": ALICE}, {"email_address": BOB, "status": "unsubscribed"}])
    members = [calls.upserted(one, merge_fields={"FNAME": "New"}, status_if_new="subscribed") for one in (ALICE, BOB)]

    async with open_client(key) as mailchimp:
        told = await mailchimp.send_bulk(calls.bulk(AUDIENCE, members, update_existing=True))

    found = [told.results[subscriber_hash(one)] for one in (ALICE, BOB)]
    assert [(one.created, one.member.status) for one in found] == [(False, "subscribed"), (False, "unsubscribed")]
    assert [one.member.merge_fields["FNAME"] for one in found] == ["New", "New"]
