"""The operating-system user the database server runs as: never root, which PostgreSQL refuses."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from nexpura.runtime.errors import CannotStart

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    uid: int
    gid: int

    def can_reach(self, folder: Path) -> bool:
        """Whether this user may pass through `folder` and every folder above it."""
        folder = folder.resolve()
        return all(self._may_enter(step) for step in (folder, *folder.parents))

    def own(self, path: Path) -> None:
        """Give `path` to this user, where that is ours to give."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def _may_enter(self, folder: Path) -> bool:
        about = folder.stat()
        if self.uid in (0, about.st_uid):
            return bool(about.st_mode & 0o100) or self.uid == 0
        return bool(about.st_mode & (0o010 if self.gid == about.st_gid else 0o001))


def for_cluster(cluster: Path) -> Account:
    """Return the user that serves `cluster`: its owner once it exists, else ourselves, or a lesser one than root."""
    us = Account(os.geteuid(), os.getegid())
    if cluster.exists():
        about = cluster.stat()
        if us.uid not in (0, about.st_uid):
            raise CannotStart(
                f"{cluster} belongs to another user (uid {about.st_uid}): run as that user, or name another"
                " folder in NEXPURA_DATA_DIR"
            )
        if about.st_uid != 0:
            return Account(about.st_uid, about.st_gid)
    return unprivileged() if us.uid == 0 else us


def unprivileged() -> Account:
    """Return an existing user without rights to run the server as when we are root."""
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise CannotStart(
        "PostgreSQL does not run as root and this machine has neither a user postgres nor nobody: run nexpura as"
        " an ordinary user, or set NEXPURA_DATABASE_URL"
    )
