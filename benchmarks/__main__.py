"""Ours beside what others do, in one run on one machine: a table, and a JSON file.

    .venv/bin/python -m benchmarks [--sizes 10000,100000] [--peers 2000] [--json benchmarks/results/FILE]

Against the emulator with 100 ms a call and 2 ms a written member. `limit` is what a perfect client needs for the calls
that were made, reads included, nine at once without a gap. What would take hours is measured with fewer people and
extrapolated in proportion, which is said. A million takes about ten minutes a scenario.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.world import Measured, World, a_world

A_MINUTE_LATER = 65
"""Each reading reaches back a minute before the last one, so that nothing between two clocks is missed."""

Row = dict[str, Any]
COLUMNS = ("scenario", "seconds", "limit", "x limit", "requests", "in flight", "CPU s/1,000", "MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000", help="customers in the book, and others in the audience")
    parser.add_argument("--peers", type=int, default=2_000, metavar="N", help="people the slow peers are measured with")
    parser.add_argument("--json", type=Path, default=None)
    wanted = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; 100 ms a call + 2 ms a written member")
    results: Row = {"machine": machine, "at": datetime.now(UTC).isoformat(), "rows": []}
    with a_world() as world:
        _measure(world, [int(size) for size in wanted.sizes.split(",")], wanted.peers, results)
    if wanted.json:
        wanted.json.parent.mkdir(parents=True, exist_ok=True)
        wanted.json.write_text(json.dumps(results, indent=1) + "\n")


def _measure(world: World, sizes: Sequence[int], few: int, results: Row) -> None:
    for size in sizes:
        print(f"\n{size:,} customers, {size:,} others in the audience")
        print(f"{COLUMNS[0]:<34}" + "".join(f"{name:>13}" for name in COLUMNS[1:]))
        for row in ours(world, size):
            _tell(results, {"size": size, "whose": "ours", **row})
        for row in theirs(world, size, few):
            _tell(results, {"size": size, "whose": "peers", **row})
        _ratios(results, size)


def ours(world: World, size: int) -> Iterator[Row]:
    """One tenant's life, sync after sync."""
    world.book(size, slug=f"bench-{size}")
    world.audience(others=size)
    world.connect()
    world.slow()
    before = world.statuses()
    yield _row("first sync, into a full audience", world.sync())
    after = world.statuses()
    _must(after["subscribed"] == before["subscribed"] + size, f"only the new are new: {before}, {after}")
    time.sleep(A_MINUTE_LATER)
    yield _row("its echo read", world.sync())
    yield _row("unchanged", world.sync())
    for what, change in _changes(world):
        change()
        yield _row(what, world.sync())
        world.sync()  # its echo
    world.book(size, slug=f"killed-{size}")
    world.fast()
    world.audience(others=0)
    world.connect()
    world.slow()
    measured, kills = world.sync_killed(every=max(5.0, size / 12_000), restart_after=1)
    _must(world.statuses() == {"subscribed": size}, "everybody is in the audience after the kills")
    yield _row(f"killed {kills} times, database restarted", measured) | {"kills": kills}


def _changes(world: World) -> Iterator[tuple[str, Callable[[], None]]]:
    one_per_cent = "AND id %% 100 = %s"
    yield "1 % changed", lambda: world.rename(one_per_cent, 1)
    yield "1 % opted out", lambda: world.say("withdrawn", one_per_cent, 2)
    yield "all names changed", lambda: world.rename("")


def theirs(world: World, size: int, few: int) -> Iterator[Row]:
    """The same first sync by others' ways."""
    whom = list(peers.people(1, size))
    world.audience(others=0)
    world.slow()
    few = min(few, size)
    tenfold = peers.one_by_one(world.url, whom[:few], threads=10)
    yield _extrapolated("official client, ten threads", tenfold, few, size)
    fewer = min(few // 10, size)
    alone = peers.one_by_one(world.url, list(peers.people(size + 1, fewer)), threads=1)
    yield _extrapolated("official client, one thread", alone, fewer, size)
    looked = peers.looked_at_first(world.url, list(peers.people(2 * size, fewer)))
    yield _extrapolated("a GET each, then 500 a call", looked, fewer, size)
    world.audience(others=0)
    world.slow()
    yield {"scenario": "500 a call, one after the other", "seconds": peers.five_hundred(world.url, whom)}


def _extrapolated(what: str, seconds: float, measured: int, size: int) -> Row:
    return {"scenario": what, "seconds": seconds * size / measured, "extrapolated_from": measured}


def _row(what: str, measured: Measured) -> Row:
    _must(measured.status == "succeeded", f"{what}: {measured.status}")
    return {"scenario": what, "limit": measured.limit, **asdict(measured)}


def _tell(results: Row, row: Row) -> None:
    results["rows"].append(row)
    note = f" (from {row['extrapolated_from']:,})" if "extrapolated_from" in row else ""
    line = f"{row['scenario'] + note:<34}{row['seconds']:>13,.1f}"
    if "limit" in row:
        thousands = row["members"] / 1000
        per_thousand = f"{row['cpu'] / thousands:.2f}" if thousands else f"({row['cpu']:.1f} s)"
        line += f"{row['limit']:>13,.1f}{row['seconds'] / row['limit']:>13.2f}{row['requests']:>13,}"
        line += f"{row['in_flight']:>13}{per_thousand:>13}{row['megabytes']:>13.0f}"
    print(line, flush=True)


def _ratios(results: Row, size: int) -> None:
    mine = next(row["seconds"] for row in results["rows"] if row["size"] == size and row["whose"] == "ours")
    for row in results["rows"]:
        if row["size"] == size and row["whose"] == "peers":
            row["times_ours"] = row["seconds"] / mine
            print(f"ours is {row['times_ours']:.1f} times as fast as: {row['scenario']}")


def _must(true: bool, what: str) -> None:
    if not true:
        raise SystemExit(what)


if __name__ == "__main__":
    main()
