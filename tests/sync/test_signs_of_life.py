"""A run that is at work is never taken for dead, and one that is taken away writes nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, transaction

from nexpura import settings
from nexpura.sync import runs, store
from nexpura.sync.database import from_db
from nexpura.sync.models import LoginLease, SyncRun
from nexpura.sync.store import Begun, RunLostError
from nexpura.sync.store.records import fence
from nexpura.tenants.management.commands.migrate import as_owner
from tests.sync.conftest import CLERK


@pytest.fixture
def run(shop) -> Begun:
    shop.audience()
    with transaction.atomic():
        queued, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    begun = store.begin(queued.pk)
    assert isinstance(begun, Begun)
    return begun


@contextmanager
def a_long_transaction(run: Begun) -> Iterator[None]:
    """Have one of the run's own transactions go on, in another thread, for the length of the block."""
    fenced, over = threading.Event(), threading.Event()

    def work() -> None:
        with transaction.atomic():
            fence(run.tenant_id, run.id, run.token)
            fenced.set()
            over.wait()
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    fenced.wait()
    try:
        yield
    finally:
        over.set()
        worker.join()


def impatiently() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '200ms'")


def test_a_run_shows_that_it_lives_however_long_one_of_its_transactions_takes(run):
    LoginLease.objects.update(expires_at="2020-01-01T00:00:00Z")

    with a_long_transaction(run), transaction.atomic():
        impatiently()
        store.beat(run, requests=7)
        store.count_done(run, 3)

    told = SyncRun.objects.get(pk=run.id)
    assert (told.requests, told.done) == (7, 3)
    assert LoginLease.objects.get().expires_at.year > 2020


def test_a_run_can_be_asked_to_end_while_one_of_its_transactions_goes_on(run):
    with a_long_transaction(run), transaction.atomic():
        impatiently()
        runs.cancel(SyncRun.objects.get(pk=run.id), CLERK)

    with pytest.raises(RunLostError):
        store.beat(run, requests=0)


def test_nobody_takes_a_run_in_the_middle_of_a_transaction_of_its_worker(run):
    SyncRun.objects.filter(pk=run.id).update(heartbeat_at="2020-01-01T00:00:00Z")

    with a_long_transaction(run), pytest.raises(OperationalError), transaction.atomic():
        impatiently()
        store.begin(run.id)


def test_a_worker_whose_run_was_taken_away_writes_nothing_more(run):
    SyncRun.objects.filter(pk=run.id).update(heartbeat_at="2020-01-01T00:00:00Z")
    assert isinstance(store.begin(run.id), Begun)

    with pytest.raises(RunLostError), transaction.atomic():
        fence(run.tenant_id, run.id, run.token)


def test_whoever_is_frozen_in_the_middle_of_a_transaction_is_ended_and_the_next_goes_on(run):
    SyncRun.objects.filter(pk=run.id).update(heartbeat_at="2020-01-01T00:00:00Z")
    fenced, taken_over = threading.Event(), threading.Event()

    def freezes() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '500ms'")
            fence(run.tenant_id, run.id, run.token)
            fenced.set()
            taken_over.wait(10)
            SyncRun.objects.filter(pk=run.id).update(done=7)

    async def at_work() -> None:
        frozen = asyncio.ensure_future(from_db(freezes)())
        try:
            successor = await from_db(lambda: fenced.wait(10) and store.begin(run.id))()
        finally:
            taken_over.set()
        assert isinstance(successor, Begun)
        with pytest.raises(OperationalError):
            await frozen

    asyncio.run(at_work())

    assert SyncRun.objects.get(pk=run.id).done == 0


def test_the_database_ends_nobody_sooner_than_a_minute_and_the_owner_never(committed):
    assert idle_limit() == "1min"

    with as_owner():
        assert idle_limit() == "0"


def idle_limit() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        return cursor.fetchone()[0]


def test_an_option_of_the_urls_own_wins_over_the_limit(monkeypatch):
    monkeypatch.setenv("NEXPURA_DATABASE_URL", "postgresql://app@db/nexpura?options=-c%20work_mem%3D8MB")

    options = settings._run_time_database()["OPTIONS"]["options"]

    assert options == "-c idle_in_transaction_session_timeout=60000 -c work_mem=8MB"
