"""The parent of `nexpura up`: what ends is started again, what is told to stop stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nexpura.runtime import supervisor
from nexpura.runtime.errors import CannotStart
from nexpura.runtime.postmaster import Postmaster
from nexpura.runtime.supervisor import Part, Stop

from .users import HERE, until

pytestmark = pytest.mark.processes


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def lived_in(new_data_dir: Callable[[], Path]) -> Path:
    """A data directory for every house here: making and migrating a database takes seconds."""
    return new_data_dir()


@contextmanager
def house(data_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A `nexpura up` that serves, with what it says on its standard output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXPURA_")}
    environment["NEXPURA_DATA_DIR"] = str(data_dir)
    command = [*supervisor.NEXPURA, "up", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=HERE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            assert any("Open http://" in line for line in parent.stdout)
            yield parent
        finally:
            parent.terminate()


def children(pid: int) -> dict[str, int]:
    """The parts of a parent, by the command they carry out."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            found.update({name: int(child) for name in ("web", "worker") if name in words})
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_up_starts_again_what_is_killed_and_leaves_nothing_behind_when_it_is_told_to_stop(
    lived_in: Path, port: int
) -> None:
    server = Postmaster(lived_in / "postgres" / "data")
    with house(lived_in, port) as parent:
        first = children(parent.pid)

        for pid in (server.pid(), first["web"], first["worker"]):
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        until(lambda: children(parent.pid).keys() == first.keys() and serves(port), seconds=60)
        second = children(parent.pid)
        parent.terminate()
        said = parent.communicate()[0]

    assert not set(first.values()) & set(second.values())
    assert parent.returncode == 0
    assert said.endswith("Stopped.\n")
    assert not server.is_alive()
    assert not any(map(is_alive, second.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_after_kill_9_of_up_nothing_of_it_goes_on(lived_in: Path, port: int) -> None:
    server = Postmaster(lived_in / "postgres" / "data")
    with house(lived_in, port) as parent:
        parts = children(parent.pid)
        assert server.is_alive()

        parent.kill()

        until(lambda: not server.is_alive() and not any(map(is_alive, parts.values())), seconds=30)
        until(lambda: not serves(port))


@pytest.mark.parametrize("code", [0, 1])
def test_a_part_that_ends_is_started_again_whatever_its_exit_code(tmp_path: Path, code: int) -> None:
    seen = tmp_path / "starts"
    part = Part("short", python(f"open({str(seen)!r}, 'a').write('x'); raise SystemExit({code})"))

    def enough() -> None:
        if seen.exists() and len(seen.read_text()) > 1:
            raise Stop

    with supervisor.running([part], os.environ) as parts, pytest.raises(Stop):
        parts.watch(each_time=enough)

    assert seen.read_text().startswith("xx")


def test_a_part_that_ends_instead_of_starting_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    part = Part("web", python("raise SystemExit('no')"), output=log, ready=lambda: False)

    with (
        supervisor.running([part], os.environ) as parts,
        pytest.raises(CannotStart, match=f"web ended instead of starting: see {log}"),
    ):
        parts.until_ready()

    assert log.read_text() == "no\n"


def test_a_part_that_does_not_stop_is_made_to_with_all_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LET_WORK_END", 0.5)
    pids = tmp_path / "pids"
    deaf = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); "
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(600)"
    )

    with supervisor.running([Part("deaf", python(deaf))], os.environ):
        until(lambda: pids.exists() and len(pids.read_text().split()) == 2)

    until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_a_port_in_use_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotStart, match=f"port {port} is in use: choose another with --port"):
            supervisor.refuse_taken_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_in_one_line() -> None:
    with pytest.raises(CannotStart, match="choose an address of this machine with --host"):
        supervisor.refuse_taken_port("192.0.2.1", 8000)


def test_sigterm_stops_us_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with supervisor.signals_stop_us(), pytest.raises(Stop):
        twice()

    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
