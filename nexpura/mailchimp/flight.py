"""Several jobs at once, results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

K = TypeVar("K")
J = TypeVar("J")
R = TypeVar("R")


async def as_they_come(
    jobs: AsyncIterable[tuple[K, J]], work: Callable[[J], Coroutine[Any, Any, R]], *, at_most: int
) -> AsyncGenerator[tuple[K, R], None]:
    """Yield each job's key with its result, in no particular order, with at most so many jobs begun and not done.

    A job is taken from `jobs` only when it can begin. The first exception, of a job or of `jobs`, ends the taking;
    those begun are let run to their end and their results yielded, then it is raised. A key without a result
    belongs to a job that failed. Leaving early cancels what is begun.
    """
    source = aiter(jobs)
    begun: dict[asyncio.Task[R], K] = {}
    failure: Exception | None = None
    open_ended = True
    try:
        while open_ended or begun:
            while open_ended and len(begun) < at_most:
                try:
                    key, job = await anext(source)
                except StopAsyncIteration:
                    open_ended = False
                except Exception as error:
                    failure, open_ended = failure or error, False
                else:
                    begun[asyncio.create_task(work(job))] = key
            if begun:
                task = await _first_done(begun)
                key = begun.pop(task)
                try:
                    result = task.result()
                except Exception as error:
                    failure, open_ended = failure or error, False
                else:
                    yield key, result
    finally:
        await _cancel(begun)
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if failure is not None:
        raise failure


async def both(one: Awaitable[J], other: Awaitable[R]) -> tuple[J, R]:
    """Wait for both at once, each to its end, then raise what the first that failed met, in the order given.

    A request nobody waits for any more counts as unanswered, and keeps the next run of the same Mailchimp user waiting.
    """
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


async def _first_done(tasks: dict[asyncio.Task[R], K]) -> asyncio.Task[R]:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.pop()


async def _cancel(tasks: dict[asyncio.Task[R], K]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
