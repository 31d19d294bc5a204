"""Drift: what a whole reading shows otherwise than it was known, though no reading of changes would have shown it.

Kept as JSON: `{"complete": whether the listing showed everybody, "found": {kind: {"members": how many,
"customers": ids of a few customers with these addresses}}}`. Each address counts under one kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CUSTOMERS_TOLD = 5
"""Customers that are named of each kind."""


class Kind(StrEnum):
    """What was otherwise, the gravest first: who differs in several ways counts under the first of them."""

    UNKNOWN = "unknown"
    STATUS = "status"
    GONE = "gone"
    DETAILS = "details"
    TAGS = "tags"


WORDS: Mapping[Kind, str] = {
    Kind.UNKNOWN: "in the audience, and not known here",
    Kind.STATUS: "with another status than was known here: subscribed, unsubscribed and the like",
    Kind.GONE: "no longer in the audience: deleted in Mailchimp",
    Kind.DETAILS: "with other names or numbers than were known here",
    Kind.TAGS: "with other tags than were known here",
}
"""What to say of the members of each kind."""

UNTOLD = (
    "Who is no longer in the audience could not be told this time: it changed while it was being read, or the reading "
    "was broken off. The next whole reading tells."
)
Found = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """How many members drifted in one way, in words."""

    words: str
    members: int
    customer_ids: tuple[int, ...]


def merged(one: Found, other: Found) -> dict[str, dict[str, Any]]:
    """Return what both found together."""
    return {
        kind.value: {
            "members": sum(found[kind]["members"] for found in (one, other) if kind in found),
            "customers": _few(
                [number for found in (one, other) if kind in found for number in found[kind]["customers"]]
            ),
        }
        for kind in Kind
        if kind in one or kind in other
    }


def _few(customer_ids: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(customer_ids))[:CUSTOMERS_TOLD]


def lines(drift: Mapping[str, Any] | None) -> list[Line]:
    """Return what a run's `drift` says, a line a kind; none if nothing was found, or nothing compared."""
    found = drift["found"] if drift else {}
    return [
        Line(words, found[kind]["members"], tuple(found[kind]["customers"]))
        for kind, words in WORDS.items()
        if kind in found
    ]


def caveats(drift: Mapping[str, Any] | None) -> list[str]:
    """Return what the reading could not tell."""
    return [] if drift is None or drift["complete"] else [UNTOLD]


def members(drift: Mapping[str, Any] | None) -> int:
    """Return how many members were otherwise than they were known."""
    return sum(line.members for line in lines(drift))
