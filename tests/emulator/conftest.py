"""One emulator for all these tests, emptied before each."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailchimp_emulator.serve import Running, running

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
