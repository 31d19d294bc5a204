"""The running of a batch: one operation after the other, each as if it had been a call of its own."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from mailchimp_emulator import archives, asked
from mailchimp_emulator.clock import Clock
from mailchimp_emulator.handlers import Operate, Operation, Outcome
from mailchimp_emulator.state import Batch

PAUSE = 0.01  # seconds before and after the work, so that a batch is never finished at the first look


async def run(batch: Batch, turn: asyncio.Lock, clock: Clock, operate: Operate) -> None:
    """Wait until it is the batch's turn, run it, and keep its results; a deleted one is left where it is."""
    async with turn:
        if not (await _pass(batch, "pending") and await _pass(batch, "preprocessing")):
            return
        batch.status = "started"
        batch.total_operations = len(batch.operations)
        archive = archives.Archive(batch.id, batch.submitted_at)
        for operation in batch.operations:
            if not await _carry_out(batch, operation, archive, operate):
                return
        batch.operations = []
        if await _pass(batch, "finalizing"):
            batch.archive = archive.closed()
            batch.completed_at = clock.now()
            batch.status = "finished"


async def _pass(batch: Batch, status: str) -> bool:
    """Stay in this status for a moment; whether the batch is still wanted after that."""
    if not batch.deleted:
        batch.status = status
        await asyncio.sleep(PAUSE)
    return not batch.deleted


async def _carry_out(batch: Batch, sent: Mapping[str, Any], archive: archives.Archive, operate: Operate) -> bool:
    """One operation with all its pages; whether the batch is still wanted. Others get their turn after each."""
    waiting = deque([_operation(batch, sent)])
    while waiting:
        operation = waiting.popleft()
        outcome = await operate(operation)
        await asyncio.sleep(0)
        if batch.deleted:
            return False
        pages = _further_pages(operation, outcome)
        waiting.extend(pages)
        batch.total_operations += len(pages)
        batch.finished_operations += 1
        batch.errored_operations += outcome.status >= 400
        archive.add(outcome.status, sent.get("operation_id"), outcome.text)
    return True


def _operation(batch: Batch, sent: Mapping[str, Any]) -> Operation:
    """The path may begin with a slash or not and may have a query; `params` are for GET only, as documented."""
    path, _, query = sent["path"].partition("?")
    path = unquote(path, errors="replace").removeprefix("/").rstrip("/")
    given = dict(parse_qsl(query, keep_blank_values=True, errors="replace"))
    params = sent.get("params", {}) if sent["method"] == "GET" else {}
    given |= {name: _written(value) for name, value in params.items() if value is not None}
    return Operation(batch.id, sent["method"], f"/{path}", given, sent.get("body"))


def _written(value: Any) -> str:
    """A value of `params` as it stands in a query string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_written(item) for item in value)
    return str(value)


def _further_pages(operation: Operation, outcome: Outcome) -> list[Operation]:
    """What is left of a collection that was asked for without `count`: pages of the usual size."""
    if operation.method != "GET" or outcome.total_items is None or operation.query.get("count"):
        return []
    size = asked.DEFAULT_COUNT
    first = asked.page(operation.query).offset
    return [
        replace(operation, query={**operation.query, "count": str(size), "offset": str(offset)})
        for offset in range(first + size, outcome.total_items, size)
    ]
