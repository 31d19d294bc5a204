"""Jobs of workers that died are given back, also where another stands in their place already."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.sync import queue
from nexpura.sync.management.commands import worker

pytestmark = pytest.mark.usefixtures("committed")


def a_worker_dies_with_a_look() -> None:
    queue.enqueue_look(1)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour')")
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)"
        )


def rescued() -> list[str]:
    """Let a worker give back what is stalled; the states of the jobs then."""

    async def rescue() -> None:
        working = app.with_connector(app.connector.get_worker_connector())
        async with working.open_async():
            for job in await working.job_manager.get_stalled_jobs(seconds_since_heartbeat=6):
                await worker._give_back(working, job)

    asyncio.run(rescue())
    return list(ProcrastinateJob.objects.order_by("id").values_list("status", flat=True))


def test_a_job_whose_worker_died_waits_again():
    a_worker_dies_with_a_look()

    assert rescued() == ["todo"]


def test_a_job_that_was_queued_anew_meanwhile_takes_its_place():
    a_worker_dies_with_a_look()
    queue.enqueue_look(1)

    assert rescued() == ["todo"]
