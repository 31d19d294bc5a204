"""Work that goes on after a reply: deliveries to webhooks, batches."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_LOGGER = logging.getLogger(__name__)


class Background:
    """The tasks of one state; they end with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this beside everything else, in the loop of the server; not any more once stopped."""
        if self._stopped:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Cancel what still runs; called in the loop of the server."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOGGER.error("work in the background failed", exc_info=error)
