"""The tenth place: what Mailchimp allows one user at once, less the nine of a run.

Whoever asks Mailchimp outside a run (a page, a look at single members, the making of a webhook) waits for it and
makes one request at a time, whatever process it is in. It is held by an advisory lock of the database, on a
connection of its own: no thread of anybody waits with it.

Whose a new key is can only be asked with it, and it may be anybody's of its data centre: so that question is put while
nobody else of that data centre is in the tenth place, by a lock which all of them share.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
HELD = 300
"""Seconds that somebody may have it, more than any request takes; then PostgreSQL takes them for frozen."""


class Taken(Exception):
    """Somebody else has the place, for longer than one wanted to wait."""


@dataclass(frozen=True, slots=True)
class Name:
    """Which place: that of a Mailchimp user, or blank, while it is not known whose, of them all in a data centre."""

    data_centre: str
    login_id: str = ""


class Place:
    """The tenth place of one Mailchimp user, to be taken for one request after the other."""

    def __init__(self, connection: psycopg.AsyncConnection, name: Name, wait: float) -> None:
        self._connection = connection
        self._name = name
        self._wait = wait

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Have the place for the length of the block; raises `Taken`."""
        async with self._connection.transaction():
            try:
                await self._connection.execute(
                    "SELECT set_config('lock_timeout', %s, true),"
                    " set_config('idle_in_transaction_session_timeout', %s, true)",
                    [f"{int(self._wait * 1000)}ms", f"{HELD}s"],
                )
                everybody = _number(f"data centre {self._name.data_centre}")
                if self._name.login_id:
                    number = _number(f"login {self._name.login_id}")
                    await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [number])
                    await self._connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [everybody])
                else:
                    await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [everybody])
            except psycopg.errors.LockNotAvailable:
                raise Taken from None
            yield


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"mailchimp {name}".encode()).digest()[:8], "big", signed=True)


def of_login(login_id: str, key: ApiKey) -> Name:
    """Return the name of the place that belongs to the Mailchimp user whose `key` is."""
    return Name(key.data_centre, login_id)


def of_anybody(key: ApiKey) -> Name:
    """Return the name of the place to take while it is not known yet whose key it is."""
    return Name(key.data_centre)


@asynccontextmanager
async def place(name: Name, wait: float | None = None) -> AsyncIterator[Place]:
    """Open the way to the place `name` for the length of the block, without taking it yet."""
    connection = await psycopg.AsyncConnection.connect(**connector_params(), autocommit=True)
    async with connection:
        yield Place(connection, name, WAIT if wait is None else wait)


def ask(
    name: Name,
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
