"""The reading of a run: the audience's own settings, then its members, or those that changed since the last reading."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import count

from nexpura.audience.desired import Terms
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.flight import as_they_come, both
from nexpura.mailchimp.member import MemberPage
from nexpura.sync import store
from nexpura.sync.database import from_db
from nexpura.sync.distinct import Distinct
from nexpura.sync.store import Begun
from nexpura.tenants import statistics

LEARNERS = 3
"""Pages taken into the mirror at once."""
PAGES_UNTIL_GROWN = 10
"""Pages after which PostgreSQL looks at what has grown."""


async def read_audience(run: Begun, mailchimp: MailchimpClient) -> Terms:
    """Read the audience's settings, then all of its members, or those that changed since the last reading."""
    audience, merge_fields = await both(mailchimp.audience(run.audience_id), mailchimp.merge_fields(run.audience_id))
    permissions = await mailchimp.permissions(run.audience_id) if audience.marketing_permissions else None
    reading, terms = await from_db(store.begin_reading)(run, audience, merge_fields, permissions)
    seen, totals = Distinct(), list[int]()
    began_at: datetime | None = None
    listing = mailchimp.members(run.audience_id, since=reading.since)
    async with aclosing(listing), aclosing(_learnt(run, listing)) as pages:
        async for page in pages:
            began_at = min(began_at, page.at) if began_at else page.at
            if reading.since is None:
                seen.add(member.id for member in page.members)
            totals.append(page.total_items)
    archived = mailchimp.members(run.audience_id, since=reading.since, status="archived")
    async with aclosing(archived), aclosing(_learnt(run, archived)) as pages:
        async for _ in pages:  # only this shows who was archived meanwhile
            continue
    if began_at is None:
        raise errors.UnexpectedReply(0, "The listing has no page")
    complete = _is_complete(len(seen), totals)
    await from_db(store.reading_ended)(run, reading, began_at=began_at - timedelta(seconds=1), complete=complete)
    return terms


def _is_complete(seen: int, totals: Sequence[int]) -> bool:
    """Tell whether the listing has shown everybody: nobody was deleted while it was read, whoever may have joined.

    Those who join come last and move nobody. A deletion pulls somebody over the edge of a page, and shows in a total
    below the first page's, or in fewer members than the largest total tells.
    """
    return bool(totals) and min(totals) == totals[0] and seen >= max(totals)


async def _learnt(run: Begun, pages: AsyncIterable[MemberPage]) -> AsyncGenerator[MemberPage, None]:
    """Take pages into the mirror, a few at once, while the next are read; yields each when that is done."""

    async def learn(numbered: tuple[int, MemberPage]) -> MemberPage:
        number, page = numbered
        await from_db(store.learn)(run, page.members)
        if number % PAGES_UNTIL_GROWN == 0:
            await from_db(statistics.take)()
        return page

    numbers = count(1)
    jobs = ((None, (next(numbers), page)) async for page in pages)
    async with aclosing(as_they_come(jobs, learn, at_most=LEARNERS)) as learnt:
        async for _, page in learnt:
            yield page
