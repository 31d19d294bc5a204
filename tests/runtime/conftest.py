"""Data directories that the database's user can reach, and other processes that use one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .users import server_of, user_of


@pytest.fixture(scope="module")
def new_data_dir() -> Iterator[Callable[[], Path]]:
    """Makes empty folders that everybody may pass through (pytest's own are closed to root's lesser user)."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="nexpura-test-"))
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def data_dir(new_data_dir: Callable[[], Path]) -> Path:
    return new_data_dir()


@pytest.fixture
def another_user() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts processes that hold the server of a data directory until their standard input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start(data_dir: Path) -> subprocess.Popen[str]:
        user = user_of(data_dir)
        started.append(user)
        assert server_of(user)
        return user

    yield start
    for user in started:
        # Leaves in good order, so that no server is still at work in the folder that is taken away next.
        user.communicate()
