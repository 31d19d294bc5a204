"""Jobs: an id, a load and one call."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError
from procrastinate import App, Blueprint, JobContext, RetryDecision
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy

from nexpura.sync import forget, hear, queue, runs
from nexpura.sync import listen as listening
from nexpura.sync import look as looking
from nexpura.sync.clock import Clock
from nexpura.sync.database import as_a_large_one, from_db, in_a_thread_of_its_own
from nexpura.sync.models import MemberResult
from nexpura.sync.run import run_sync
from nexpura.sync.store import Busy, erase, inbound, webhooks
from nexpura.tenants import erased

logger = logging.getLogger(__name__)
blueprint = Blueprint()
_dice = random.SystemRandom()

FIRST = 100
"""The priority of what starts all the others."""
SOON, LATEST = 2, 15
"""Seconds until a job that could not be done yet is tried again: at first, and after many tries."""


class NotYetError(Exception):
    """The run, or the Mailchimp user it needs, is in somebody else's hands."""


class ForAsLongAsItTakes(BaseRetryStrategy):
    """A run that has to wait, lost its database or met our shutdown is tried again; its own record tells the rest.

    Whoever has waited for long asks less often: the more shops wait for one Mailchimp user, the sooner one of them
    asks after it is let go.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, NotYetError):
            longest = min(SOON + job.attempts, LATEST)
            return RetryDecision(retry_in={"seconds": _dice.randint(SOON, longest)})
        if isinstance(exception, OperationalError | InterfaceError | asyncio.CancelledError):
            return RetryDecision(retry_in={"seconds": SOON})
        return None


@blueprint.task(name="sync", queue=queue.RUNS, retry=ForAsLongAsItTakes(), pass_context=True)
async def sync(context: JobContext, run_id: int) -> None:
    """Carry out one run."""
    with as_a_large_one() if context.job.queue == queue.LARGE_RUNS else nullcontext():
        ended = await run_sync(run_id, clock=Clock())
    if isinstance(ended, Busy):
        raise NotYetError(f"run {run_id}")


@blueprint.task(name="carry_out_erasure", queue=queue.ERASURES, retry=ForAsLongAsItTakes())
async def carry_out_erasure(erasure_id: int) -> None:
    """Make one try to do in Mailchimp what an erasure asks for; its row tells of the next."""
    await in_a_thread_of_its_own(forget.carry_out)(erasure_id, datetime.now(UTC))


@blueprint.task(name="look", queue=queue.ERRANDS)
async def look(integration_id: int) -> None:
    """Read the members that messages of Mailchimp were about. What is left undone, the tick brings back."""
    with _database_may_be_away(f"a look for integration {integration_id}"):
        await looking.look(integration_id)


@blueprint.task(name="listen", queue=queue.ERRANDS)
async def listen(integration_id: int) -> None:
    """See to the webhook of an integration. What is left undone, the tick or the next run brings back."""
    with _database_may_be_away(f"the webhook of integration {integration_id}"):
        await listening.listen(integration_id, clock=Clock())


@contextmanager
def _database_may_be_away(what: str) -> Iterator[None]:
    """End the job well: tried again by the queue, it would meet the next one under the same lock."""
    try:
        yield
    except (OperationalError, InterfaceError, psycopg.OperationalError):
        logger.warning("%s is left for the next tick: the database does not answer, or not in time", what)


@blueprint.periodic(cron="* * * * *")
@blueprint.task(name="tick", queue=queue.SCHEDULE, priority=FIRST, queueing_lock="tick")
async def tick(timestamp: int) -> None:
    """Each minute: start what is due, revive what is stranded."""
    now = datetime.now(UTC)
    started, revived = await from_db(runs.start_due)(now), await from_db(runs.revive)(now)
    erasing = await from_db(erase.queue_due)(now)
    looks = await from_db(looking.take_up)(now)
    asked = await from_db(listening.try_again)(now)
    if started or revived or erasing or looks or asked:
        logger.info(
            "tick: %s started, %s revived, %s erasures, %s looks, %s webhooks", started, revived, erasing, looks, asked
        )


@blueprint.periodic(cron="17 3 * * *")
@blueprint.task(name="tidy", queue=queue.SCHEDULE, queueing_lock="tidy")
async def tidy(timestamp: int) -> None:
    """Each night: drop what is older than it is kept, seal with today's key what an older one sealed."""
    await from_db(_tidy)(datetime.now(UTC))


def _tidy(now: datetime) -> None:
    erased.seal_anew()
    erase.seal_anew()
    MemberResult.objects.filter(run__finished_at__lt=now - timedelta(days=30)).delete()
    inbound.forget_messages(now - hear.KEPT)
    webhooks.tidy(now)


def on_app_ready(app: App) -> Any:
    """Called by Procrastinate once its app is ready."""
    app.add_tasks_from(blueprint, namespace="nexpura")
