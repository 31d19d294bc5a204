"""The embedded PostgreSQL: a database server of our own for one data directory.

    with postgres.embedded(data_dir) as cluster:    # starts the server, or joins the one that runs
        cluster.app_url, cluster.owner_url          # the run-time role and the role that migrates
    with postgres.temporary() as cluster:           # for tests: a throw-away one, fast and not durable
        urls = cluster.create_database("test_1")    # one database per process, with the same two roles

Every user of the server holds a lock while it needs it, and a background process (`keeper`) runs the server
exactly as long as somebody does. So `nexpura up` and commands beside it share one server; a command alone has
one for its own length; and whoever is killed, by whatever, leaves no server behind.

What is where:

    DATA_DIR/secrets/           passwords and keys, 0600
    DATA_DIR/postgres/          the home of the server: data/ (the cluster), socket/, log, the locks
    DATA_DIR/postgres.location  written instead, when the server's user cannot reach DATA_DIR: where the home is

There is no TCP port: the only way in is a unix socket in a folder of mode 0700, with a password (scram).
PostgreSQL refuses to run as root. Started by root it runs as the cluster's owner, at first an existing
unprivileged user (`account`); no user is made and no folder of anybody else is opened: if DATA_DIR lies below a
closed folder, such as root's home, the home is made under /var/lib, and programs that lie below one are copied.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from nexpura.runtime import account as accounts
from nexpura.runtime import binaries, locks, secrets
from nexpura.runtime import home as homes
from nexpura.runtime.account import Account
from nexpura.runtime.errors import CannotStart
from nexpura.runtime.leash import on_leash
from nexpura.runtime.postmaster import ENVIRONMENT, Postmaster

SUPERUSER, OWNER, APP = "postgres", "nexpura_owner", "nexpura_app"
DATABASE = "nexpura"
PORT = 5432
"""Only part of the socket's name: nothing listens on a network."""

START_WAIT = 120.0
"""Seconds a start may take: after a crash a big database recovers first."""
STOP_WAIT = 30.0

SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "random_page_cost": "1.1",  # no disk that turns: a chunk is looked up by an index, not by reading a whole table
    "max_connections": "100",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",  # statements and details name customers
    "log_error_verbosity": "terse",
    "timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
"""Safe against kill -9 of everything, not against a power cut."""


@dataclass(frozen=True)
class Urls:
    """How to reach one database: as the run-time role, and as the owner of its tables."""

    app_url: str
    owner_url: str


@contextmanager
def embedded(data_dir: Path, *, durable: bool = True) -> Iterator[Cluster]:
    """Yield the running server of `data_dir`, with roles and database in place.

    Starts it, or joins the one that runs; on leaving, it is stopped if nobody else uses it.
    Raises `CannotStart`. `durable=False` trades safety against power loss for speed, for tests.
    """
    cluster = Cluster(data_dir, durable=durable)
    cluster.enter()
    try:
        yield cluster
    finally:
        cluster.leave()


@contextmanager
def temporary() -> Iterator[Cluster]:
    """Yield a fast server in a folder of its own, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="nexpura-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    try:
        with embedded(folder, durable=False) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """The server of one data directory, as one of its users sees it."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.durable = durable
        self._in_use: int | None = None

    @property
    def app_url(self) -> str:
        return self.urls(DATABASE).app_url

    @property
    def owner_url(self) -> str:
        return self.urls(DATABASE).owner_url

    @property
    def cluster_folder(self) -> Path:
        return self._home / "data"

    @property
    def log(self) -> Path:
        return self._home / "log"

    @property
    def postmaster_pid(self) -> int | None:
        """The process id of the running server."""
        return Postmaster(self.cluster_folder).pid()

    def urls(self, database: str) -> Urls:
        """Return the URLs of a database of this server, whether it exists or not."""
        return Urls(self._url(APP, database), self._url(OWNER, database))

    def enter(self) -> None:
        """Become a user of the server: from here on it runs, and is started if it did not."""
        self._home = homes.settle(self.data_dir)
        self._in_use = locks.open_lock(self._home / "users.lock")
        try:
            locks.share(self._in_use)
            self.keep()
            self._prepare()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Cease to be a user; waits for the server's end if that makes it nobody's."""
        if self._in_use is None:
            return
        os.close(self._in_use)
        self._in_use = None
        until = time.monotonic() + STOP_WAIT
        while not self._is_stopped() and not self._has_users() and time.monotonic() < until:
            time.sleep(0.02)

    def keep(self) -> None:
        """See to it that the server runs and is ready: starts it if its keeper is gone."""
        postmaster = Postmaster(self.cluster_folder)
        started, until = False, time.monotonic() + START_WAIT
        while True:
            keeper_lock = locks.open_lock(self._home / "keeper.lock")
            try:
                nobody_keeps = locks.try_exclusive(keeper_lock)
                if nobody_keeps and started:
                    raise CannotStart(self._why_not())
                if nobody_keeps:
                    self._start_keeper(keeper_lock)
                    started = True
            finally:
                os.close(keeper_lock)
            if not nobody_keeps and postmaster.is_ready():
                return
            if time.monotonic() > until:
                raise CannotStart(
                    f"the database is not ready after {START_WAIT:.0f} seconds; it may still be recovering:"
                    f" look at {self.log} and start again"
                )
            time.sleep(0.02)

    def keep_kept(self) -> None:
        """Start the server again if its keeper is gone; returns at once while one is there."""
        if self._is_stopped():
            self.keep()

    def create_database(self, name: str) -> Urls:
        """Make another database with the same two roles (emptied first if it exists) and return its URLs."""
        with self._as_superuser("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._make_database(name)
        return self.urls(name)

    # --- starting -------------------------------------------------------------------------------

    def _start_keeper(self, keeper_lock: int) -> None:
        """Make the cluster if need be and start its keeper, which inherits `keeper_lock`."""
        account = accounts.for_cluster(self.cluster_folder)
        programs = binaries.find().for_account(account, self._home)
        if not self.cluster_folder.exists():
            self._make_cluster(programs, account)
        Postmaster(self.cluster_folder).retire()
        homes.refuse_other_version(self.cluster_folder, programs.major)
        settings = SERVER_SETTINGS | ({} if self.durable else NOT_DURABLE)
        settings["unix_socket_directories"] = str(homes.make_socket_folder(self._home, account))
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = [programs.program("postgres"), "-D", str(self.cluster_folder), "-p", str(PORT), *options]
        keeper = [sys.executable, "-m", "nexpura.runtime.keeper", str(self._home)]
        keeper += [str(account.uid), str(account.gid), str(keeper_lock), "--", *server]
        with homes.open_log(self.log) as log:
            subprocess.run(
                keeper,
                cwd=Path(__file__).parent.parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[keeper_lock],
                start_new_session=True,
                check=False,
            )

    def _make_cluster(self, programs: binaries.Binaries, account: Account) -> None:
        """Run initdb; the cluster appears whole or not at all."""
        unfinished, password_file = self._home / "data.new", self._home / "password.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password(SUPERUSER) + "\n")
        account.own(password_file)
        command = [programs.program("initdb"), "-D", str(unfinished), "-U", SUPERUSER, "-E", "UTF8", "--locale=C"]
        command += ["-A", "scram-sha-256", f"--pwfile={password_file}", "--no-instructions"]
        if programs.major >= 17:  # without ICU, C.UTF-8 gives right lower() beyond ASCII; older ones have only C
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            command.append("--no-sync")
        leashed = on_leash(command, at_parents_end=signal.SIGKILL, uid=account.uid, gid=account.gid)
        made = subprocess.run(
            leashed, env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        password_file.unlink()
        if made.returncode:
            with homes.open_log(self.log) as log:
                os.write(log.fileno(), (made.stdout + made.stderr).encode())
            raise CannotStart(self._why_not())
        unfinished.rename(self.cluster_folder)

    def _why_not(self) -> str:
        """Return one line on why the server did not start, from the end of its log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-40:]
        except FileNotFoundError:
            lines = []
        if any("No space left on device" in line for line in lines):
            return f"the disk is full: make room where {self._home} lies and start again"
        telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line or "rror:" in line]
        reason = f" ({telling[-1].partition(':  ')[2] or telling[-1]})" if telling else ""
        return f"the database does not start{reason}: see {self.log}"

    # --- roles and databases --------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make roles and database, once per cluster; every step may be repeated."""
        done = self._home / "prepared"
        if done.exists():
            return
        with locks.exclusive(self._home / "prepare.lock"):
            if done.exists():
                return
            with self._as_superuser("postgres") as connection:
                for role in (OWNER, APP):
                    _make_role(connection, role, self._password(role))
            self._make_database(DATABASE)
            done.touch(mode=0o600)

    def _make_database(self, name: str) -> None:
        database, owner, app = sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(APP)
        with self._as_superuser("postgres") as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not found:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            # TEMPORARY: bulk loads go through temporary tables.
            connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, app))
        with self._as_superuser(name) as connection:
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner))
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(app))

    def _as_superuser(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._url(SUPERUSER, database), autocommit=True)

    def _password(self, role: str) -> str:
        path = self.data_dir / "secrets" / f"{role}_password"
        if role == SUPERUSER and self.cluster_folder.exists() and not path.exists():
            raise CannotStart(f"{path} is missing, and without it nobody can manage {self.cluster_folder}: restore it")
        return secrets.password(path)

    def _url(self, role: str, database: str) -> str:
        folder = quote(str(homes.socket_folder(self._home)), safe="")
        return f"postgresql://{role}:{self._password(role)}@/{quote(database)}?host={folder}&port={PORT}"

    # --- who is there ---------------------------------------------------------------------------

    def _is_stopped(self) -> bool:
        return self._could(locks.try_exclusive, "keeper.lock")

    def _has_users(self) -> bool:
        """Whether somebody else uses the server: then a lock can be shared, but not had alone."""
        return not self._could(locks.try_exclusive, "users.lock") and self._could(locks.try_share, "users.lock")

    def _could(self, take: Callable[[int], bool], name: str) -> bool:
        descriptor = locks.open_lock(self._home / name)
        try:
            return take(descriptor)
        finally:
            os.close(descriptor)


def _make_role(connection: psycopg.Connection[tuple[Any, ...]], name: str, password: str) -> None:
    """Make a role that may sign in and nothing else, or give an existing one this password."""
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    verb = sql.SQL("ALTER" if found else "CREATE")
    # Sealed here, so that no log of statements can hold the password itself.
    sealed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    rights = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
    connection.execute(
        sql.SQL("{} ROLE {} {} PASSWORD {}").format(verb, sql.Identifier(name), rights, sql.Literal(sealed))
    )
