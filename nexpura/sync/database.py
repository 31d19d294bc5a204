"""The database from inside a run's event loop: a few threads of its own, each with one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Barrier
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


def from_db(work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return `work` as a coroutine function that runs in one of the database threads."""

    @wraps(work)
    def on_a_live_connection(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        return work(*args, **kwargs)

    return sync_to_async(on_a_live_connection, thread_sensitive=False, executor=_pool)


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
    global _pool
    together = Barrier(THREADS)

    def close_one() -> None:
        together.wait()  # every thread takes exactly one of these
        connection.close()

    for closing in [_pool.submit(close_one) for _ in range(THREADS)]:
        closing.result()
    _pool.shutdown()
    _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
