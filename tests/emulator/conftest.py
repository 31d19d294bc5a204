"""One emulator for all these tests, emptied before each; and how it fared against the recordings, told at the end."""

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailchimp_emulator.serve import Running, running

from . import tapes
from .calling import Caller, world
from .receiving import Receiver, receiving


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Running) -> Running:
    """The emulator at noon with one key and one empty audience."""
    world(server)
    return server


@pytest.fixture
def shop(emulator: Running) -> Caller:
    return Caller(emulator)


@pytest.fixture(autouse=True)
def no_trace_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the emulator or the server below it cannot handle is logged with a trace; no test may bring it there."""
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    traces = [record for record in records if record.levelno >= logging.ERROR]
    assert not traces, "\n".join(record.getMessage() for record in traces)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of the recordings were played and came out the same."""
    played = {
        outcome: sum(
            report.when == "call" and "::test_a_recorded_exchange_comes_out_the_same[" in report.nodeid
            for report in terminalreporter.getreports(outcome)
        )
        for outcome in ("passed", "failed")
    }
    asked_for = any(
        "test_recordings.py::" in getattr(report, "nodeid", "")
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.getreports(outcome)
    )
    if asked_for and not tapes.TAPES.is_dir():
        terminalreporter.write_line(
            f"NO RECORDINGS: {tapes.TAPES} is not there; the emulator was NOT held against Mailchimp",
            red=True,
            bold=True,
        )
    elif asked_for:
        terminalreporter.write_line(tapes.summary(**played), red=bool(played["failed"]), green=not played["failed"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A URL that takes what webhooks send."""
    with receiving() as found:
        yield found


Touched = tuple[str, tuple[Any, ...]]
_touched: list[list[Touched]] = []  # one list while somebody watches


def _note(event: str, args: tuple[Any, ...]) -> None:
    if _touched and event in ("socket.connect", "socket.getaddrinfo"):
        _touched[0].append((event, args[1] if event == "socket.connect" else args[:2]))


sys.addaudithook(_note)


@pytest.fixture
def watched(emulator: Running) -> Iterator[Callable[[], list[Touched]]]:
    """The connections of this process and the names it looked up since, without those to the emulator itself."""
    noted: list[Touched] = []
    _touched.append(noted)
    yield lambda: [(event, address) for event, address in noted if emulator.port not in address]
    _touched.clear()
