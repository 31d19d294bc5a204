"""How many requests at once, and how long to go on trying.

Mailchimp allows a user ten simultaneous requests and turns the eleventh away; one that we gave up may go on there.
https://mailchimp.com/developer/marketing/docs/fundamentals/#api-limits
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

SERVER_LIMIT: Final = 120.0
"""Seconds after which Mailchimp ends a call by itself."""

_dice = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits in seconds of one request and of all attempts of one call."""

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0
    total: float = 300.0
    """Of all attempts with their pauses: a pause that would end later is not begun."""
    connect: float = 10.0
    read: float = 100.0
    """Silence while waiting for the reply; below Mailchimp's own limit."""
    server_limit: float = SERVER_LIMIT

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Seconds between this attempt (the first is 1) and the next, with jitter against marching in step."""
        if retry_after is not None:
            return retry_after + _dice.uniform(0, self.first_pause)
        return _dice.uniform(0.5, 1.0) * min(self.first_pause * 2.0 ** (attempt - 1), self.longest_pause)


PATIENT: Final = Patience()


class Place:
    """One of the places, from before a request is sent until its end is known."""

    def __init__(self) -> None:
        self.unanswered = False

    def leave_unanswered(self) -> None:
        """Say that we stop listening while Mailchimp may still be at work."""
        self.unanswered = True


class Places:
    """At most `n` requests at once, as Mailchimp counts them.

    A request left unanswered keeps its place until `server_limit` seconds after it took it.
    """

    def __init__(self, n: int, *, server_limit: float = SERVER_LIMIT) -> None:
        if n < 1:
            raise ValueError("at least one place is needed")
        self.n = n
        self.taken = 0
        self._server_limit = server_limit
        self._free = asyncio.Semaphore(n)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Place]:
        """Wait for a place and hold it as long as the block, or as long as Mailchimp may be at work."""
        await self._free.acquire()
        self.taken += 1
        loop = asyncio.get_running_loop()
        over_there_until = loop.time() + self._server_limit
        place = Place()
        try:
            yield place
        finally:
            if place.unanswered:
                loop.call_at(over_there_until, self._give_back)
            else:
                self._give_back()

    def _give_back(self) -> None:
        self.taken -= 1
        self._free.release()
