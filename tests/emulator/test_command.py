"""The command by itself, as a stranger starts it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailchimp_emulator.serve import Running

from .calling import Caller

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[2]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "mailchimp_emulator", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_prints_an_address_a_key_and_an_audience_that_work(tmp_path):
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps({"accounts": [{"dc": "us6", "lists": [{"id": "abc123def4", "name": "News"}]}]}))

    with start("--seed", str(seed)) as process:
        told = "".join(process.stdout.readline() for _ in range(3))
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", told)[1])
        key = re.search(r"\w{32}-us6", told)[0]
        heard = Caller(Running(port), key, dc="us6").ask("GET", "/lists/abc123def4")
        process.terminate()
        process.wait(20)

    assert "abc123def4" in told
    assert (heard.status, heard.body["name"]) == (200, "News")


@pytest.mark.parametrize(
    ("seed", "says"), [("{broken", "mailchimp-emulator: "), ('{"acounts": []}', "unknown key 'acounts'")]
)
def test_a_seed_that_is_not_understood_ends_the_command_with_one_line(tmp_path, seed, says):
    file = tmp_path / "seed.json"
    file.write_text(seed)

    with start("--seed", str(file)) as process:
        _, complaint = process.communicate(timeout=20)

    assert process.returncode == 1
    assert says in complaint
    assert len(complaint.splitlines()) == 1
