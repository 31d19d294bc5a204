"""Other processes that use the server of a data directory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent.parent

HOLD = """
import sys, time
from pathlib import Path
from nexpura.runtime import postgres
with postgres.embedded(Path(sys.argv[1]), durable=False) as cluster:
    print(cluster.postmaster_pid, flush=True)
    sys.stdin.read()
"""


def user_of(data_dir: Path) -> subprocess.Popen[str]:
    """Start a process that holds the server until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(data_dir)]
    return subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def server_of(user: subprocess.Popen[str]) -> int:
    """Wait until the process has its server, and return the server's process id."""
    assert user.stdout is not None
    return int(user.stdout.readline())


def until(holds: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for `holds` to become true; fail if it never does."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.02)
