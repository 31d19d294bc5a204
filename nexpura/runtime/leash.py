"""A program that turns itself into another one which ends with its parent.

    python -I -S leash.py PARENT_PID SIGNAL UID GID -- PROGRAM [ARGUMENT ...]

It becomes the given user (when started as root), asks the kernel to send SIGNAL when the parent dies, even
by kill -9, and then executes PROGRAM in its own place. The order matters: a change of user forgets the request.
The request is Linux's; elsewhere a killed parent leaves the program running until the next start finds it.

Only the standard library is used, and nothing of this package: it runs before anything else is known to work.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def on_leash(
    argv: list[str], *, at_parents_end: signal.Signals, uid: int | None = None, gid: int | None = None
) -> list[str]:
    """Return the command that runs `argv` as a child of this process and of nobody else."""
    user = os.geteuid() if uid is None else uid
    group = os.getegid() if gid is None else gid
    me = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*me, str(os.getpid()), str(int(at_parents_end)), str(user), str(group), "--", *argv]


def main() -> None:
    """Become the program named on the command line."""
    parent, at_parents_end, uid, gid = (int(argument) for argument in sys.argv[1:5])
    argv = sys.argv[6:]
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, at_parents_end, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    os.execv(argv[0], argv)  # noqa: S606  # to become the program is the point


if __name__ == "__main__":
    main()
