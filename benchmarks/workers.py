"""Many tenants, one worker or several: how fast, how fair, and what it costs. A table for each.

    .venv/bin/python -m benchmarks.workers [--tenants 1000] [--latency 100] [--due 10000] [--json FILE] [PART ...]

Real worker processes of this checkout, as `nexpura worker` starts them, against the emulator. PART is one or more of
`workers` (one beside two), `fair` (small shops beside large ones) and `due` (all due at the same moment).

Times are noisy where others use the machine too. CPU seconds are not: a sync's own costs are told for the workers, for
PostgreSQL and for the emulator, which needs its share of the same cores here and none in life.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.world import HERE, World, a_world

PATIENCE = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=[])
    parser.add_argument("--tenants", type=int, default=1000, help="small shops a batch (default %(default)s)")
    parser.add_argument("--customers", type=int, default=20, help="customers of a small shop (default %(default)s)")
    parser.add_argument("--large", type=int, default=50_000, help="customers of a large one (default %(default)s)")
    parser.add_argument("--latency", type=float, action="append", help="ms a call; may be named twice (default 100)")
    parser.add_argument("--due", type=int, default=10_000, help="tenants due at once (default %(default)s)")
    parser.add_argument("--json", type=Path, default=None)
    wanted = parser.parse_args()
    parts = wanted.parts or list(PARTS)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    rows: list[dict[str, Any]] = []
    with a_world() as world:
        town = Town(world)
        for part in parts:
            for row in PARTS[part](town, wanted):
                rows.append(row)
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1) + "\n")


# --- the parts ------------------------------------------------------------------------------------


def one_beside_two(town: Town, wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The same number of small shops for one worker, then for two."""
    for latency in wanted.latency or [100.0]:
        _head(f"{wanted.tenants:,} shops of {wanted.customers}, {latency:.0f} ms a call")
        took = []
        for workers in (1, 2):
            shops = town.shops(wanted.tenants, wanted.customers)
            town.slow(latency)
            batch = town.batch(f"{workers} worker{'s' * (workers > 1)}", shops, workers)
            took.append(batch.seconds)
            yield _told(batch)
        print(f"two take {took[0] / took[1]:.2f} times less than one")


def small_beside_large(town: Town, wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A hundred small shops alone; beside a large one under way in the same worker; beside as many as fill it."""
    few = min(100, wanted.tenants)
    latency = (wanted.latency or [100.0])[0]
    _head(f"{few} shops of {wanted.customers}, one worker, {latency:.0f} ms a call")
    for larges, size in ((0, 0), (1, wanted.large), (0, 0), (25, max(12_000, wanted.large // 4))):
        small, large = town.shops(few, wanted.customers), town.shops(larges, size)
        town.slow(latency)
        with town.working(1):
            town.queue(large)
            town.until(lambda large=large: town.begun(large) >= min(len(large), 1))
            time.sleep(5 if large else 2)
            what = f"beside {larges} of {size:,}" if large else "alone"
            batch = town.batch(what, small, 1, running=True)
            done = town.ended(large)
        yield _told(batch)
        print(f"    {done} of {larges} large ones had ended by then")
        town.forget_jobs()


def all_due(town: Town, wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What starting so many costs; then real ones, due at the same moment, for two workers."""
    from nexpura.sync import runs

    town.empty_shops_due(wanted.due)
    began, cpu, database = time.monotonic(), time.process_time(), town.cpu_of_database()
    started, calls = 0, 0
    while more := runs.start_due(datetime.now(UTC)):
        started, calls = started + more, calls + 1
    spent = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    spent["cpu_database"] = town.cpu_of_database() - database
    print(f"\nstarting {started:,} due at once: {spent['seconds']:.1f} s in {calls} calls,", end=" ")
    print(f"CPU {spent['cpu']:.1f} s and {spent['cpu_database']:.1f} s of the database")
    yield {"what": f"starting {started}", **spent}
    began = time.monotonic()
    revived = runs.revive(datetime.now(UTC) + timedelta(minutes=5))
    print(f"looking for the stranded among them: {time.monotonic() - began:.1f} s, {revived} found")
    town.forget_jobs()
    latency = (wanted.latency or [100.0])[0]
    _head(f"{wanted.tenants:,} shops of {wanted.customers} due at the same moment, {latency:.0f} ms a call")
    shops = town.shops(wanted.tenants, wanted.customers)
    town.slow(latency)
    batch = town.batch("2 workers", shops, 2, due=True)
    yield _told(batch)
    print(f"10,000 such need {10_000 / batch.rate / 60:.0f} minutes")


PARTS: dict[str, Callable[[Town, argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "workers": one_beside_two,
    "fair": small_beside_large,
    "due": all_due,
}


# --- the world of many tenants --------------------------------------------------------------------


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
        return sum(_cpu(process.pid) for process in self.processes)

    def cpu_of_database(self) -> float:
        """Of the server and all its processes, ended ones included."""
        ((backend,),) = self._ask("SELECT pg_backend_pid()")
        server = int(_stat(backend)[1])
        return _cpu(server, ended=True) + sum(_cpu(child) for child in _children(server))

    def cpu_of_emulator(self) -> float:
        return sum(
            _cpu(child)
            for child in _children(os.getpid())
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


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name: state, parent, ... (utime is the twelfth)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _cpu(pid: int, *, ended: bool = False) -> float:
    try:
        fields = _stat(pid)
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if ended else 13])) / TICKS


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if int(_stat(int(folder.name))[1]) == parent:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


COLUMNS = (
    ("runs/s", 9),
    ("in flight", 11),
    ("lasted p50/p95", 16),
    ("waited p50/p95", 16),
    ("CPU ms a run: worker/db/emulator", 34),
    ("requests", 10),
    ("at once", 9),
)


def _head(what: str) -> None:
    print(f"\n{what}")
    print(f"{'':<22}{'seconds':>9}" + "".join(f"{name:>{width}}" for name, width in COLUMNS), flush=True)


def _told(batch: Batch) -> dict[str, Any]:
    cpu = "/".join(f"{value * 1000:.0f}" for value in (batch.cpu_worker, batch.cpu_database, batch.cpu_emulator))
    values = (
        f"{batch.rate:.1f}",
        f"{batch.in_flight:.1f}",
        f"{batch.lasted:.1f}/{batch.lasted_p95:.1f}",
        f"{batch.waited:.1f}/{batch.waited_p95:.1f}",
        cpu,
        f"{batch.requests:,}",
        f"{batch.at_once}",
    )
    told = "".join(f"{value:>{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))
    print(f"{batch.what:<22}{batch.seconds:>9.1f}{told}", flush=True)
    return asdict(batch)


if __name__ == "__main__":
    main()
