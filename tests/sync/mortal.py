"""Workers of a history that are really killed: each run in a process of its own, ended by SIGKILL at some moment.

A nursery, started once, has everything loaded and no connection open; it forks a worker for each run it is told of, so
that one costs milliseconds. What a killed worker sent last is waited for, in Mailchimp and in the database, so that
histories stay the doing of one thing after the other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from django.db import connection

from mailchimp_emulator.serve import Running

NAME = "worker of a history"
"""How its connections are called in the database."""


class Nursery:
    """Where workers come from."""

    def __init__(self, process: subprocess.Popen[str], emulator: Running) -> None:
        self._process, self._emulator = process, emulator

    def carry_out(self, run_id: int, present: datetime, *, requests: int, seconds: float) -> bool:
        """Have a worker carry out a run, and kill it so many seconds after so many requests of its.

        Returns whether it had not ended by then.
        """
        assert self._process.stdin and self._process.stdout
        until = self._emulator.metrics()["requests"] + requests
        self._process.stdin.write(f"{run_id} {present.isoformat()}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        with suppress(ProcessLookupError):
            while self._emulator.metrics()["requests"] < until:
                os.kill(pid, 0)
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        was_killed = self._process.stdout.readline().strip() == str(-signal.SIGKILL)
        while _connections():
            time.sleep(0.001)
        return was_killed


@contextmanager
def nursery(emulator: Running) -> Iterator[Nursery]:
    environment = {**os.environ, "NEXPURA_MAILCHIMP_URL": emulator.api_url, "PGAPPNAME": NAME}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], env=environment, cwd=Path(__file__).parents[2], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        yield Nursery(process, emulator)


def _connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [NAME])
        (count,) = cursor.fetchone()
    return int(count)


def _main() -> None:
    """Fork a worker for each line `run present`; tell its process id, then how it ended."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "nexpura.settings"
    import django

    django.setup()
    from django.conf import settings

    from nexpura.audience import plan
    from nexpura.sync.clock import Clock
    from nexpura.sync.run import run_sync

    plan.BRAKE_PEOPLE = 1
    settings.NEXPURA_RETRY_WAIT = 0.0005
    for line in sys.stdin:
        run_id, present = line.split()
        pid = os.fork()
        if pid == 0:
            asyncio.run(run_sync(int(run_id), clock=Clock(datetime.fromisoformat(present))))
            os._exit(0)
        _tell(pid)
        _, status = os.waitpid(pid, 0)
        _tell(os.waitstatus_to_exitcode(status))


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
