"""A world to measure in: an emulator and a database of their own, a book, an audience, and runs in worker processes.

Every sync is carried out by a fresh process (`python -m benchmarks.worker`), as a worker would, so that its memory and
CPU time are its own; this process only prepares and watches.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "0123456789abcdef0123456789abcdef-us14"
AUDIENCE = "abc123def4"
PER_CALL, PER_MEMBER = 0.1, 0.002
"""Seconds that a call, and each member written by it, take at Mailchimp."""
IN_FLIGHT = 9
"""Requests at once: Mailchimp allows a user ten, and one is the pages'."""
HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Measured:
    """What one sync took: seconds, the worker's CPU seconds and peak memory, and what the emulator counted."""

    seconds: float
    cpu: float
    megabytes: float
    requests: int
    members: int
    """Written, over all calls, as the run counts them."""
    writes: int
    """The same as the emulator counts it."""
    in_flight: int
    status: str
    counts: dict[str, int]

    @property
    def limit(self) -> float:
        """Seconds a perfect client needs for the same: every call, reads included, nine at once without a gap."""
        return (self.requests * PER_CALL + self.members * PER_MEMBER) / IN_FLIGHT


class World:
    """One tenant and its audience, seen from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tenant: Any = None
        self.restart_database: Callable[[], None] = lambda: None

    # --- Mailchimp ---

    def audience(self, others: int) -> None:
        """Open an audience that holds so many members who are not in the book, without latency until `slow`."""
        generate = {"count": others, "email": "o{}@post.example", "merge_fields": {"FNAME": "Other{}"}}
        users = [{"name": "owner", "role": "owner", "keys": [KEY]}]
        lists = [{"id": AUDIENCE, "name": "Benchmark", "generate": generate}]
        self.control("reset", {"accounts": [{"dc": "us14", "users": users, "lists": lists}]})

    def slow(self) -> None:
        """From here on calls take their time."""
        slow = {"base_ms": PER_CALL * 1000}
        self.control("latency", [{"method": "GET", **slow}, {**slow, "per_member_ms": PER_MEMBER * 1000}])

    def fast(self) -> None:
        self.control("latency", [])

    def control(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_emulator/{path}", data=data)) as reply:
            return json.load(reply)

    def metrics(self) -> dict[str, Any]:
        return dict(self.control("metrics"))

    def statuses(self) -> dict[str, int]:
        """How many members have each status."""
        counts: dict[str, int] = {}
        with urllib.request.urlopen(f"{self.url}/_emulator/members?list_id={AUDIENCE}") as reply:
            for line in reply:
                status = json.loads(line)["status"]
                counts[status] = counts.get(status, 0) + 1
        return counts

    # --- the book ---

    def book(self, size: int, slug: str) -> None:
        """Make a tenant with so many customers who all said yes."""
        from django.db import connection

        from nexpura.tenants.models import Tenant

        self.tenant = Tenant.objects.create(slug=slug, name="Benchmark")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO customers_customer (tenant_id, first_name, last_name, email, phone, tags, note,"
                " consent_state, updated_at) SELECT %s, 'First' || n, 'Last' || n, 'c' || n || '@inbox.example',"
                " '+6129' || lpad(n::text, 7, '0'), '{}', '', 'never', now() FROM generate_series(1, %s) AS n",
                [self.tenant.pk, size],
            )
        self.say("granted", "")

    def say(self, state: str, where: str, *values: object) -> None:
        """Let the customers `where` says so say yes or no."""
        self.sql(
            "INSERT INTO customers_consentevent (tenant_id, customer_id, state, source, wording_text, address,"
            " actor_kind, actor_name) SELECT tenant_id, id, %s, 'intake', '', address, 'system', 'benchmark'"
            f" FROM customers_customer WHERE tenant_id = %s {where}",
            state,
            self.tenant.pk,
            *values,
        )

    def rename(self, where: str, *values: object) -> None:
        self.sql(
            f"UPDATE customers_customer SET last_name = last_name || 'x' WHERE tenant_id = %s {where}",
            self.tenant.pk,
            *values,
        )

    def sql(self, statement: str, *values: object) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    def connect(self) -> None:
        from nexpura.sync import connect
        from nexpura.tenants.audit import Actor

        connect.connect(self.tenant, Actor.system("benchmark"), key_text=KEY, audience_id=AUDIENCE, auto_sync=False)

    # --- syncs ---

    def sync(self) -> Measured:
        """Carry out one sync in a worker of its own."""
        before, run = self.metrics(), self.queue()
        told = json.loads(worker(run.pk).communicate()[0].splitlines()[-1])
        run.refresh_from_db()
        return self.measured(before, run, told)

    def sync_killed(self, every: float, restart_after: int) -> tuple[Measured, int]:
        """Carry out one sync whose worker is killed every so many seconds; returns how often that was.

        After so many kills the database is restarted instead, once, under a worker at work.
        """
        before, run = self.metrics(), self.queue()
        began, kills = time.monotonic(), 0
        restarts: list[Callable[[], None]] = [self.restart_database]
        told: dict[str, Any] | None = None
        while told is None:
            process = worker(run.pk, errors=subprocess.DEVNULL)
            try:
                said = process.communicate(timeout=every)[0]
            except subprocess.TimeoutExpired:
                if kills >= restart_after and restarts:
                    restarts.pop()()
                    process.communicate()
                else:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    kills += 1
                time.sleep(float(os.environ["NEXPURA_STALL"]) + 0.5)
            else:
                told = json.loads(said.splitlines()[-1])
        run.refresh_from_db()
        return self.measured(before, run, told | {"seconds": time.monotonic() - began}), kills

    def queue(self) -> Any:
        from django.db import transaction

        from nexpura.sync import runs
        from nexpura.tenants.audit import Actor

        with transaction.atomic():
            return runs.create(self.tenant, Actor.system("benchmark"), "manual", past_brake=True)[0]

    def measured(self, before: dict[str, Any], run: Any, told: dict[str, Any]) -> Measured:
        after = self.metrics()
        requests, writes = after["requests"] - before["requests"], after["writes"] - before["writes"]
        return Measured(
            seconds=told["seconds"],
            cpu=told["cpu"],
            megabytes=told["megabytes"],
            requests=requests,
            writes=writes,
            members=sum(run.counts.get(bucket, 0) for bucket in ("added", "updated", "unsubscribed", "asked")),
            in_flight=after["highest_concurrency"],
            status=run.status,
            counts={bucket: count for bucket, count in run.counts.items() if count},
        )


def worker(run_id: int, errors: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.worker", str(run_id)]
    return subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=errors, text=True)


@contextmanager
def an_emulator() -> Iterator[World]:
    """Start an emulator in a process of its own."""
    command = [sys.executable, "-m", "mailchimp_emulator", "--port", "0"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as emulator:
        assert emulator.stdout is not None
        port = re.search(r":(\d+)/", emulator.stdout.readline())
        assert port is not None
        try:
            yield World(f"http://127.0.0.1:{port[1]}")
        finally:
            emulator.terminate()


@contextmanager
def a_world() -> Iterator[World]:
    """Start emulator and database, once a process, with Django set up in it; all of it is gone afterwards."""
    from nexpura.runtime import postgres
    from nexpura.runtime.postmaster import Postmaster

    with an_emulator() as world, postgres.temporary() as cluster:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "nexpura.settings",
            "NEXPURA_DATABASE_URL": cluster.app_url,
            "NEXPURA_MIGRATE_DATABASE_URL": cluster.owner_url,
            "NEXPURA_SECRET_KEY": "benchmark",
            "NEXPURA_ENCRYPTION_KEYS": "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=",
            "NEXPURA_MAILCHIMP_URL": f"{world.url}/{{dc}}/3.0",
            "NEXPURA_HEARTBEAT": "1",
            "NEXPURA_STALL": "6",
        }
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)

        def restart() -> None:
            Postmaster(cluster.cluster_folder).retire()
            connection.close()
            cluster.keep()

        world.restart_database = restart
        yield world
        connection.close()
