"""A town of many shops, each with a Mailchimp user of its own, and the worker processes that serve them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import children_of, cpu_of, parent_of
from benchmarks.world import HERE, World

PATIENCE = 3600.0
WORKERS = {"NEXPURA_HEARTBEAT": "5", "NEXPURA_STALL": "30"}
"""What the product does by itself; the world of the other benchmarks shortens it."""


@dataclass(frozen=True)
class Batch:
    """What a number of syncs took together. CPU seconds are a sync's, by whose they are."""

    what: str
    workers: int
    runs: int
    seconds: float
    in_flight: float
    """Runs under way, on the average of all that time."""
    waited: float
    """Seconds from being queued to the end of a run: the middle one."""
    waited_p95: float
    lasted: float
    """Seconds from its begin to its end: the middle one."""
    lasted_p95: float
    cpu_worker: float
    cpu_database: float
    cpu_emulator: float
    requests: int
    at_once: int
    """Requests of one Mailchimp user, the most the emulator saw."""

    @property
    def rate(self) -> float:
        return self.runs / self.seconds


class Town:
    """Many shops, each with a Mailchimp user of its own, and the workers that serve them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self._answer: Any = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the town
        """What the workers say; read when something goes wrong."""

    def shops(self, number: int, customers: int) -> list[int]:
        """Make so many tenants with so many customers who said yes, connected, in a Mailchimp that answers at once."""
        from nexpura.tenants.models import Tenant

        if not number:
            return []
        self.world.fast()
        first = self.made + 1
        self.made += number
        numbers = range(first, self.made + 1)
        self._emulate(numbers)
        made = Tenant.objects.bulk_create(Tenant(slug=f"shop-{one}", name=f"Shop {one}") for one in numbers)
        ids = [tenant.pk for tenant in made]
        self.world.sql(
            "INSERT INTO customers_customer (tenant_id, first_name, last_name, email, phone, tags, note,"
            " consent_state, updated_at) SELECT t, 'First' || n, 'Last' || n, 'c' || n || '@inbox.example',"
            " '+6129' || lpad(n::text, 7, '0'), '{}', '', 'never', now()"
            " FROM unnest(%s::bigint[]) AS t, generate_series(1, %s) AS n",
            ids,
            customers,
        )
        self.world.sql(
            "INSERT INTO customers_consentevent (tenant_id, customer_id, state, source, wording_text, address,"
            " actor_kind, actor_name) SELECT tenant_id, id, 'granted', 'intake', '', address, 'system', 'benchmark'"
            " FROM customers_customer WHERE tenant_id = ANY(%s)",
            ids,
        )
        for tenant, one in zip(made, numbers, strict=True):
            self._connect(tenant, one)
        self.take_statistics()
        return ids

    def empty_shops_due(self, number: int) -> None:
        """Make so many connected tenants, due now; their books do not matter, as no run of theirs is carried out."""
        from nexpura.integrations.models import Integration
        from nexpura.sync.models import KnownAudience
        from nexpura.tenants.models import Tenant

        made = Tenant.objects.bulk_create(Tenant(slug=f"due-{one}", name=f"Due {one}") for one in range(number))
        config = {"data_centre": "us14", "audience_id": "due", "login_id": "due", "auto_sync": True}
        now = datetime.now(UTC)
        Integration.objects.bulk_create(
            Integration(
                tenant=one, kind="mailchimp", status="connected", config=config, config_encrypted=b"-", next_sync_at=now
            )
            for one in made
        )
        KnownAudience.objects.bulk_create(
            KnownAudience(tenant=one, data_centre="us14", audience_id="due", name="Due") for one in made
        )
        self.take_statistics()

    def take_statistics(self) -> None:
        """Do what the database's daemon does within minutes."""
        from nexpura.tenants.management.commands.migrate import as_owner

        with as_owner():
            self.world.sql("ANALYZE")

    def slow(self, latency: float) -> None:
        slow = {"base_ms": latency}
        self.world.control("latency", [{"method": "GET", **slow}, {**slow, "per_member_ms": 2}])

    def queue(self, tenants: Sequence[int]) -> None:
        """Queue a run for each, as the schedule does."""
        from nexpura.sync import runs
        from nexpura.tenants.audit import Actor
        from nexpura.tenants.models import Tenant

        for tenant in Tenant.objects.filter(pk__in=tenants).order_by("pk"):
            runs.start(tenant, Actor.system(), "schedule")

    def make_due(self, tenants: Sequence[int]) -> None:
        self.world.sql(
            "UPDATE integrations_integration SET next_sync_at = now(), config = config || '{\"auto_sync\": true}'"
            " WHERE tenant_id = ANY(%s)",
            list(tenants),
        )

    def batch(
        self, what: str, tenants: Sequence[int], workers: int, *, running: bool = False, due: bool = False
    ) -> Batch:
        """Have one run of each tenant carried out."""
        before, emulator = self.world.metrics(), self.cpu_of_emulator()
        database = self.cpu_of_database()
        if due:
            self.make_due(tenants)
        elif not running:
            self.queue(tenants)
        worked = self.cpu_of_workers()
        with self.working(0 if running else workers):
            if running:
                self.queue(tenants)
            self.until(lambda: self.ended(tenants) >= len(tenants))
            worked = self.cpu_of_workers() - worked
            database, emulator = self.cpu_of_database() - database, self.cpu_of_emulator() - emulator
        after = self.world.metrics()
        told = self._ask(
            "SELECT extract(epoch FROM queued_at), extract(epoch FROM started_at), extract(epoch FROM finished_at),"
            " status FROM sync_syncrun WHERE tenant_id = ANY(%s)",
            list(tenants),
        )
        bad = [row[3] for row in told if row[3] != "succeeded"]
        if bad:
            raise SystemExit(f"{what}: not all succeeded: {bad[:3]}")
        lasted = sorted(float(row[2] - row[1]) for row in told)
        waited = sorted(float(row[2] - row[0]) for row in told)
        seconds = float(max(row[2] for row in told) - min(row[1] for row in told))
        return Batch(
            what=what,
            workers=workers,
            runs=len(told),
            seconds=seconds,
            in_flight=sum(lasted) / seconds,
            waited=statistics.median(waited),
            waited_p95=waited[int(len(waited) * 0.95)],
            lasted=statistics.median(lasted),
            lasted_p95=lasted[int(len(lasted) * 0.95)],
            cpu_worker=worked / len(told),
            cpu_database=database / len(told),
            cpu_emulator=emulator / len(told),
            requests=after["requests"] - before["requests"],
            at_once=max(after["highest_concurrency_of"].values(), default=0),
        )

    @contextmanager
    def working(self, number: int) -> Iterator[None]:
        """Have so many workers work for the length of the block."""
        environment = {**os.environ, **WORKERS}
        command = [sys.executable, "-m", "django", "worker"]
        mine = [
            subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=self.log)
            for _ in range(number)
        ]
        self.processes += mine
        try:
            yield
        finally:
            for process in mine:
                process.kill()
                process.wait()
                self.processes.remove(process)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait; a worker that ends by itself ends the waiting."""
        ends = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > ends or any(process.poll() is not None for process in self.processes):
                self.log.seek(0)
                raise SystemExit(f"{self.log.read()[-9000:].decode()}\na worker ended, or it takes too long")
            time.sleep(0.2)

    def begun(self, tenants: Sequence[int]) -> int:
        return self._count("started_at IS NOT NULL", tenants)

    def ended(self, tenants: Sequence[int]) -> int:
        return self._count("finished_at IS NOT NULL", tenants)

    def forget_jobs(self) -> None:
        """End what is queued or was under way."""
        self.world.sql("DELETE FROM procrastinate_jobs")
        self.world.sql("DELETE FROM procrastinate_workers")
        self.world.sql("DELETE FROM sync_loginlease")
        self.world.sql(
            "UPDATE sync_syncrun SET status = 'cancelled', finished_at = now() WHERE status IN ('queued', 'running')"
        )

    def cpu_of_workers(self) -> float:
        return sum(cpu_of(process.pid) for process in self.processes)

    def cpu_of_database(self) -> float:
        """Of the server and all its processes, ended ones included."""
        ((backend,),) = self._ask("SELECT pg_backend_pid()")
        server = parent_of(backend)
        return cpu_of(server, ended=True) + sum(cpu_of(child) for child in children_of(server))

    def cpu_of_emulator(self) -> float:
        return sum(
            cpu_of(child)
            for child in children_of(os.getpid())
            if b"mailchimp_emulator" in Path(f"/proc/{child}/cmdline").read_bytes()
        )

    def _emulate(self, numbers: range) -> None:
        """Open a Mailchimp of so many accounts in place of the one there was."""
        accounts = [
            {
                "dc": "us14",
                "users": [{"login_id": f"login-{one}", "keys": [_key(one)]}],
                "lists": [{"id": _audience(one), "name": "Shop"}],
            }
            for one in numbers
        ]
        former = [] if self._kept is None else self._kept
        self._kept = accounts if len(former) + len(accounts) > 20_000 else former + accounts
        self.world.control("reset", {"accounts": self._kept})

    _kept: list[Any] | None = None

    def _connect(self, tenant: Any, number: int) -> None:
        """Connect as the page does; what Mailchimp would answer is known from the first shop."""
        from nexpura.mailchimp.key import ApiKey
        from nexpura.sync import connect
        from nexpura.tenants.audit import Actor

        if self._answer is None:
            self._answer = connect._ask(_key(number), _audience(number))
        account = replace(self._answer.account, login_id=f"login-{number}")
        audience = replace(self._answer.audience, id=_audience(number))
        answer = replace(self._answer, key=ApiKey.parse(_key(number)), account=account, audience=audience)
        connect._write_row(tenant, Actor.system("benchmark"), answer, auto_sync=False)

    def _count(self, condition: str, tenants: Sequence[int]) -> int:
        ((count,),) = self._ask(
            f"SELECT count(*) FROM sync_syncrun WHERE tenant_id = ANY(%s) AND {condition}", list(tenants)
        )
        return int(count)

    def _ask(self, statement: str, *values: object) -> list[Any]:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


def _key(number: int) -> str:
    return f"{number:032x}-us14"


def _audience(number: int) -> str:
    return f"list{number}"
