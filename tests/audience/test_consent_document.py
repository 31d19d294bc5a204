"""`docs/consent.md` names only tests there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line.strip("|").rsplit("|", 1)
    for line in (ROOT / "docs" / "consent.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| rule")
]


@pytest.mark.parametrize(("rule", "shown_by"), ROWS, ids=lambda text: text[:50])
def test_every_rule_is_shown_by_tests_there_are(rule, shown_by):
    for named in shown_by.split(";"):
        place, _, tests = named.partition(":")
        text = (ROOT / "tests" / f"{place.strip()}.py").read_text()

        for name in filter(None, (name.strip() for name in tests.split(","))):
            assert re.search(rf"def {name}\(", text), f"{rule}: there is no {name} in {place}"


def test_there_are_rules():
    assert len(ROWS) > 30
