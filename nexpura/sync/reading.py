"""The reading of a run: the audience's own settings, then its members, or those that changed since the last reading."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from nexpura.audience.address import address_of
from nexpura.audience.desired import Terms
from nexpura.audience.plan import PLACES
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.flight import as_they_come, both
from nexpura.mailchimp.member import Member, MemberPage, subscriber_hash
from nexpura.sync import store
from nexpura.sync.database import from_db
from nexpura.sync.distinct import Distinct
from nexpura.sync.store import Begun, Expectation, Reading
from nexpura.tenants import statistics

LEARNERS = 3
"""Pages taken into the mirror at once."""
PAGES_UNTIL_GROWN = 10
"""Pages after which PostgreSQL looks at what has grown."""
STRANGERS_ASKED_ABOUT = 20
"""Members the book does not know who are asked about singly before a listing is believed that others are gone."""
ASKED_ABOUT_AT_ONCE = 200
"""Members asked about before it is told what became of them."""


async def read_audience(run: Begun, mailchimp: MailchimpClient) -> Terms:
    """Read the audience's settings, then all of its members, or those that changed since the last reading."""
    audience, merge_fields = await both(mailchimp.audience(run.audience_id), mailchimp.merge_fields(run.audience_id))
    permissions = await mailchimp.permissions(run.audience_id) if audience.marketing_permissions else None
    reading, terms = await from_db(store.begin_reading)(run, audience, merge_fields, permissions)
    listing = await _listed(run, mailchimp, reading)
    archived = await _listed(run, mailchimp, reading, status="archived")  # only this shows who was archived meanwhile
    if listing.began_at is None:
        raise errors.UnexpectedReply(0, "The listing has no page")
    began_at, complete = listing.began_at - timedelta(seconds=1), listing.is_complete
    if reading.expected and complete:
        complete = archived.is_complete and await _settle_gone(
            run, mailchimp, (listing.seen, archived.seen), began_at, reading.expected
        )
    await from_db(store.reading_ended)(run, reading, began_at=began_at, complete=complete)
    return terms


@dataclass
class _Listing:
    """What one listing has shown. Members are told apart by address: old ids may be made of it otherwise."""

    seen: Distinct = field(default_factory=Distinct)
    totals: list[int] = field(default_factory=list)
    began_at: datetime | None = None
    """Mailchimp's clock at the first page."""

    @property
    def is_complete(self) -> bool:
        return _is_complete(len(self.seen), self.totals)


async def _listed(run: Begun, mailchimp: MailchimpClient, reading: Reading, *, status: str = "") -> _Listing:
    listed = _Listing()
    listing = mailchimp.members(run.audience_id, since=reading.since, status=status)
    async with aclosing(listing), aclosing(_learnt(run, listing, reading.expected)) as pages:
        async for page in pages:
            listed.began_at = min(listed.began_at, page.at) if listed.began_at else page.at
            if reading.since is None:
                listed.seen.add(subscriber_hash(address_of(member.address)) for member in page.members)
            listed.totals.append(page.total_items)
    return listed


def _is_complete(seen: int, totals: Sequence[int]) -> bool:
    """Tell whether the listing has shown everybody: nobody was deleted while it was read, whoever may have joined.

    Those who join come last and move nobody. A deletion pulls somebody over the edge of a page, and shows in a total
    below the first page's, or in fewer members than the largest total tells.
    """
    return bool(totals) and min(totals) == totals[0] and seen >= max(totals)


async def _learnt(
    run: Begun, pages: AsyncIterable[MemberPage], expected: Expectation | None
) -> AsyncGenerator[MemberPage, None]:
    """Take pages into the mirror, a few at once, while the next are read; yields each when that is done."""

    async def learn(numbered: tuple[int, MemberPage]) -> MemberPage:
        number, page = numbered
        await from_db(store.learn)(run, page.members, expected)
        if number % PAGES_UNTIL_GROWN == 0:
            await from_db(statistics.take)()
        return page

    numbers = count(1)
    jobs = ((None, (next(numbers), page)) async for page in pages)
    async with aclosing(as_they_come(jobs, learn, at_most=LEARNERS)) as learnt:
        async for _, page in learnt:
            yield page


async def _settle_gone(
    run: Begun, mailchimp: MailchimpClient, shown: Sequence[Distinct], began_at: datetime, expected: Expectation
) -> bool:
    """Know those for absent whom complete listings did not show; False if they have missed somebody after all.

    A listing alone proves too little where something follows from it: whoever the book has to do with is asked about
    singly. Of the others the first few are, so that a listing gone wrong is found out.
    """
    after, strangers = "", 0
    while (step := await from_db(store.missing)(run, shown, began_at, after)) is not None:
        first = step.others[: STRANGERS_ASKED_ABOUT - strangers]
        strangers += len(first)
        asked = [*first, *step.of_the_book]
        for start in range(0, len(asked), ASKED_ABOUT_AT_ONCE):
            gone, there = await _asked_about(run, mailchimp, asked[start : start + ASKED_ABOUT_AT_ONCE])
            await from_db(store.gone)(run, gone, began_at)
            await from_db(store.learn)(run, there, expected)
            if any(member.last_changed < began_at for member in there):
                return False
        await from_db(store.gone)(run, step.others[len(first) :], began_at)
        after = step.last
    return True


async def _asked_about(
    run: Begun, mailchimp: MailchimpClient, addresses: Iterable[str]
) -> tuple[list[str], list[Member]]:
    """Ask about members singly; returns the addresses where nobody is, and who is there."""

    async def look(address: str) -> Member | None:
        try:
            return await mailchimp.member(run.audience_id, address)
        except errors.NotFound:
            return None

    gone, there = list[str](), list[Member]()
    async with aclosing(as_they_come(_each(addresses), look, at_most=PLACES)) as looks:
        async for address, member in looks:
            if member is None:
                gone.append(address)
            else:
                there.append(member)
    return gone, there


async def _each(addresses: Iterable[str]) -> AsyncIterator[tuple[str, str]]:
    for address in addresses:
        yield address, address
