"""The database from inside a run's event loop: a few threads of its own, each with one connection.

Large runs have threads of their own: what they ask takes long, and the others' short questions do not wait behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Barrier
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InternalError, OperationalError, close_old_connections, connection
from psycopg.errors import IdleInTransactionSessionTimeout

P = ParamSpec("P")
T = TypeVar("T")

THREADS, THREADS_OF_LARGE = 4, 3


class _Threads:
    """A number of threads that are ended and begun anew."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.begin()

    def begin(self) -> None:
        self.pool = ThreadPoolExecutor(self.number, thread_name_prefix=self.name)


_all, _of_large = _Threads(THREADS, "database"), _Threads(THREADS_OF_LARGE, "database-large")
_threads: ContextVar[_Threads] = ContextVar("threads", default=_all)


@contextmanager
def as_a_large_one() -> Iterator[None]:
    """Use the threads of the large runs for the length of the block, and in whatever is begun within it."""
    before = _threads.set(_of_large)
    try:
        yield
    finally:
        _threads.reset(before)


def from_db(work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return `work` as a coroutine function that runs in one of the database threads."""

    @wraps(work)
    def on_a_live_connection(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return work(*args, **kwargs)
        except InternalError as error:
            if isinstance(error.__cause__, IdleInTransactionSessionTimeout):
                raise OperationalError("the database took this thread for frozen") from error  # lost, not wrong
            raise

    return sync_to_async(on_a_live_connection, thread_sensitive=False, executor=_threads.get().pool)


def in_a_thread_of_its_own(work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return `work` as a coroutine function for what waits for others: it must not hold up the database threads."""

    def with_a_connection_of_its_own(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        finally:
            connection.close()

    @wraps(work)
    async def in_a_thread(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(with_a_connection_of_its_own, *args, **kwargs)

    return in_a_thread


def close_connections() -> None:
    """Close the threads' connections and end the threads; for a process, or a test, that is done with them."""
    for threads in (_all, _of_large):
        together = Barrier(threads.number)

        def close_one(together: Barrier = together) -> None:
            together.wait()  # every thread takes exactly one of these
            connection.close()

        for closing in [threads.pool.submit(close_one) for _ in range(threads.number)]:
            closing.result()
        threads.pool.shutdown()
        threads.begin()
