"""Secrets that are made once and kept as files: mode 0600 in a folder of mode 0700."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from nexpura.runtime import locks
from nexpura.runtime.errors import CannotStart

KEYS: dict[str, tuple[str, Callable[[], str]]] = {
    "NEXPURA_SECRET_KEY": ("secret_key", lambda: secrets.token_urlsafe(50)),
    "NEXPURA_ENCRYPTION_KEYS": (
        "encryption_keys",
        lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    ),
}


def keys(data_dir: Path) -> dict[str, str]:
    """Return the product's two keys by environment variable, made on the first call for this data directory."""
    return {variable: kept(data_dir / "secrets" / name, make) for variable, (name, make) in KEYS.items()}


def password(path: Path) -> str:
    """Return the password kept in `path`, made on the first call."""
    return kept(path, lambda: secrets.token_urlsafe(24))


def kept(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in `path`; the first to ask makes it, and two who ask at once get the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if not path.exists():
            with locks.exclusive(path.parent / ".lock"):
                if not path.exists():
                    _write(path, make())
        _refuse_if_open(path)
        return path.read_text().strip()
    except PermissionError:
        raise CannotStart(f"{path} cannot be read: run as the user that made it") from None


def _write(path: Path, secret: str) -> None:
    """Write so that a crash leaves the whole secret or none."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _refuse_if_open(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise CannotStart(f"{path} can be read by other users of this machine: run chmod 600 {path}")
