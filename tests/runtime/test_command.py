"""The command `nexpura`: help without a database, one line where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexpura import cli

from .users import HERE


def nexpura(*argv: str, told: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which sees only these NEXPURA_ variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEXPURA_")}
    return subprocess.run(
        [sys.executable, "-m", "nexpura.cli", *argv],
        env=kept | environment,
        cwd=HERE,
        input=told,
        capture_output=True,
        text=True,
        check=False,
    )


def told_in_one_line(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("nexpura: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_help_lists_every_command_with_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nexpura", "--help"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"  {name} " in said and what in said for name, what in cli.COMMANDS.items())


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_without_a_database(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NEXPURA_DATA_DIR", str(tmp_path / "never-made"))
    monkeypatch.setattr(sys, "argv", ["nexpura", name, "--help"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: nexpura {name} ")
    assert not (tmp_path / "never-made").exists()


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nexpura", "snyc"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == "nexpura: there is no command snyc; nexpura --help lists them\n"


KEYS = {"NEXPURA_SECRET_KEY": "s" * 50, "NEXPURA_ENCRYPTION_KEYS": "A" * 43 + "="}
NOBODY_ANSWERS = "postgresql://shop@127.0.0.1:1/shop"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("environment", "named"),
    [
        (KEYS | {"NEXPURA_DATABASE_URL": "mysql://shop@db.example/shop"}, "NEXPURA_DATABASE_URL must"),
        ({"NEXPURA_DATABASE_URL": NOBODY_ANSWERS}, "NEXPURA_SECRET_KEY is not set"),
        (
            KEYS | {"NEXPURA_DATABASE_URL": NOBODY_ANSWERS, "NEXPURA_ENCRYPTION_KEYS": "c2hvcnQ="},
            "NEXPURA_ENCRYPTION_KEYS must",
        ),
        (KEYS | {"NEXPURA_DATABASE_URL": NOBODY_ANSWERS}, "the database does not answer"),
        ({"NEXPURA_DATA_DIR": "/dev/null"}, "mend NEXPURA_DATA_DIR"),
    ],
    ids=["not PostgreSQL", "no secret key", "short key", "no answer", "no folder"],
)
def test_a_bad_setting_is_one_line_that_names_it(environment: dict[str, str], named: str) -> None:
    ended = nexpura("status", "--tenant", "shop", **environment)

    assert named in told_in_one_line(ended)


@pytest.mark.processes
def test_a_command_alone_brings_its_own_database_migrated_and_keeps_what_it_did(data_dir: Path) -> None:
    place = {"NEXPURA_DATA_DIR": str(data_dir)}

    made = nexpura("createtenant", "--slug", "shop", "--name", "A Shop", **place)
    asked = nexpura("status", "--tenant", "shop", "--json", **place)
    refused = nexpura("import-customers", "no.csv", "--tenant", "nobody", **place)

    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads(asked.stdout)["status"] == "never connected"
    assert "there is no tenant nobody" in told_in_one_line(refused)
