"""Real workers, really killed: nothing is lost, and nothing that matters is written twice (A12, B7)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from nexpura.runtime import supervisor
from nexpura.runtime.postgres import Cluster
from nexpura.runtime.postmaster import Postmaster
from nexpura.sync import connect, runs
from nexpura.sync.models import SyncRun
from tests.sync.conftest import AUDIENCE, CLERK, Shop

pytestmark = pytest.mark.processes

NEXPURA = str(Path(sys.executable).with_name("nexpura"))
PEOPLE = 80
PATIENCE = 60.0
KILLS = int(os.environ.get("NEXPURA_TEST_KILLS", "3"))


@pytest.fixture
def shop(committed, tenant, mailchimp) -> Shop:
    shop = Shop(tenant, mailchimp)
    shop.audience(
        {"email_address": "own@post.example", "status": "subscribed"},
        {"email_address": "gone@post.example", "status": "unsubscribed"},
        {"email_address": "p01@inbox.example", "status": "unsubscribed", "unsubscribed_by": "user"},
        {"email_address": "p02@inbox.example", "status": "subscribed", "merge_fields": {"FNAME": "Old"}},
    )
    for number in range(PEOPLE):
        shop.consenting(f"p{number:02}@inbox.example", first=f"P{number}")
    return shop


@contextmanager
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own; stopped (or found killed) at the end."""
    environment = {**os.environ, "NEXPURA_HEARTBEAT": "0.5", "NEXPURA_STALL": "3"}
    with (tmp_path / "worker.log").open("ab") as log:
        process = subprocess.Popen([NEXPURA, "worker"], env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def wait_for_end(run: SyncRun) -> SyncRun:
    return _wait(run, lambda: not run.is_active)


def _wait(run: SyncRun, reached, meanwhile=lambda: None) -> SyncRun:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        meanwhile()
        run.refresh_from_db()
        if reached():
            return run
        time.sleep(0.02)
    raise AssertionError(f"run {run.pk} is still {run.status} at {run.done} of {run.planned}")


def audience(shop: Shop) -> dict[str, tuple[str, str]]:
    rows = shop.emulator.members(AUDIENCE)
    return {row["email_address"]: (row["status"], row["merge_fields"].get("FNAME", "")) for row in rows}


def expected(shop: Shop) -> dict[str, tuple[str, str]]:
    """What an undisturbed run leaves; the rules' own tests say why."""
    people = {f"p{number:02}@inbox.example": ("subscribed", f"P{number}") for number in range(PEOPLE)}
    people["p01@inbox.example"] = ("unsubscribed", "P1")
    return {**people, "own@post.example": ("subscribed", ""), "gone@post.example": ("unsubscribed", "")}


def test_a_worker_carries_out_the_run_that_the_button_queued(shop, tmp_path):
    with worker(tmp_path):
        run = wait_for_end(runs.start(shop.tenant, CLERK))

    assert (run.status, run.synced, run.faulty) == ("succeeded", PEOPLE - 1, False)
    assert audience(shop) == expected(shop)


def test_workers_killed_at_random_points_leave_the_same_audience_as_an_undisturbed_run(shop, tmp_path):
    dice = random.Random(os.environ.get("NEXPURA_TEST_SEED", "first"))
    # Slow enough that the run outlasts the first kill at least; what it had under way may land and be found.
    shop.emulator.control("latency", [{"method": "GET", "base_ms": 100}, {"method": "POST", "base_ms": 1000}])
    run = runs.start(shop.tenant, CLERK)
    killed_at = []

    for kill in range(KILLS):
        with worker(tmp_path) as process:
            _wait(run, lambda number=kill + 1: run.attempts >= number or not run.is_active)
            time.sleep(dice.random() * 0.8)
            process.send_signal(signal.SIGKILL)
        run.refresh_from_db()
        killed_at.append(f"{run.phase or run.status} {run.done}")
    shop.emulator.control("latency", [])
    with worker(tmp_path):
        run = wait_for_end(run)

    assert (run.status, run.synced, run.faulty) == ("succeeded", PEOPLE - 1, False)
    assert audience(shop) == expected(shop)
    assert sum(run.counts.values()) == run.book == PEOPLE, killed_at
    assert not killed_at[0].startswith("succeeded"), killed_at
    assert shop.emulator.metrics()["highest_concurrency"] <= 10


def test_a_worker_told_to_stop_puts_its_run_back_and_the_next_one_finishes_it(shop, tmp_path):
    shop.emulator.control("latency", [{"method": "POST", "base_ms": 1000}])
    run = runs.start(shop.tenant, CLERK)
    with worker(tmp_path):
        _wait(run, lambda: run.phase == "sending" or not run.is_active)

    with worker(tmp_path):
        run = wait_for_end(run)

    assert (run.status, run.synced, run.faulty) == ("succeeded", PEOPLE - 1, False)
    assert audience(shop) == expected(shop)


def test_a_database_that_crashes_in_the_middle_of_a_sync_leaves_the_same_audience_as_an_undisturbed_run(
    shop, cluster, tmp_path
):
    shop.emulator.control("latency", [{"method": "POST", "base_ms": 1000}])
    run = runs.start(shop.tenant, CLERK)
    environment = {**os.environ, "NEXPURA_HEARTBEAT": "0.5", "NEXPURA_STALL": "3"}

    with supervisor.running([supervisor.worker(tmp_path / "worker.log")], environment) as parts:
        _wait(run, lambda: shop.emulator.metrics()["writes"] > 0)
        left_at = f"{run.phase or run.status} {run.done}"
        crash(cluster)
        run = _wait(run, lambda: not run.is_active, meanwhile=parts.look)

    assert left_at.startswith("sending"), left_at
    assert (run.status, run.synced, run.faulty) == ("succeeded", PEOPLE - 1, False)
    assert audience(shop) == expected(shop)
    assert sum(run.counts.values()) == run.book == PEOPLE


def crash(cluster: Cluster) -> None:
    """Let the server drop everything as in a crash, and start it anew."""
    pid = cluster.postmaster_pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    while Postmaster(cluster.cluster_folder).is_alive():
        time.sleep(0.02)
    connection.close()
    cluster.keep()


def test_the_command_says_the_number_and_a_second_one_writes_nobody(shop, tmp_path):
    first = _sync(shop)
    writes = len(shop.writes())

    second = _sync(shop)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout == f"✓ Synced {PEOPLE - 1} subscribers\n"
    assert len(shop.writes()) == writes


def test_the_command_ends_with_1_on_a_partial_run_and_2_when_mailchimp_refuses(shop):
    shop.consenting("name@")
    partial = _sync(shop)
    shop.emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    failed = _sync(shop)

    assert (partial.returncode, failed.returncode) == (1, 2)
    assert "1 could not be synced" in partial.stdout
    assert "Audience not found" in failed.stdout


def test_a_command_for_a_shop_that_is_not_connected_says_so(shop):
    connect.disconnect(shop.tenant, CLERK)

    answer = _sync(shop)

    assert answer.returncode == 2
    assert "not connected" in answer.stderr


def _sync(shop: Shop) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NEXPURA, "sync", "--tenant", shop.tenant.slug], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
