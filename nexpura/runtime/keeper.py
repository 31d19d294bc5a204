"""The process that keeps one database server: it starts it, starts it again, and stops it with its last user.

    python -m nexpura.runtime.keeper HOME UID GID LOCK -- POSTGRES [ARGUMENT ...]

Who uses the server holds a shared lock on `users.lock` in its home; a lock ends with its process, however that
ends. The keeper looks a few times a second whether it can have that lock for itself. When it can, nobody is
left: it stops the server and ends, still holding the lock, so that a newcomer waits for the end and starts afresh.

LOCK is the descriptor of `keeper.lock`, locked by whoever starts the keeper: while it is held, a keeper lives.
If the keeper itself is killed, the kernel sends its server SIGINT (`leash`), PostgreSQL's fast shutdown.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nexpura.runtime import locks
from nexpura.runtime.leash import on_leash
from nexpura.runtime.postmaster import ENVIRONMENT, LET_CLIENTS_GO, Postmaster

LOOK_EVERY = 0.1
LONGEST_PAUSE = 5.0


def main() -> None:
    """Go into the background, then keep the server named on the command line."""
    home, uid, gid, lock = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if os.fork():
        os._exit(0)
    os.set_inheritable(lock, False)
    for request in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A terminal's Ctrl-C or a service manager's broadcast: our users end, and then we do.
        # A handler and not SIG_IGN, which the server would inherit.
        signal.signal(request, lambda *_: None)
    sys.exit(keep(home, uid, gid, sys.argv[6:]))


def keep(home: Path, uid: int, gid: int, argv: list[str]) -> int:
    """Run the server while it has users; return 1 if it could not be started in the first place."""
    users = locks.open_lock(home / "users.lock")
    postmaster = Postmaster(home / "data")
    server = launch(argv, uid, gid)
    was_ready, pause = False, LOOK_EVERY
    while not locks.try_exclusive(users):
        time.sleep(LOOK_EVERY)
        if postmaster.is_ready():
            was_ready, pause = True, LOOK_EVERY
        if server.poll() is None:
            continue
        if not was_ready:
            return 1
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
        postmaster.retire()
        server = launch(argv, uid, gid)
    stop(server)
    return 0


def launch(argv: list[str], uid: int, gid: int) -> subprocess.Popen[bytes]:
    """Start the server as a child that ends with us."""
    command = on_leash(argv, at_parents_end=signal.SIGINT, uid=uid, gid=gid)
    # Ctrl-C reaches a whole terminal group at once; the server is told by us alone.
    return subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, process_group=0, restore_signals=True)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server: fast, then at once, then by force."""
    for request, patience in ((signal.SIGINT, LET_CLIENTS_GO), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
        if server.poll() is not None:
            return
        server.send_signal(request)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main()
