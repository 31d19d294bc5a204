"""Counting who is different among a million, and telling who is among them, in eight bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

PARTS = 256
"""So that counting needs room for one part of them only."""


class Distinct:
    """Which members a listing showed, each once; pages may overlap.

    Members are told apart by half of their id, an MD5: two that are alike would be counted as one, which makes a
    whole listing look incomplete, never an incomplete one whole.
    """

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(PARTS)]
        self._in_order = True

    def add(self, member_ids: Iterable[str]) -> None:
        """Take ids of 32 hexadecimal digits."""
        self._in_order = False
        for member_id in member_ids:
            half = _half(member_id)
            self._parts[half % PARTS].append(half)

    def __len__(self) -> int:
        return sum(len(set(part)) for part in self._parts)

    def __contains__(self, member_id: str) -> bool:
        if not self._in_order:
            self._parts = [array("Q", sorted(part)) for part in self._parts]
            self._in_order = True
        half = _half(member_id)
        part = self._parts[half % PARTS]
        place = bisect_left(part, half)
        return place < len(part) and part[place] == half


def _half(member_id: str) -> int:
    return int(member_id[:16], 16)
