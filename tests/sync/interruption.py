"""Something happens in the middle of a run: the worker is killed or told to stop, the database goes, a person acts.

A run waits for two things, its database and Mailchimp. Just before and just after each of these waits is a step; at
one of them, counted from the start, something happens. Afterwards whatever was under way has ended, so that
histories stay the doing of one thing after the other.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from unittest import mock

from django.db import OperationalError

from nexpura.audience import plan
from nexpura.mailchimp.wire import Wire
from nexpura.sync import line, reading, run, sending
from nexpura.sync.clock import Clock

OPEN_REQUESTS_END = 10.0


class KilledError(BaseException):
    """The process is gone: nothing of it runs any more, no matter what it wanted to tidy up."""


class Steps:
    """The steps of one run. `happens` is called at the chosen one; with 0 nothing happens."""

    def __init__(self, at: int = 0, happens: Callable[[Steps], None] = lambda steps: None) -> None:
        self.at, self.happens = at, happens
        self.taken = 0
        self.dead = False
        self.database_gone = False
        self.run: asyncio.Task[object] | None = None
        self._thread = threading.current_thread()

    @property
    def happened(self) -> bool:
        return 0 < self.at <= self.taken

    def take(self, what: str) -> None:
        if threading.current_thread() is not self._thread:
            return  # somebody else's run
        self.taken += 1
        if self.taken == self.at:
            self.happens(self)
        if self.dead:
            raise KilledError
        if self.database_gone and what == "database":
            raise OperationalError("the database is away")


def kill(steps: Steps) -> None:
    """As kill -9 does: what was sent is sent, and nothing else happens."""
    steps.dead = True


def stop(steps: Steps) -> None:
    """As a worker is told to stop: it may put its run back."""
    assert steps.run is not None
    steps.run.cancel()


def lose_the_database(steps: Steps) -> None:
    steps.database_gone = True


def carry_out(run_id: int, clock: Clock, steps: Steps, *, one_by_one: bool) -> object:
    """Carry out a run as a worker would; None if it was left in the middle."""

    async def followed() -> object:
        steps.run = asyncio.current_task()
        return await run.run_sync(run_id, clock=clock)

    with _every_step(steps), _places(1) if one_by_one else _places(line.PLACES):
        try:
            return asyncio.run(followed())
        except (KilledError, OperationalError, asyncio.CancelledError):
            if not steps.happened:
                raise
            return None


@contextmanager
def _places(number: int) -> Iterator[None]:
    """One request at a time makes a history that can be repeated exactly; a real run has nine.

    With one, two changes of a kind make a bulk call already.
    """
    one_client = mock.patch.object(line, "to_mailchimp", partial(line.to_mailchimp, places=number))
    with one_client, mock.patch.object(plan, "PLACES", number):
        yield


@contextmanager
def _every_step(steps: Steps) -> Iterator[None]:
    """Have the steps of the run counted, and wait at the end for what its threads are still doing."""
    from_db, exchange = run.from_db, Wire._exchange
    under_way: list[object] = []

    def counted(work):
        @wraps(work)
        def whole(*args, **kwargs):
            under_way.append(work)
            try:
                return work(*args, **kwargs)
            finally:
                under_way.remove(work)

        ask = from_db(whole)

        async def asked(*args, **kwargs):
            steps.take("database")
            answer = await ask(*args, **kwargs)
            steps.take("database")
            return answer

        return asked

    async def exchanged(self, *args):
        steps.take("request")
        received = await exchange(self, *args)
        steps.take("request")
        return received

    with ExitStack() as patches:
        for stage in (run, reading, sending):
            patches.enter_context(mock.patch.object(stage, "from_db", counted))
        patches.enter_context(mock.patch.object(Wire, "_exchange", exchanged))
        yield
    while under_way:
        time.sleep(0.001)
