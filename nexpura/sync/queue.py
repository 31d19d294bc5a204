"""Putting jobs into the queue, by the names of their tasks: whoever does needs to know nothing of how they work."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued

from nexpura.sync.models import Erasure, SyncRun

SYNC = "nexpura:sync"
"""Carries out one run."""
ERASURE = "nexpura:carry_out_erasure"
"""Makes one try to carry out an erasure in Mailchimp."""
LOOK = "nexpura:look"
"""Reads the members that Mailchimp's messages were about."""
LISTEN = "nexpura:listen"
"""Sees to the webhook of an integration."""


def enqueue(run: SyncRun) -> bool:
    """Queue the job that carries out `run`; False if it is queued already. Call inside a transaction."""
    return _defer(SYNC, f"run-{run.pk}", run_id=run.pk)


def enqueue_look(integration_id: int) -> bool:
    """Queue a look at what waits to be looked at; False if one is queued already. Call once that is committed."""
    lock = f"look-{integration_id}"
    if ProcrastinateJob.objects.filter(queueing_lock=lock, status="todo").exists():
        return False
    return _defer(LOOK, lock, integration_id=integration_id)


def enqueue_listen(integration_id: int) -> bool:
    """Queue the job that sees to the webhook; False if it is queued already."""
    return _defer(LISTEN, f"listen-{integration_id}", integration_id=integration_id)


def _defer(task: str, queueing_lock: str, **ids: int) -> bool:
    try:
        with transaction.atomic():  # a refused job must not spoil the transaction around it
            app.configure_task(task, queue="sync", queueing_lock=queueing_lock).defer(**ids)
    except AlreadyEnqueued:
        return False
    return True


def enqueue_erasure(erasure: Erasure, at: datetime | None = None) -> bool:
    """Queue a try of an erasure for now, or for `at`; False if that is queued already. Call inside a transaction."""
    lock = f"erasure-{erasure.pk}" + (f"-after-{erasure.attempts}" if at else "")
    task = app.configure_task(ERASURE, queue="erasure", queueing_lock=lock, schedule_at=at)
    try:
        with transaction.atomic():  # a refused job must not spoil the transaction around it
            task.defer(erasure_id=erasure.pk)
    except AlreadyEnqueued:
        return False
    return True
