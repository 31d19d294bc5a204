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
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.town import Batch, Town
from benchmarks.world import a_world


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


# --- the table ------------------------------------------------------------------------------------


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
