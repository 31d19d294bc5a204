"""How many changes of one kind go into one call."""

from __future__ import annotations

import pytest

from nexpura.audience.plan import BULK_LIMIT, PLACES, bulk_size


@pytest.mark.parametrize(
    ("count", "size"),
    [(0, 0), (1, 1), (9, 1), (10, 2), (90, 10), (4_500, 500), (4_501, 500), (1_000_000, 500)],
)
def test_changes_are_shared_out_among_the_places_until_calls_are_full(count, size):
    assert bulk_size(count) == size


def test_no_call_is_larger_than_mailchimp_allows_and_none_more_is_made_than_needed():
    for count in range(1, 20_000, 37):
        size = bulk_size(count)
        assert size <= BULK_LIMIT
        assert -(-count // size) <= max(PLACES, -(-count // BULK_LIMIT))
