"""COVERAGE.md read as what it claims: calls, rules, the tests that show them, and recordings that are not followed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mailchimp_emulator

FILE = Path(mailchimp_emulator.__file__).with_name("COVERAGE.md")
ENDPOINTS = "Endpoints"
RULES = "Rules"
_NOT_FOLLOWED = "Recorded exchanges that are not followed"
_CALLS = re.compile(r"`((?:[A-Z]+ )+)(/[^`]*)`")
_SHOWN = re.compile(r"(test_\w+)(?:: (test_\w+(?:, test_\w+)*))?")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of a table: what is said, whether it is done, on which source, shown by which tests of which file."""

    ticked: bool
    what: str
    source: str
    shown_by: str

    @property
    def calls(self) -> list[str]:
        """Such as `GET /lists`, with several verbs if the row says so."""
        return [f"{verb} {path}" for verbs, path in _CALLS.findall(self.what) for verb in verbs.split()]

    @property
    def tests(self) -> list[tuple[str, tuple[str, ...]]]:
        """Test files, each with the functions named after it."""
        return [(file, tuple(names.split(", ")) if names else ()) for file, names in _SHOWN.findall(self.shown_by)]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A recorded exchange that is not followed."""

    why: str
    source: str


def claims(section: str) -> list[Claim]:
    return [Claim(row[0] == "✓", *row[1:]) for row in _rows(section) if len(row) == 4]


def not_followed() -> Mapping[str, Exclusion]:
    """By the name of the recording."""
    return {name.strip("`"): Exclusion(why, source) for name, why, source in _rows(_NOT_FOLLOWED)}


def _rows(section: str) -> Iterator[list[str]]:
    """The cells of the table below a heading that begins so."""
    _, _, text = FILE.read_text().partition(f"\n## {section}")
    rows = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return ([cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:])
