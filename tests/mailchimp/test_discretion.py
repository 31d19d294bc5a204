"""What the emulator cannot say, said by a small server; and that nothing secret is told on."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from nexpura.mailchimp import calls
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.errors import MailchimpError, NotFound, TryLater, UnexpectedReply
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import subscriber_hash
from nexpura.mailchimp.result import Accepted, Deferred, Refused

from .audiences import AUDIENCE
from .conftest import HASTY

pytestmark = pytest.mark.anyio

ALICE = "alice@inbox.example"
KEY = ApiKey.parse("5ec2e75ec2e75ec2e75ec2e75ec2e75e-us14")
SECRETS = (KEY.value, KEY.value.split("-")[0], ALICE, subscriber_hash(ALICE), "Ashe", AUDIENCE)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def talking_to(handler: Handler) -> AsyncIterator[MailchimpClient]:
    """A client of a server that answers everything with `handler`."""
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    where = f"http://127.0.0.1:{runner.addresses[0][1]}/3.0"
    try:
        async with MailchimpClient.open(KEY, base_url=where, patience=HASTY, user_agent="nexpura/test") as mailchimp:
            yield mailchimp
    finally:
        await runner.cleanup()


def always(status: int, document: Any, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return web.Response(status=status, body=body, headers=headers)

    return handler


async def test_a_request_shows_the_key_to_mailchimp_only_in_its_header():
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"account_id": "e41e"})

    async with talking_to(handler) as mailchimp:
        await mailchimp.account()

    (request,) = seen
    assert request.headers["Authorization"].startswith("Basic ")
    assert request.headers["User-Agent"] == "nexpura/test"
    assert KEY.value not in str(request.url)
    assert request.path == "/3.0/"


async def test_a_redirect_is_not_followed():
    async with talking_to(always(302, b"", Location="http://127.0.0.1:9/3.0/")) as mailchimp:
        with pytest.raises(UnexpectedReply):
            await mailchimp.account()

        assert mailchimp.requests == 1


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"id": "f00d"},
        {"id": "f00d", "email_address": ALICE, "status": 5},
        {"id": "f00d", "email_address": ALICE, "status": "subscribed", "last_changed": ALICE},
        "text",
        None,
    ],
)
async def test_a_member_of_another_shape_fails_loudly(document):
    async with talking_to(always(200, document)) as mailchimp:
        with pytest.raises(UnexpectedReply) as unexpected:
            await mailchimp.send(calls.unsubscribe(AUDIENCE, ALICE))

        assert mailchimp.requests == 1
        assert _nothing_told(unexpected.value)


async def test_a_listing_of_another_shape_fails_loudly():
    async with talking_to(always(200, {"members": {}, "total_items": "many"})) as mailchimp:
        with pytest.raises(UnexpectedReply):
            await anext(mailchimp.members(AUDIENCE))


async def test_a_listing_that_gives_less_than_asked_for_is_read_to_its_end():
    everybody = [
        {"id": str(number), "email_address": f"c{number}@inbox.example", "status": "subscribed"} for number in range(25)
    ]

    async def handler(request: web.Request) -> web.Response:
        offset = int(request.query["offset"])
        return web.json_response({"members": everybody[offset : offset + 10], "total_items": 25})

    async with talking_to(handler) as mailchimp:
        pages = [page async for page in mailchimp.members(AUDIENCE, page_size=1000)]

    assert {member.id for page in pages for member in page.members} == {str(number) for number in range(25)}


async def test_a_listing_that_counts_members_it_does_not_show_comes_to_an_end():
    async with talking_to(always(200, {"members": [], "total_items": 25})) as mailchimp:
        pages = [page async for page in mailchimp.members(AUDIENCE)]

    assert [page.members for page in pages] == [()]


async def test_a_404_that_is_no_problem_document_proves_nothing():
    async with talking_to(always(404, b"<html>nothing here</html>")) as mailchimp:
        with pytest.raises(UnexpectedReply):
            await mailchimp.send(calls.get_member(AUDIENCE, ALICE))


async def test_a_page_of_the_edge_is_tried_again():
    replies = iter([(403, b""), (429, b""), (502, b"<html></html>"), (200, b'{"account_id": "e41e"}')])

    async def handler(request: web.Request) -> web.Response:
        status, body = next(replies)
        return web.Response(status=status, body=body)

    async with talking_to(handler) as mailchimp:
        account = await mailchimp.account()

        assert account.account_id == "e41e"
        assert mailchimp.requests == 4


PROBLEM = {"title": "Invalid Resource", "status": 400, "detail": f"{ALICE} looks fake or invalid", "errors": []}


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (always(200, {"id": subscriber_hash(ALICE), "email_address": ALICE, "status": "subscribed"}), Accepted),
        (always(400, PROBLEM), Refused),
        (always(429, {**PROBLEM, "status": 429}), Deferred),
        (always(500, f"{ALICE} {KEY.value}".encode()), Deferred),
        (always(200, b'{"email_address": "alice@inbox.exa'), Deferred),
    ],
)
async def test_neither_logs_nor_results_tell_who_or_with_which_key(caplog, handler, outcome):
    caplog.set_level(logging.DEBUG)
    call = calls.upsert(AUDIENCE, ALICE, merge_fields={"LNAME": "Ashe"}, status_if_new="subscribed")

    async with talking_to(handler) as mailchimp:
        result = await mailchimp.send(call)

    assert isinstance(result, outcome)
    assert "PUT /lists/…/members/…: " in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]
    assert not [secret for secret in SECRETS if secret in repr(result)]
    assert not [secret for secret in SECRETS if secret in repr(call) and secret != AUDIENCE]


async def test_no_exception_tells_who_or_with_which_key(unused_port):
    async with MailchimpClient.open(KEY, base_url=f"http://127.0.0.1:{unused_port}/3.0", patience=HASTY) as mailchimp:
        with pytest.raises(TryLater) as nobody_there:
            await mailchimp.member(AUDIENCE, ALICE)
    problem = {"title": "Resource Not Found", "status": 404, "detail": f"{ALICE} is not here"}
    replies = iter([(404, problem), (200, {"id": AUDIENCE, "name": "Regulars"})])

    async def handler(request: web.Request) -> web.Response:
        status, document = next(replies)
        return web.json_response(document, status=status)

    async with talking_to(handler) as mailchimp:
        with pytest.raises(NotFound) as missing:
            await mailchimp.member(AUDIENCE, ALICE)

    assert _nothing_told(nobody_there.value)
    assert _nothing_told(missing.value)


def _nothing_told(error: MailchimpError) -> bool:
    """Whether neither the error nor what led to it names a secret."""
    told, link = "", error
    while link is not None:
        told += f"{link} {link!r} "
        link = link.__cause__ or link.__context__
    return not [secret for secret in SECRETS if secret in told]
