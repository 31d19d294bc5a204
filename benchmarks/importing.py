"""Importing a customer file: rows, seconds, rows a second, CPU seconds here and in PostgreSQL, peak MB of the importer.

    PYTHONPATH=. .venv/bin/python benchmarks/importing.py [--rows 1000000] [--only first,connected] [--profile]

    first       the file into an empty shop
    again       the same file once more
    changed     the file with another phone number in 1 row of 100
    connected   the file into an empty shop whose Mailchimp is connected, so that every address is marked

Each runs in a process of its own, "connected" against a database of its own. A quarter of the customers have said
nothing about marketing; some addresses and phone numbers are mistyped, as they are.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("first", "again", "changed", "connected")
FIRST = (
    "Ann", "Ben", "Cy", "Di", "Eve", "Flo", "Gus", "Hal", "Ida", "José", "Kay", "Léa", "Mia", "Noah", "Ole", "Pia",
    "Quin", "Rosé", "Sam", "Tom", "Uma", "Vic", "Wes", "Xia", "Yan", "Zoë",
)  # fmt: skip
LAST = (
    "Ames", "Brown", "Carter", "D'Arcy", "Evans", "Frank", "García", "Hill", "Ito", "Jones", "Kim", "Lee", "Müller",
    "Nguyễn", "O'Neil", "Park", "Quist", "Rao",
)  # fmt: skip
COLUMNS = (
    "external_id", "first_name", "last_name", "email", "phone", "marketing_consent", "consent_at", "consent_source",
    "consent_wording", "tags",
)  # fmt: skip
WORDING = "Yes, write to me about new pieces and offers"


def main() -> None:
    from nexpura.runtime import postgres

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--profile", action="store_true", help="print where the importer's time goes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.profile)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':<10} {'rows':>9} {'seconds':>8} {'rows/s':>7} {'CPU s':>7} {'database':>8} {'MB':>5}  outcome")
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder, postgres.temporary() as cluster:
        for stage in STAGES:
            path = Path(folder) / f"{'changed' if stage == 'changed' else 'first'}.csv"
            if stage not in wanted and stage != "first":
                continue
            if not path.exists():
                write(path, options.rows, changed=stage == "changed")
            urls = cluster.create_database("connected") if stage == "connected" else cluster.urls(postgres.DATABASE)
            environment = os.environ | {
                "DJANGO_SETTINGS_MODULE": "nexpura.settings",
                "NEXPURA_DATABASE_URL": urls.app_url,
                "NEXPURA_MIGRATE_DATABASE_URL": urls.owner_url,
                "NEXPURA_SECRET_KEY": "benchmark",
                "NEXPURA_ENCRYPTION_KEYS": "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=",
                "NEXPURA_BENCHMARK_FILE": str(path),
            }
            command = [sys.executable, __file__, "--one", stage, *(["--profile"] if options.profile else [])]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            told(stage, json.loads(done.stdout.splitlines()[-1]))


def told(stage: str, found: dict[str, float]) -> None:
    counts = " ".join(f"{name} {found[name]:,}" for name in ("created", "changed", "granted", "withdrawn", "notes"))
    print(
        f"{stage:<10} {found['rows']:>9,} {found['seconds']:>8.1f} {found['rows'] / found['seconds']:>7,.0f} "
        f"{found['cpu']:>7.1f} {found['database']:>8.1f} {found['megabytes']:>5.0f}  {counts}",
        flush=True,
    )


def write(path: Path, rows: int, *, changed: bool) -> None:
    """Write a file of as many customers, the same each time but for the phone numbers that changed."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for number in range(rows):
            first, last, draw = chance.choice(FIRST), chance.choice(LAST), chance.random()
            email = f"{first}.{number}@inbox{number % 50}.example" if first.isascii() else f"c{number}@inbox.example"
            said = "" if draw < 0.25 else "yes" if draw < 0.95 else "no"
            day = f"20{18 + number % 8}-{1 + number % 12:02}-{1 + number % 28:02}"
            dialled = f"{(400_000_000 + number * 37 % 99_999_999) + (1 if changed and number % 100 == 0 else 0)}"
            phone = f"+61{dialled}" if number % 2 else f"0{dialled[:3]} {dialled[3:6]} {dialled[6:]}"
            out.writerow(
                [
                    f"J-{number}",
                    first,
                    last,
                    email if number % 500 else email.replace("@", ""),
                    phone if number % 3 else "",
                    said,
                    day if said else "",
                    "pos" if said else "",
                    WORDING if said else "",
                    "vip;rings" if number % 7 == 0 else "",
                ]
            )


def measure(stage: str, profile: bool) -> dict[str, float]:
    """Return the figures of one import."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from nexpura.customers import importing
    from nexpura.integrations.models import MAILCHIMP, Integration
    from nexpura.tenants.audit import Actor
    from nexpura.tenants.models import Tenant

    if stage in ("first", "connected"):
        call_command("migrate", verbosity=0)
        tenant = Tenant.objects.create(slug="bench", name="Bench", country="AU", timezone="Australia/Sydney")
        if stage == "connected":
            Integration.objects.create(tenant=tenant, kind=MAILCHIMP, status="connected")
    tenant = Tenant.objects.get(slug="bench")
    path, actor = Path(os.environ["NEXPURA_BENCHMARK_FILE"]), Actor.system("benchmark")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    there, here, began = _cpu_of(backend), _cpu_here(), time.monotonic()
    if profile:
        import cProfile
        import pstats

        profiler = cProfile.Profile()
        outcome = profiler.runcall(importing.import_customers, tenant, actor, path)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)
    else:
        outcome = importing.import_customers(tenant, actor, path)
    seconds = time.monotonic() - began
    notes = len(outcome.conflicts) + len(outcome.warnings) + outcome.notes_not_shown
    return outcome.counts() | {
        "seconds": seconds,
        "cpu": _cpu_here() - here,
        "database": _cpu_of(backend) - there,
        "megabytes": max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 1024,
        "notes": notes,
    }


def _cpu_here() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
