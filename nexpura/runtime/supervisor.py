"""The parent of `nexpura up`: starts the parts, starts again any that ends, stops them in order.

It owns the signals: SIGTERM and Ctrl-C reach nobody but the parent, which stops web and worker first and lets
go of the database last. Should it be killed outright, the kernel tells its children (`leash`), and the database
ends with its last user (`keeper`).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from nexpura.runtime import postgres, secrets
from nexpura.runtime.errors import CannotStart
from nexpura.runtime.leash import on_leash
from nexpura.runtime.postgres import Urls

LOOK_EVERY = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
STEADY_AFTER = 30.0
"""Seconds after which a part that ends is not taken for one that cannot start."""
LET_GO_OF_PORT = 6.0
"""Seconds; the web server gives its own children five to end."""
LET_WORK_END = 12.0
"""Seconds between asking a part to stop and making it."""

NEXPURA = [sys.executable, "-m", "nexpura.cli"]


class Stop(BaseException):
    """SIGTERM or Ctrl-C came. Not an `Exception`: nothing on the way may take it for a failure."""


@dataclass(frozen=True)
class Part:
    """A program to keep running. `output` is a file for what it says; without one it says it on our own."""

    name: str
    argv: list[str]
    output: Path | None = None
    ready: Callable[[], bool] = lambda: True


def web(host: str, port: int, output: Path | None = None) -> Part:
    """Return the part that serves the pages."""
    argv = [*NEXPURA, "web", "--host", host, "--port", str(port)]
    return Part("web", argv, output, ready=lambda: answers(host, port))


def worker(output: Path | None = None) -> Part:
    """Return the part that carries out syncs."""
    return Part("worker", [*NEXPURA, "worker"], output)


def up(host: str, port: int, data_dir: Path | None) -> None:
    """Run web and worker until told to stop, with the embedded database of `data_dir` unless that is None."""
    await_port(host, port)
    environment = dict(os.environ)
    server = postgres.embedded(data_dir) if data_dir else nullcontext()
    with signals_stop_us(), suppress(Stop), server as cluster:
        if data_dir and cluster:
            furnish(environment, cluster.urls(postgres.DATABASE), secrets.keys(data_dir))
            say(f"Data is kept in {data_dir}.")
            migrate(environment)
            environment.pop("NEXPURA_MIGRATE_DATABASE_URL", None)  # web and worker are not the owner
        with running([web(host, port), worker()], environment) as parts:
            parts.until_ready()
            say(f"Open {url_of(host, port)} (Ctrl-C stops everything).")
            parts.watch(each_time=cluster.keep_kept if cluster else None)
    say("Stopped.")


def furnish(environment: MutableMapping[str, str], urls: Urls, keys: Mapping[str, str]) -> None:
    """Put into `environment` what the product needs to use this database; keys that are given stay."""
    environment["NEXPURA_DATABASE_URL"] = urls.app_url
    environment["NEXPURA_MIGRATE_DATABASE_URL"] = urls.owner_url
    for variable, key in keys.items():
        if not environment.get(variable):
            environment[variable] = key


def migrate(environment: Mapping[str, str]) -> None:
    """Bring the database to the shape of this version; the command says what is wrong where it fails."""
    command = on_leash([*NEXPURA, "migrate", "--verbosity", "0"], at_parents_end=signal.SIGTERM)
    if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, process_group=0, check=False).returncode:
        raise CannotStart("the database could not be brought to this version; the lines above say why")


@contextmanager
def signals_stop_us() -> Iterator[None]:
    """Within this block the first SIGTERM or Ctrl-C raises `Stop`, and further ones change nothing."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(parts: list[Part], environment: Mapping[str, str]) -> Iterator[Parts]:
    """Run `parts` for the length of the block; they are stopped together at its end."""
    family = Parts([_Run(part, dict(environment)) for part in parts])
    try:
        family.start()
        yield family
    finally:
        family.stop()


@dataclass
class Parts:
    """The parts that run, each a child process in a group of its own."""

    runs: list[_Run]

    def start(self) -> None:
        for run in self.runs:
            run.start()

    def until_ready(self, patience: float = 60.0) -> None:
        """Wait until every part answers; raises `CannotStart` if one ends instead."""
        until = time.monotonic() + patience
        for run in self.runs:
            while not run.part.ready():
                if run.has_ended():
                    raise CannotStart(f"{run.part.name} ended instead of starting{run.where_to_look()}")
                if time.monotonic() > until:
                    raise CannotStart(f"{run.part.name} does not answer{run.where_to_look()}")
                time.sleep(LOOK_EVERY / 2)

    def watch(self, each_time: Callable[[], object] | None = None) -> None:
        """Start again whatever ends, whatever its exit code; returns never, `Stop` ends it."""
        while True:
            time.sleep(LOOK_EVERY)
            self.look()
            if each_time:
                each_time()

    def look(self) -> None:
        """Start again whatever has ended, once its pause is over."""
        for run in self.runs:
            run.look()

    def stop(self) -> None:
        """Ask all to stop, wait, then make them."""
        for run in self.runs:
            run.ask()
        until = time.monotonic() + LET_WORK_END
        for run in self.runs:
            run.end(until)


@dataclass
class _Run:
    part: Part
    environment: dict[str, str]
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    again_at: float | None = field(default=None)

    def start(self) -> None:
        self.again_at = None
        self.started_at = time.monotonic()
        command = on_leash(self.part.argv, at_parents_end=signal.SIGTERM)
        with self.part.output.open("ab") if self.part.output else nullcontext() as output:
            self.child = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # a terminal's Ctrl-C is ours to handle
            )

    def has_ended(self) -> bool:
        return self.child is None or self.child.poll() is not None

    def look(self) -> None:
        """Start the part again if it has ended, after a pause that grows while it ends quickly."""
        if not self.has_ended():
            return
        now = time.monotonic()
        if self.again_at is None:
            self._sweep()
            self.pause = FIRST_PAUSE if now - self.started_at > STEADY_AFTER else min(self.pause * 2, LONGEST_PAUSE)
            self.again_at = now + self.pause
            code = self.child.returncode if self.child else None
            say(f"{self.part.name} ended (exit {code}); starting it again in {self.pause:.0f} s.")
        elif now >= self.again_at:
            self.start()

    def ask(self) -> None:
        if self.child and not self.has_ended():
            self.child.terminate()

    def end(self, until: float) -> None:
        if self.child is None:
            return
        try:
            self.child.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{self.part.name} takes too long to stop; it is made to.")
        self._sweep()
        self.child.wait()

    def where_to_look(self) -> str:
        return f": see {self.part.output}" if self.part.output else "; the lines above say why"

    def _sweep(self) -> None:
        """End whatever is left of the part: a killed server leaves its own children with the port."""
        if self.child:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL)


def answers(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((_reachable(host), port), timeout=1):
            return True
    except OSError:
        return False


def await_port(host: str, port: int) -> None:
    """Return when we can listen there; a house that was killed may need some seconds to let go of its port."""
    until = time.monotonic() + LET_GO_OF_PORT
    while answers(host, port) and time.monotonic() < until:
        time.sleep(LOOK_EVERY)
    refuse_taken_port(host, port)


def refuse_taken_port(host: str, port: int) -> None:
    """Raise `CannotStart` if we could not listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise CannotStart(f"port {port} is kept for root: choose one from 1024 up with --port") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CannotStart(f"port {port} is in use: choose another with --port") from None
            raise CannotStart(f"nothing can listen on {host}: choose an address of this machine with --host") from None


def url_of(host: str, port: int) -> str:
    """Return what to open in a browser on this machine."""
    reachable = _reachable(host)
    return f"http://[{reachable}]:{port}/" if ":" in reachable else f"http://{reachable}:{port}/"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # read, not bound


def say(line: str) -> None:
    """Tell the person at the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
