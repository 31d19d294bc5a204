"""Whether a listing has shown everybody, by what its pages say."""

from __future__ import annotations

import pytest

from nexpura.sync.distinct import Distinct
from nexpura.sync.reading import _is_complete


@pytest.mark.parametrize(
    ("what", "seen", "totals", "complete"),
    [
        ("nothing happened", 3_000, [3_000] * 3, True),
        ("an empty audience", 0, [0], True),
        ("somebody joined meanwhile and was seen", 3_001, [3_000, 3_000, 3_001], True),
        ("somebody joined meanwhile and was not seen", 3_000, [3_000, 3_000, 3_001], False),
        ("somebody was deleted, and another pulled over an edge", 2_999, [3_000, 2_999, 2_999], False),
        ("somebody was deleted after the last edge", 3_000, [3_000, 3_000, 2_999], False),
        ("one joined, one was deleted, another pulled over an edge", 3_000, [3_000, 3_001, 3_000], False),
        ("one was deleted, then one joined", 3_000, [3_000, 2_999, 3_000], False),
        ("pages that overlap without anybody missing", 3_000, [3_000] * 4, True),
        ("no page at all", 0, [], False),
    ],
)
def test_nobody_is_taken_for_absent_by_a_listing_somebody_was_deleted_from(what, seen, totals, complete):
    assert _is_complete(seen, totals) is complete


def test_members_shown_twice_count_once():
    seen = Distinct()
    seen.add(f"{number * 7919:032x}"[::-1] for number in range(1_000))
    seen.add(f"{number * 7919:032x}"[::-1] for number in range(500, 1_500))

    assert len(seen) == 1_500
