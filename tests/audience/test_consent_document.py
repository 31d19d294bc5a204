"""`docs/consent.md` names only tests there are."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "consent.md").read_text().splitlines()
ROWS = [line.strip("|").rsplit("|", 1) for line in LINES if line.startswith("| ") and not line.startswith("| rule")]


@pytest.mark.parametrize(("rule", "shown_by"), ROWS, ids=lambda text: text[:50])
def test_every_rule_is_shown_by_tests_there_are(rule, shown_by):
    for named in shown_by.split(";"):
        place, _, tests = named.partition(":")
        text = (ROOT / "tests" / f"{place.strip()}.py").read_text()

        for name in filter(None, (name.strip() for name in tests.split(","))):
            assert re.search(rf"def {name}\(", text), f"{rule}: there is no {name} in {place}"


def test_every_rule_stands_in_a_table():
    stray = [line for before, line in pairwise(LINES) if line.startswith("| ") and not before.startswith("|")]

    assert set(stray) == {"| rule | shown by |"}


def test_no_rule_is_told_twice():
    rules = [rule for rule, _ in ROWS]

    assert len(set(rules)) == len(rules)


def test_there_are_rules():
    assert len(ROWS) > 30
