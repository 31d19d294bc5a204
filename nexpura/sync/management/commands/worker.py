"""`nexpura worker`: carries out queued runs and keeps the daily schedule. Any number, on any number of machines.

Each has places for three kinds of jobs, so that none waits for another kind: runs, runs of large shops, errands.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError
from procrastinate import App
from procrastinate.contrib.django import app as django_app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.signals import on_stop

from nexpura.sync import queue
from nexpura.sync.database import close_connections
from nexpura.sync.store.due import LARGE

logger = logging.getLogger(__name__)

ERRANDS_AT_ONCE = 10
SWITCH = 0.001
"""Seconds that a thread may compute while others wait for their turn: a large shop's for a hundred small ones'."""
UNTIL_COLLECTED = 50_000
"""Objects made until Python looks for cycles: a run makes millions that are in none, and looked for them constantly."""


class Command(BaseCommand):
    help = "Carry out queued syncs and the daily schedule until stopped (SIGTERM or Ctrl-C)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--concurrency", type=int, default=20, help="runs in flight in this process (20)")
        parser.add_argument(
            "--large",
            type=int,
            default=4,
            help=f"and of shops with more than {LARGE:,} customers (4; 0 leaves them to others)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        prepare_python()
        asyncio.run(work(options["concurrency"], options["large"]))
        close_connections()


def prepare_python() -> None:
    """Set this Python up for runs: many short jobs and a few long ones beside each other, many small objects."""
    sys.setswitchinterval(SWITCH)
    gc.freeze()
    gc.set_threshold(UNTIL_COLLECTED)


async def work(concurrency: int, large: int) -> None:
    """Work until stopped; put back what is under way when stopping takes longer than a few seconds."""
    connector = django_app.connector
    assert isinstance(connector, DjangoConnector)
    app = django_app.with_connector(connector.get_worker_connector())
    places = {
        (queue.RUNS,): concurrency,
        (queue.LARGE_RUNS,): large,
        (queue.SCHEDULE, queue.ERASURES, queue.ERRANDS): ERRANDS_AT_ONCE,
    }
    async with app.open_async():
        working = {asyncio.create_task(_work_at(app, queues, number)) for queues, number in places.items() if number}
        rescuing = asyncio.create_task(_rescue(app))
        stopped = asyncio.Event()

        def stop() -> None:
            stopped.set()
            _cancel(working)

        try:
            with on_stop(stop):
                await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                if not stopped.is_set():  # one that ends by itself ends the others: the process is started anew
                    _cancel(working)  # once only: a second time would not wait for what is under way
                ended = await asyncio.gather(*working, return_exceptions=True)
        finally:
            rescuing.cancel()
            with suppress(asyncio.CancelledError):
                await rescuing
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure


async def _work_at(app: App, queues: Sequence[str], concurrency: int) -> None:
    await app.run_worker_async(
        queues=list(queues),  # an array for PostgreSQL: a tuple would be a row
        concurrency=concurrency,
        fetch_job_polling_interval=1,
        shutdown_graceful_timeout=settings.NEXPURA_STALL / 3,
        update_heartbeat_interval=settings.NEXPURA_HEARTBEAT,
        stalled_worker_timeout=settings.NEXPURA_STALL,
        delete_jobs="successful",
        install_signal_handlers=False,
    )


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def _rescue(app: App) -> None:
    """Give the jobs of dead workers back to the queue; beside the jobs, as a full worker must rescue too.

    The job begins its run anew only if the run shows no sign of life: a worker that was merely slow keeps it.
    """
    while True:
        await asyncio.sleep(settings.NEXPURA_HEARTBEAT)
        try:
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=settings.NEXPURA_STALL):
                logger.warning("job %s is given back: its worker shows no sign of life", job.id)
                await _give_back(app, job)
        except (DatabaseError, OSError):
            logger.warning("the database does not answer; looking for stalled jobs again shortly")


async def _give_back(app: App, job: Job) -> None:
    try:
        await app.job_manager.retry_job(job)
    except UniqueViolation:  # the tick has queued another in its place already
        await app.job_manager.finish_job(job, Status.ABORTED, delete_job=True)
