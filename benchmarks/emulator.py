"""How much the Mailchimp emulator carries, its client beside it: so that other benchmarks do not measure the emulator.

    .venv/bin/python benchmarks/emulator.py [--members 1000000] [--seconds 5]

The emulator runs in a process of its own and holds an audience of so many members; a client in this process keeps nine
calls in flight, without any latency asked for. Each row is one kind of call for some seconds. Memory is the emulator's
peak after all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp

KEY = "0123456789abcdef0123456789abcdef-us14"
AUDIENCE = "abc123def4"
FIELDS = {"FNAME": "Ann", "LNAME": "Lee", "PHONE": "+61 400 000 000"}
IN_FLIGHT = 9
ONLY_WHAT_A_SYNC_NEEDS = "members.email_address,members.status,members.merge_fields,members.tags,members.last_changed"

Call = Callable[[int], Awaitable[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each kind of call is made")
    wanted = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    command = [str(Path(sys.executable).with_name("mailchimp-emulator")), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        port = re.search(r":(\d+)/", emulator.stdout.readline())
        try:
            assert port is not None
            asyncio.run(measure(f"http://127.0.0.1:{port[1]}", wanted.members, wanted.seconds))
            print(f"memory of the emulator, at most: {_peak_megabytes(emulator.pid):,} MB")
        finally:
            emulator.terminate()


async def measure(url: str, members: int, seconds: float) -> None:
    """Print one row per kind of call."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(None)) as session:
        started = time.perf_counter()
        generate = {"count": members, "merge_fields": {"FNAME": "Ann{}", "LNAME": "Lee", "PHONE": "+61400{}"}}
        audience = {"id": AUDIENCE, "generate": generate}
        world = {"accounts": [{"users": [{"keys": [KEY]}], "lists": [audience]}]}
        async with session.post(f"{url}/_emulator/reset", json=world) as reply:
            reply.raise_for_status()
        print(f"{members:,} members made in {time.perf_counter() - started:.1f} s")
        print(f"{'call':44} {'calls/s':>8} {'members/s':>10}")
        for name, call, each in kinds(session, f"{url}/us14/3.0/lists/{AUDIENCE}", members):
            rate = await _rate(call, seconds)
            print(f"{name:44} {rate:>8,.0f} {rate * each:>10,.0f}")


def kinds(session: aiohttp.ClientSession, audience: str, members: int) -> Iterator[tuple[str, Call, int]]:
    """The kinds of call: a name, the n-th call, and how many members it deals with."""

    async def send(method: str, path: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body)
        async with session.request(method, f"{audience}{path}", data=data) as reply:
            await reply.read()
            reply.raise_for_status()

    def bulk(prefix: str, count: int, **flags: bool) -> Call:
        async def call(number: int) -> None:
            wanted = [
                {
                    "email_address": f"{prefix}{(number * 500 + place) % count + 1}@inbox.example",
                    "status_if_new": "subscribed",
                    "merge_fields": FIELDS | {"FNAME": f"Ann {number}"},
                }
                for place in range(500)
            ]
            await send("POST", "", {"members": wanted, **flags})

        return call

    def put(number: int) -> Awaitable[None]:
        address = f"single{number}@inbox.example"
        body = {"email_address": address, "status_if_new": "subscribed", "merge_fields": FIELDS}
        return send("PUT", f"/members/{_hash(address)}", body)

    def patch(number: int) -> Awaitable[None]:
        body = {"merge_fields": {"FNAME": f"Ann {number}"}}
        return send("PATCH", f"/members/{_hash(f'c{number % members + 1}@inbox.example')}", body)

    def read(number: int) -> Awaitable[None]:
        offset = number * 1000 % members
        return send("GET", f"/members?count=1000&offset={offset}&fields={ONLY_WHAT_A_SYNC_NEEDS},total_items")

    yield "POST /lists/{id}, 500 new members", bulk("bulk", 10**9, update_existing=False), 500
    yield "POST /lists/{id}, 500 members changed", bulk("c", members, update_existing=True), 500
    yield "PUT a new member", put, 1
    yield "PATCH a member", patch, 1
    yield "GET 1,000 members, fields of a sync", read, 1000


async def _rate(call: Call, seconds: float) -> float:
    """Calls a second, nine in flight."""
    numbers = itertools.count()
    started = time.perf_counter()
    ended = started + seconds

    async def caller() -> int:
        made = 0
        while time.perf_counter() < ended:
            await call(next(numbers))
            made += 1
        return made

    made = sum(await asyncio.gather(*(caller() for _ in range(IN_FLIGHT))))
    return made / (time.perf_counter() - started)


def _hash(address: str) -> str:
    return hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()


def _peak_megabytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
