"""Putting jobs into the queue, by the names of their tasks: whoever does needs to know nothing of how they work.

What waits in one queue never waits for what is in another: each has places of its own in every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import JobDeferrer

from nexpura.sync.models import Erasure, SyncRun
from nexpura.sync.store import due

SYNC = "nexpura:sync"
"""Carries out one run."""
ERASURE = "nexpura:carry_out_erasure"
"""Makes one try to carry out an erasure in Mailchimp."""
LOOK = "nexpura:look"
"""Reads the members that Mailchimp's messages were about."""
LISTEN = "nexpura:listen"
"""Sees to the webhook of an integration."""

RUNS, LARGE_RUNS = "sync", "large"
"""Runs; those of shops with many customers, which may take an hour."""
SCHEDULE, ERASURES, ERRANDS = "schedule", "erasure", "errands"
"""What takes seconds, and must not wait until a run has ended."""
AWAITED, BY_THE_CLOCK = 10, 0
"""Priorities of runs: somebody waits at a page or a prompt, or nobody does."""


def enqueue(run: SyncRun) -> bool:
    """Queue the job that carries out `run`; False if it is queued already. Call inside a transaction."""
    large = bool(due.large_among([run.tenant_id]))
    return _defer(app.configure_task(SYNC, **_how(run, large=large)), run_id=run.pk)


def hurry(run: SyncRun) -> None:
    """Let the job of `run` overtake those that nobody waits for: somebody asks for it now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET priority = greatest(priority, %s) "
            "WHERE queueing_lock = %s AND status = 'todo'",
            [AWAITED, f"run-{run.pk}"],
        )


def enqueue_new(runs: Sequence[SyncRun]) -> None:
    """Queue the jobs of runs made in this very transaction, in one go."""
    if not runs:
        return
    large = due.large_among([run.tenant_id for run in runs])
    deferrers = [app.configure_task(SYNC, **_how(run, large=run.tenant_id in large)) for run in runs]
    jobs = [one.make_new_job(run_id=run.pk) for one, run in zip(deferrers, runs, strict=True)]
    app.job_manager.batch_defer_jobs(jobs)


def _how(run: SyncRun, *, large: bool) -> _How:
    return {
        "queue": LARGE_RUNS if large else RUNS,
        "priority": BY_THE_CLOCK if run.trigger == SyncRun.Trigger.SCHEDULE else AWAITED,
        "queueing_lock": f"run-{run.pk}",
    }


class _How(TypedDict):
    queue: str
    priority: int
    queueing_lock: str


def enqueue_look(integration_id: int) -> bool:
    """Queue a look at what waits to be looked at; False if one is queued already. Call once that is committed."""
    lock = f"look-{integration_id}"
    if ProcrastinateJob.objects.filter(queueing_lock=lock, status="todo").exists():
        return False
    return _defer(app.configure_task(LOOK, queue=ERRANDS, queueing_lock=lock), integration_id=integration_id)


def enqueue_listen(integration_id: int) -> bool:
    """Queue the job that sees to the webhook; False if it is queued already."""
    task = app.configure_task(LISTEN, queue=ERRANDS, queueing_lock=f"listen-{integration_id}")
    return _defer(task, integration_id=integration_id)


def _defer(task: JobDeferrer, **ids: int) -> bool:
    """Queue one job; False if one with its lock is queued already."""
    try:
        with transaction.atomic():  # a refused job must not spoil the transaction around it
            task.defer(**ids)
    except AlreadyEnqueued:
        return False
    return True


def enqueue_erasure(erasure: Erasure, at: datetime | None = None) -> bool:
    """Queue a try of an erasure for now, or for `at`; False if that is queued already. Call inside a transaction."""
    lock = f"erasure-{erasure.pk}" + (f"-after-{erasure.attempts}" if at else "")
    task = app.configure_task(ERASURE, queue=ERASURES, queueing_lock=lock, schedule_at=at)
    return _defer(task, erasure_id=erasure.pk)
