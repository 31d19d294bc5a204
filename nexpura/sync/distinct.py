"""Counting who is different among a million, in eight bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

PARTS = 256
"""So that counting needs room for one part of them only."""


class Distinct:
    """How many different members a listing showed; pages may overlap.

    Members are told apart by half of their id, an MD5: two that are alike would be counted as one, which makes a
    whole listing look incomplete, never an incomplete one whole.
    """

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(PARTS)]

    def add(self, member_ids: Iterable[str]) -> None:
        """Take ids of 32 hexadecimal digits."""
        for member_id in member_ids:
            half = int(member_id[:16], 16)
            self._parts[half % PARTS].append(half)

    def __len__(self) -> int:
        return sum(len(set(part)) for part in self._parts)
