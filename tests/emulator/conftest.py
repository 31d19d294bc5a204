"""One emulator for all these tests, emptied before each."""

from collections.abc import Iterator

import pytest

from mailchimp_emulator.serve import Running, running

from .calling import Caller, world


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
