"""Mailchimp's endpoints, one method each: a `Call` in, a `Result` out; readings as values.

All methods raise `AccessLost`, `AudienceNotFound`, `UnexpectedReply`; those that read raise `TryLater` too, after
patience ran out. Nothing that is logged or said by an exception names a person or the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp

from nexpura.mailchimp import calls, webhook
from nexpura.mailchimp.calls import BulkCall, Call
from nexpura.mailchimp.errors import (
    AudienceNotFound,
    MemberRefused,
    NotFound,
    TryLater,
    UnexpectedReply,
    from_item,
    misunderstood,
    webhook_refused,
)
from nexpura.mailchimp.flight import as_they_come
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import (
    AUDIENCE_FIELDS,
    MEMBER_FIELDS,
    Account,
    Audience,
    Member,
    MemberPage,
    MergeField,
    subscriber_hash,
)
from nexpura.mailchimp.pace import PATIENT, Patience, Places
from nexpura.mailchimp.result import Accepted, BulkResult, Deferred, Refused, Result
from nexpura.mailchimp.webhook import Webhook
from nexpura.mailchimp.wire import Reply, Wire, session_for

PLACES: Final = 9
"""Of Mailchimp's ten; the tenth is for people waiting at a page."""
LARGEST_PAGE: Final = 1000
USER_AGENT: Final = "nexpura"

_LISTED: Final = ",".join([*(f"members.{name}" for name in MEMBER_FIELDS), "total_items"])

K = TypeVar("K")
T = TypeVar("T")


class MailchimpClient:
    """Talks to one account with one key. Open it with `open`."""

    def __init__(self, wire: Wire, *, places: int) -> None:
        self._wire = wire
        self._places = places

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        key: ApiKey,
        *,
        base_url: str,
        places: int = PLACES,
        patience: Patience = PATIENT,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> AsyncIterator[MailchimpClient]:
        """A client for the length of the block. `base_url` comes from `key.base_url`.

        A request left unanswered may go on at Mailchimp after the block: `unanswered` tells how many there are.
        """
        authorization = aiohttp.encode_basic_auth("key", key.value)
        held_for = patience.connect + patience.server_limit  # the server counts from when it was reached
        async with session_for(authorization, patience, user_agent) as session:
            wire = Wire(session, base_url, Places(places, server_limit=held_for), patience, sleep)
            yield cls(wire, places=places)

    @property
    def requests(self) -> int:
        """Requests made so far, repetitions included."""
        return self._wire.requests

    @property
    def unanswered(self) -> int:
        """Requests Mailchimp may still be at work on: those under way, and those nobody listens to any more."""
        return self._wire.open

    async def account(self) -> Account:
        """Whose key this is. https://mailchimp.com/developer/marketing/api/root/list-api-root-resources/"""
        return _read(Account.from_json, await self._wire.ask("GET", "/"))

    async def audience(self, audience_id: str) -> Audience:
        """One audience. https://mailchimp.com/developer/marketing/api/lists/get-list-info/"""
        reply = await self._ask_audience(audience_id, query={"fields": ",".join(AUDIENCE_FIELDS)})
        return _read(Audience.from_json, reply)

    async def merge_fields(self, audience_id: str) -> tuple[MergeField, ...]:
        """Its typed fields; the address is none of them.

        https://mailchimp.com/developer/marketing/api/list-merges/list-merge-fields/
        """
        reply = await self._ask_audience(audience_id, "/merge-fields", query={"count": str(LARGEST_PAGE)})
        return _read(lambda document: tuple(map(MergeField.from_json, document["merge_fields"])), reply)

    async def permissions(self, audience_id: str) -> tuple[tuple[str, str], ...]:
        """Id and text of the audience's marketing permissions; empty while it has no member to read them off.

        No endpoint lists them. https://mailchimp.com/developer/marketing/api/list-members/list-members-info/
        """
        query = {"count": "1", "fields": "members.marketing_permissions"}
        reply = await self._ask_audience(audience_id, "/members", query=query)
        listed = reply.document.get("members") or [{}]
        return _read(lambda _: Member.permissions_from_json(listed[0]), reply)

    async def members(
        self, audience_id: str, *, since: datetime | None = None, status: str = "", page_size: int = LARGEST_PAGE
    ) -> AsyncGenerator[MemberPage, None]:
        """Read the listing, or what of it changed after `since`; several pages at once, in any order but the first.

        https://mailchimp.com/developer/marketing/api/list-members/list-members-info/

        Ordered by the moment of opt-in: it stays when a member changes, so members who change or join while we
        read shift the others towards later pages, where they are seen twice. Only a member deleted meanwhile pulls
        one back over a page's edge, unseen: absence from the listing proves nothing.
        """
        if not 1 <= page_size <= LARGEST_PAGE:
            raise ValueError(f"a page has 1 to {LARGEST_PAGE} members")
        read_page = partial(self._page, audience_id, since, status, page_size)
        first = await read_page(0)
        yield first
        step = len(first.members) or page_size  # Mailchimp may give less than it was asked for
        offset, total = step, first.total_items
        while first.members and offset < total:
            ahead = range(offset, total, step)
            offset = ahead[-1] + step
            async with aclosing(as_they_come(_each(ahead), read_page, at_most=self._places)) as pages:
                async for _, page in pages:
                    total = max(total, page.total_items)
                    yield page

    async def members_changed(self, audience_id: str, since: datetime, offset: int = 0) -> MemberPage:
        """Read one page of what changed after `since`, for whoever makes one request at a time."""
        return await self._page(audience_id, since, "", LARGEST_PAGE, offset)

    async def member(self, audience_id: str, address: str) -> Member:
        """Read one member; raises `NotFound` if the address is not in the audience.

        https://mailchimp.com/developer/marketing/api/list-members/get-member-info/
        """
        return await self._member(calls.get_member(audience_id, address))

    async def webhooks(self, audience_id: str) -> tuple[Webhook, ...]:
        """Everybody who is told of what happens in the audience.

        https://mailchimp.com/developer/marketing/api/list-webhooks/list-webhooks/
        """
        reply = await self._ask_audience(audience_id, "/webhooks", query={"count": str(LARGEST_PAGE)})
        return _read(lambda document: tuple(map(Webhook.from_json, document["webhooks"])), reply)

    async def create_webhook(self, audience_id: str, url: str) -> Webhook:
        """Have Mailchimp tell `url` what people and the merchant do; raises `WebhookRefused`.

        https://mailchimp.com/developer/marketing/api/list-webhooks/add-webhook/

        Mailchimp asks the URL first, during the call. Only this reply tells what signs the deliveries; after
        `TryLater` with `perhaps_done` the webhook may exist: delete it, and make another.
        """
        path = f"{calls.audience_path(audience_id)}/webhooks"
        try:
            reply = await self._wire.ask("POST", path, body=webhook.asking_for(url), repeatable=False)
        except NotFound as missing:
            raise AudienceNotFound(missing.status, missing.title, missing.detail) from None
        except UnexpectedReply as refused:
            if refused.status != 400:
                raise
            refusal = webhook_refused(refused)
        else:
            return _read(Webhook.from_json, reply)
        raise refusal  # outside, so that what Mailchimp said of the URL is not its context

    async def delete_webhook(self, audience_id: str, webhook_id: str) -> None:
        """Have Mailchimp tell it nothing more. Does nothing if the webhook is gone, or the audience.

        https://mailchimp.com/developer/marketing/api/list-webhooks/delete-webhook/
        """
        with suppress(NotFound):
            await self._wire.ask("DELETE", f"{calls.audience_path(audience_id)}/webhooks/{quote(webhook_id, safe='')}")

    async def send(self, call: Call) -> Result:
        """Send one call, patiently."""
        try:
            return await self._asked(call)
        except (MemberRefused, NotFound) as refusal:
            return Refused(refusal.with_traceback(None))
        except TryLater as failure:
            return Deferred(failure.with_traceback(None))

    async def send_bulk(self, call: BulkCall) -> BulkResult | Refused | Deferred:
        """Send one bulk call, patiently. `Refused` if the whole call was: then nothing of it was carried out."""
        try:
            reply = await self._wire.ask(
                "POST", call.path, query=call.query, body=call.body, about_member=True, repeatable=call.repeatable
            )
        except MemberRefused as refusal:
            return Refused(refusal.with_traceback(None))
        except NotFound as missing:
            raise AudienceNotFound(missing.status, missing.title, missing.detail) from None
        except TryLater as failure:
            return Deferred(failure.with_traceback(None))
        return _read(_bulk_result, reply)

    async def send_all(self, jobs: AsyncIterable[tuple[K, Call]]) -> AsyncGenerator[tuple[K, Result], None]:
        """Send calls, as many at once as there are places; results as they come, each with its call's key.

        A call is taken only when it can be sent. When one meets `AccessLost`, `AudienceNotFound` or
        `UnexpectedReply`, no more are taken, those under way are settled and yielded, and then it is raised. A key
        that was taken and never yielded belongs to a call of which nobody knows: look before repeating it.
        """
        async with aclosing(as_they_come(jobs, self.send, at_most=self._places)) as results:
            async for key, result in results:
                yield key, result

    async def _member(self, call: Call) -> Member:
        return _read(Member.from_json, await self._about_member(call))

    async def _asked(self, call: Call) -> Accepted:
        reply = await self._about_member(call)
        if not call.tells_member:
            return Accepted(None)
        return Accepted(_read(Member.from_json, reply), first_sent=reply.at and reply.at - reply.took)

    async def _about_member(self, call: Call) -> Reply:
        try:
            return await self._wire.ask(
                call.method,
                call.path,
                query=call.query,
                body=call.body,
                about_member=True,
                repeatable=call.repeatable,
            )
        except NotFound:
            await self.audience(call.audience_id)  # both answer alike: is it the member that is missing?
            raise

    async def _page(
        self, audience_id: str, since: datetime | None, status: str, page_size: int, offset: int
    ) -> MemberPage:
        query = {
            "count": str(page_size),
            "offset": str(offset),
            "sort_field": "timestamp_opt",
            "sort_dir": "ASC",
            "fields": _LISTED,
        }
        if status:
            query["status"] = status
        if since is not None:
            query["since_last_changed"] = calls.written(since)
        reply = await self._ask_audience(audience_id, "/members", query=query)
        if reply.at is None:
            raise misunderstood(reply.status, "The reply has no date")
        members = _read(lambda document: tuple(map(Member.from_json, document["members"])), reply)
        return MemberPage(members, _read(lambda document: int(document["total_items"]), reply), offset, reply.at)

    async def _ask_audience(self, audience_id: str, below: str = "", *, query: Mapping[str, str]) -> Reply:
        try:
            return await self._wire.ask("GET", calls.audience_path(audience_id) + below, query=query)
        except NotFound as missing:
            raise AudienceNotFound(missing.status, missing.title, missing.detail) from None


def _bulk_result(document: Mapping[str, Any]) -> BulkResult:
    results: dict[str, Accepted | Refused] = {
        subscriber_hash(one["email_address"]): Refused(from_item(one)) for one in document["errors"]
    }
    for name, created in (("updated_members", False), ("new_members", True)):
        for one in document[name]:
            member = Member.from_json(one)
            results[subscriber_hash(member.address)] = Accepted(member, created)
    return BulkResult(results)


def _read(reader: Callable[[Mapping[str, Any]], T], reply: Reply) -> T:
    try:
        return reader(reply.document)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise misunderstood(reply.status, "The reply lacks what it should hold")  # outside, to keep values out of it


async def _each(offsets: Iterable[int]) -> AsyncIterator[tuple[int, int]]:
    for offset in offsets:
        yield offset, offset
