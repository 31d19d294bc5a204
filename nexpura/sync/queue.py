"""Putting a run into the queue."""

from __future__ import annotations

from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from nexpura.sync.models import SyncRun

SYNC = "nexpura:sync"
"""The task that carries out one run, by name: whoever queues it needs to know nothing of how it works."""


def enqueue(run: SyncRun) -> bool:
    """Queue the job that carries out `run`; False if it is queued already. Call inside a transaction."""
    try:
        with transaction.atomic():  # a refused job must not spoil the transaction around it
            app.configure_task(SYNC, queue="sync", queueing_lock=f"run-{run.pk}").defer(run_id=run.pk)
    except AlreadyEnqueued:
        return False
    return True
