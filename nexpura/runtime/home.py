"""The folders of the embedded database: which they are, and what must be true of them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from nexpura.runtime import account as accounts
from nexpura.runtime import locks
from nexpura.runtime.account import Account
from nexpura.runtime.errors import CannotStart

OUT_OF_REACH = Path("/var/lib")
"""Where root's cluster goes when the server's user cannot reach the data directory."""

LONGEST_SOCKET_PATH = 103
"""Bytes; Linux takes 107, others less."""
LARGEST_LOG = 20_000_000


def settle(data_dir: Path) -> Path:
    """Make the data directory and the home of its server if need be; return the home."""
    try:
        _make_data_dir(data_dir)
        with locks.exclusive(data_dir / ".lock"):
            return _home(data_dir)
    except PermissionError:
        raise CannotStart(
            f"the data directory {data_dir} cannot be used by this user: run as the user that made it, or name"
            " another folder in NEXPURA_DATA_DIR"
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise CannotStart(f"the data directory {data_dir} is not a folder: mend NEXPURA_DATA_DIR") from None


def _make_data_dir(data_dir: Path) -> None:
    if not data_dir.is_dir():
        data_dir.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            data_dir.chmod(0o711)  # the server's user passes through; what is secret in here is closed itself


def _home(data_dir: Path) -> Path:
    written, inside = data_dir / "postgres.location", data_dir / "postgres"
    if written.exists():
        home = Path(written.read_text().strip())
        if not home.is_dir():
            raise CannotStart(f"{written} says that the database is kept in {home}, which is gone: restore it")
        return home
    if inside.exists():
        return inside
    if os.geteuid() != 0:
        inside.mkdir(mode=0o700)
        return inside
    if accounts.unprivileged().can_reach(data_dir):
        inside.mkdir()
        inside.chmod(0o711)
        return inside
    outside = Path(tempfile.mkdtemp(prefix="nexpura-", dir=OUT_OF_REACH))
    outside.chmod(0o711)
    written.write_text(f"{outside}\n")
    return outside


def socket_folder(home: Path) -> Path:
    """Return the folder of the server's socket: in its home, or elsewhere if that path is too long for a socket."""
    inside, written = home / "socket", home / "socket.location"
    if len(os.fsencode(inside / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return inside
    return Path(written.read_text().strip()) if written.exists() else inside


def make_socket_folder(home: Path, account: Account) -> Path:
    """Make the folder of the socket, closed to everybody but the server's user, and return it."""
    folder = socket_folder(home)
    too_long = len(os.fsencode(folder / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH
    if folder == home / "socket" and not too_long:
        folder.mkdir(mode=0o700, exist_ok=True)
        account.own(folder)
    elif too_long or not _is_closed(folder, account):
        folder = Path(tempfile.mkdtemp(prefix="nexpura-", dir="/tmp"))  # a fresh one, mode 0700
        account.own(folder)
        (home / "socket.location").write_text(f"{folder}\n")
    return folder


def _is_closed(folder: Path, account: Account) -> bool:
    """Whether `folder` is still the one we made: shared temporary folders are emptied, and names taken again."""
    try:
        about = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == account.uid and not about.st_mode & 0o077


def open_log(path: Path) -> BinaryIO:
    """Open the server's log for appending; an overgrown one is put aside first."""
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.rename(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")


def refuse_other_version(cluster: Path, major: int) -> None:
    """Raise `CannotStart` if another major version of PostgreSQL made the cluster."""
    made_by = (cluster / "PG_VERSION").read_text().strip()
    if made_by != str(major):
        raise CannotStart(
            f"the database in {cluster} was made by PostgreSQL {made_by}, and this is {major}: dump it with"
            f" {made_by} (name its bin folder in NEXPURA_POSTGRES_BIN) and restore the dump into a new"
            " NEXPURA_DATA_DIR; see docs/running.md"
        )
