"""The tenth place: what Mailchimp allows one user at once, less the nine of a run.

Whoever asks Mailchimp outside a run (a page, a look at single members, the making of a webhook) waits for it and
makes one request at a time, whatever process it is in. It is held by an advisory lock of the database, on a
connection of its own: no thread of anybody waits with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from procrastinate.contrib.django.utils import connector_params

from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.pace import Patience
from nexpura.sync import line

T = TypeVar("T")

WAIT = 10.0
"""Seconds to wait for the place."""


class Taken(Exception):
    """Somebody else has the place, for longer than one wanted to wait."""


class Place:
    """The tenth place of one Mailchimp user, to be taken for one request after the other."""

    def __init__(self, connection: psycopg.AsyncConnection, name: str, wait: float) -> None:
        self._connection = connection
        self._number = int.from_bytes(hashlib.sha256(f"mailchimp {name}".encode()).digest()[:8], "big", signed=True)
        self._wait = wait

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Have the place for the length of the block; raises `Taken`."""
        async with self._connection.transaction():
            try:
                await self._connection.execute(
                    "SELECT set_config('lock_timeout', %s, true)", [f"{int(self._wait * 1000)}ms"]
                )
                await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._number])
            except psycopg.errors.LockNotAvailable:
                raise Taken from None
            yield


def of_login(login_id: str) -> str:
    """Return the name of the place that belongs to a Mailchimp user."""
    return f"login {login_id}"


def of_data_centre(key: ApiKey) -> str:
    """Return the name of the place to take while it is not known yet whose key it is."""
    return f"data centre {key.data_centre}"


@asynccontextmanager
async def place(name: str, wait: float | None = None) -> AsyncIterator[Place]:
    """Open the way to the place `name` for the length of the block, without taking it yet."""
    connection = await psycopg.AsyncConnection.connect(**connector_params(), autocommit=True)
    async with connection:
        yield Place(connection, name, WAIT if wait is None else wait)


def ask(
    name: str,
    key: ApiKey,
    question: Callable[[MailchimpClient], Coroutine[Any, Any, T]],
    *,
    patience: Patience | None = None,
    wait: float | None = None,
) -> T:
    """Ask Mailchimp from a page, which waits: a few requests at most, one after the other.

    Raises `Taken` and the errors of Mailchimp; after twice the time that one call may take, whatever it waits for.
    """
    limits = patience or line.AT_A_PAGE

    async def asked() -> T:
        async with (
            place(name, wait) as tenth,
            line.to_mailchimp(key, places=1, patience=limits) as mailchimp,
            tenth.taken(),
            asyncio.timeout(2 * limits.total),
        ):
            return await question(mailchimp)

    try:
        return asyncio.run(asked())
    except TimeoutError:
        raise errors.no_reply("Mailchimp did not answer in time", perhaps_done=True) from None
