"""What processes have used of the processors, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int, *, ended: bool = False) -> float:
    """Return the CPU seconds of a process so far, with those of its children that have ended if asked for."""
    try:
        fields = _stat(pid)
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if ended else 13])) / TICKS


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def children_of(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if parent_of(int(folder.name)) == parent:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name: state, parent, ... (utime is the twelfth)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
