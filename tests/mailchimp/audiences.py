"""Words the tests of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import Call

AUDIENCE = "a1b2c3d4e5"


def joining(number: int) -> Call:
    """The call by which customer `number` joins."""
    return calls.upsert(
        AUDIENCE,
        f"c{number}@inbox.example",
        merge_fields={"FNAME": f"Name{number}"},
        status_if_new="subscribed",
    )


async def numbered(jobs: Iterable[Call]) -> AsyncIterator[tuple[int, Call]]:
    for number, call in enumerate(jobs, start=1):
        yield number, call
