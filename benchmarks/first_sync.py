"""First sync of 1,000 and 10,000 customers at 100 ms a call: seconds, requests, in flight, CPU seconds, memory.

    .venv/bin/python benchmarks/first_sync.py [--sizes 1000,10000] [--latency 100]

Each size runs in a process of its own against a fresh database and an emulator in another process. The last column
compares with the least possible: the calls a perfect client must make one at a time per place, nine at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef-us14"
AUDIENCE = "abc123def4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--latency", type=int, default=100, metavar="MS")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.latency)))
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {options.latency} ms a call")
    print(f"{'customers':>9} {'seconds':>8} {'requests':>8} {'in flight':>9} {'CPU s':>6} {'MB':>5} {'x least':>7}")
    for size in options.sizes.split(","):
        command = [sys.executable, __file__, "--one", size, "--latency", str(options.latency)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        least = (told["requests"] / 9) * options.latency / 1000
        print(
            f"{told['customers']:>9} {told['seconds']:>8.1f} {told['requests']:>8} {told['in_flight']:>9} "
            f"{told['cpu']:>6.1f} {told['megabytes']:>5.0f} {told['seconds'] / least:>7.2f}"
        )


def measure(size: int, latency: int) -> dict[str, float]:
    """Return the figures of one first sync into an empty audience."""
    from nexpura.runtime import postgres

    port = _free_port()
    emulator = subprocess.Popen(
        [str(Path(sys.executable).with_name("mailchimp-emulator")), "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        with postgres.temporary() as cluster:
            os.environ |= {
                "DJANGO_SETTINGS_MODULE": "nexpura.settings",
                "NEXPURA_DATABASE_URL": cluster.app_url,
                "NEXPURA_MIGRATE_DATABASE_URL": cluster.owner_url,
                "NEXPURA_SECRET_KEY": "benchmark",
                "NEXPURA_ENCRYPTION_KEYS": "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=",
                "NEXPURA_MAILCHIMP_URL": f"http://127.0.0.1:{port}/{{dc}}/3.0",
            }
            return _first_sync(size, latency, f"http://127.0.0.1:{port}")
    finally:
        emulator.terminate()
        emulator.wait()


def _first_sync(size: int, latency: int, url: str) -> dict[str, float]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    from nexpura.sync import connect, runs
    from nexpura.sync.clock import Clock
    from nexpura.sync.database import close_connections
    from nexpura.sync.run import run_sync
    from nexpura.tenants.audit import Actor
    from nexpura.tenants.models import Tenant

    call_command("migrate", verbosity=0)
    _control(url, "reset", {"accounts": [{"dc": "us14", "users": [{"name": "o", "role": "owner", "keys": [KEY]}],
                                          "lists": [{"id": AUDIENCE, "name": "Benchmark"}]}]})  # fmt: skip
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO customers_customer (tenant_id, first_name, last_name, email, phone, tags, note, consent_state,"
            " updated_at) SELECT %s, 'First' || n, 'Last' || n, 'c' || n || '@inbox.example', '+6129123' ||"
            " lpad(n::text, 5, '0'), '{}', '', 'never', now() FROM generate_series(1, %s) AS n",
            [tenant.pk, size],
        )
        cursor.execute(
            "INSERT INTO customers_consentevent (tenant_id, customer_id, state, source, wording_text, address,"
            " actor_kind, actor_name) SELECT tenant_id, id, 'granted', 'intake', '', address, 'system', 'benchmark'"
            " FROM customers_customer"
        )
    actor = Actor.system("benchmark")
    connect.connect(tenant, actor, key_text=KEY, audience_id=AUDIENCE, auto_sync=False)
    _control(url, "latency", [{"method": "GET", "base_ms": latency}, {"base_ms": latency, "per_member_ms": 2}])
    with transaction.atomic():
        run, _ = runs.create(tenant, actor, "manual", past_brake=True)
    before, began = time.process_time(), time.monotonic()
    asyncio.run(run_sync(run.pk, clock=Clock()))
    seconds, cpu = time.monotonic() - began, time.process_time() - before
    run.refresh_from_db()
    close_connections()
    connection.close()
    if (run.status, run.synced) != ("succeeded", size):
        raise SystemExit(f"the sync ended {run.status} with {run.synced} of {size}")
    return {
        "customers": size,
        "seconds": seconds,
        "requests": run.requests,
        "in_flight": _highest(url),
        "cpu": cpu,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _highest(url: str) -> int:
    import urllib.request

    with urllib.request.urlopen(f"{url}/_emulator/log") as reply:
        return max(json.loads(line)["concurrency"] for line in reply)


def _control(url: str, path: str, body: object) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{url}/_emulator/{path}", data=json.dumps(body).encode())
    for _ in range(100):
        try:
            with urllib.request.urlopen(request):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit("the emulator does not answer")


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    main()
