"""What the pid file of a PostgreSQL server says, and whether it is true."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""What the server and initdb see of the environment: nothing of ours, no secrets, no PG* variables."""

LET_CLIENTS_GO = 60.0
"""Seconds for a fast shutdown (its checkpoint) before the server is told to drop everything."""

STATUS_LINE = 7
"""The line of `postmaster.pid` that says starting, ready or stopping (counted from 0)."""


@dataclass(frozen=True)
class Postmaster:
    """The server of the cluster in folder `cluster`, as far as its pid file tells."""

    cluster: Path

    def pid(self) -> int | None:
        """Return the process id in the pid file, alive or not."""
        lines = self._lines()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def is_alive(self) -> bool:
        """Whether the process of the pid file lives and is this cluster's server.

        A zombie is dead, and so is a number that another program has been given since.
        """
        pid = self.pid()
        return pid is not None and _lives(pid) and _works_in(pid, self.cluster)

    def is_ready(self) -> bool:
        """Whether the server lives and says that it accepts connections."""
        lines = self._lines()
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready" and self.is_alive()

    def retire(self) -> None:
        """Bring a server that was left behind to its end, and take away a pid file that lies."""
        asked = 0.0
        while self.is_alive():
            pid = self.pid()
            if pid is None:
                break
            _signal(pid, signal.SIGINT if asked < LET_CLIENTS_GO else signal.SIGQUIT)
            time.sleep(0.05)
            asked += 0.05
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []


def _signal(pid: int, request: signal.Signals) -> None:
    try:
        os.kill(pid, request)
    except ProcessLookupError:
        return


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # somebody else's: ours is of our own user, or we are root
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # no /proc on this system: the signal has answered
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _works_in(pid: int, folder: Path) -> bool:
    """Whether the process works in `folder`, as a PostgreSQL server does in its cluster."""
    if not Path("/proc/self").exists():
        return True
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    except OSError:
        return False
