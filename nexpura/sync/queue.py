"""Putting runs and erasures into the queue."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from nexpura.sync.models import Erasure, SyncRun

SYNC = "nexpura:sync"
"""The task that carries out one run, by name: whoever queues it needs to know nothing of how it works."""
ERASURE = "nexpura:carry_out_erasure"
"""The task that makes one try to carry out an erasure in Mailchimp."""


def enqueue(run: SyncRun) -> bool:
    """Queue the job that carries out `run`; False if it is queued already. Call inside a transaction."""
    try:
        with transaction.atomic():  # a refused job must not spoil the transaction around it
            app.configure_task(SYNC, queue="sync", queueing_lock=f"run-{run.pk}").defer(run_id=run.pk)
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
