"""One request after another until there is an answer or patience runs out. Nothing here knows what is asked."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import orjson
from yarl import URL

from nexpura.mailchimp import errors
from nexpura.mailchimp.calls import NOTHING
from nexpura.mailchimp.pace import Patience, Places

logger = logging.getLogger(__name__)

_WHO = re.compile(r"(?<=/lists/)[^/]+|(?<=/members/)[^/]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of 2xx. `at` is Mailchimp's clock, None if the reply does not tell; `took` since it was first asked."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    at: datetime | None
    took: timedelta


@dataclass(frozen=True, slots=True)
class _Received:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Asks Mailchimp with the session's key, at most so many at once, and repeats what may be repeated."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        places: Places,
        patience: Patience,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.requests = 0
        """Made so far, repetitions included."""
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._places = places
        self._patience = patience
        self._sleep = sleep

    @property
    def open(self) -> int:
        """Requests Mailchimp may be at work on, whether or not we still listen."""
        return self._places.taken

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NOTHING,
        body: Mapping[str, Any] | None = None,
        about_member: bool = False,
        repeatable: bool = True,
    ) -> Reply:
        """Return the reply of 2xx, or raise the error the last attempt ended with."""
        clock = asyncio.get_running_loop().time
        started = clock()
        give_up_at = started + self._patience.total
        attempt = 0
        while True:
            attempt += 1
            try:
                received = await self._once(method, path, query, body)
                return _understood(received, timedelta(seconds=clock() - started), about_member=about_member)
            except errors.TryLater as failure:
                pause = self._patience.pause(attempt, failure.retry_after)
                in_doubt = failure.perhaps_done and not repeatable
                if in_doubt or attempt >= self._patience.attempts or clock() + pause > give_up_at:
                    raise
            await self._sleep(pause)

    async def _once(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> _Received:
        async with self._places.take() as place:
            self.requests += 1
            clock = asyncio.get_running_loop().time
            started = clock()
            try:
                received = await self._exchange(method, path, query, body)
            except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
                failure = errors.no_reply("No connection to Mailchimp", perhaps_done=False)
            except TimeoutError:
                place.leave_unanswered()
                failure = errors.no_reply("Mailchimp did not answer in time", perhaps_done=True)
            except (aiohttp.ClientError, OSError):
                failure = errors.no_reply("The connection was cut", perhaps_done=True)
            except asyncio.CancelledError:
                place.leave_unanswered()
                raise
            else:
                _log(method, path, str(received.status), clock() - started)
                return received
        _log(method, path, failure.title, clock() - started)
        raise failure  # here, so that the original, which names the address asked, is not its context

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> _Received:
        request = self._session.request(
            method,
            URL(self._base_url + path, encoded=True),
            params=query,
            data=None if body is None else orjson.dumps(body),
            headers=None if body is None else {"Content-Type": "application/json"},
            allow_redirects=False,
        )
        async with asyncio.timeout(self._patience.server_limit), request as response:
            return _Received(response.status, response.headers, await response.read())


def session_for(authorization: str, patience: Patience, user_agent: str) -> aiohttp.ClientSession:
    """A session that sends the key with each request. Its number of connections is the business of `Places`."""
    return aiohttp.ClientSession(
        headers={"Authorization": authorization, "User-Agent": user_agent, "Accept": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect, sock_read=patience.read),
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _understood(received: _Received, took: timedelta, *, about_member: bool) -> Reply:
    status, headers = received.status, received.headers
    if not 200 <= status < 300:
        raise errors.from_response(status, headers, received.body, about_member=about_member)
    at = errors.http_date(headers.get("Date", ""))
    if status == 204:
        return Reply(status, {}, at, took)
    try:
        document = orjson.loads(received.body)
    except ValueError:
        raise errors.cut_short(status) from None
    if not isinstance(document, dict):
        raise errors.misunderstood(status, "The reply is not an object")
    return Reply(status, document, at, took)


def _log(method: str, path: str, outcome: str, seconds: float) -> None:
    """Whom it was about stays out: neither audience nor hash, let alone key or body."""
    logger.debug("%s %s: %s, %.0f ms", method, _WHO.sub("…", path), outcome, seconds * 1000)
