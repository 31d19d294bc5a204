"""Keys and passwords: made once, closed to others."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from nexpura.runtime import secrets
from nexpura.runtime.errors import CannotStart


def test_keys_are_made_once_and_are_the_same_ever_after(tmp_path: Path) -> None:
    first = secrets.keys(tmp_path)

    assert secrets.keys(tmp_path) == first
    assert len(base64.urlsafe_b64decode(first["NEXPURA_ENCRYPTION_KEYS"])) == 32
    assert len(first["NEXPURA_SECRET_KEY"]) >= 50


def test_two_data_directories_have_different_keys(tmp_path: Path) -> None:
    one, two = secrets.keys(tmp_path / "one"), secrets.keys(tmp_path / "two")

    assert not set(one.values()) & set(two.values())


def test_keys_are_closed_to_other_users(tmp_path: Path) -> None:
    secrets.keys(tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()}
    assert modes == {"secret_key": 0o600, "encryption_keys": 0o600, ".lock": 0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_mend(tmp_path: Path, mode: int) -> None:
    secrets.keys(tmp_path)
    path = tmp_path / "secrets" / "encryption_keys"
    path.chmod(mode)

    with pytest.raises(CannotStart, match=f"chmod 600 {path}"):
        secrets.keys(tmp_path)
