"""One run, whole: bring one audience to what its customers and their consent say it should be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError

from nexpura.audience.desired import Terms
from nexpura.audience.diff import MAILABLE
from nexpura.audience.member import Status
from nexpura.audience.plan import Ask, Change, OptOut, Undo
from nexpura.mailchimp import errors
from nexpura.mailchimp.calls import Call
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import Member
from nexpura.mailchimp.result import Deferred, Refused, Result
from nexpura.sync import endings, line, listen, store
from nexpura.sync.clock import Clock
from nexpura.sync.database import from_db
from nexpura.sync.dispatch import call_for
from nexpura.sync.store import Begun, Busy, Over, RunLostError, Work
from nexpura.tenants.vault import CannotOpen

logger = logging.getLogger(__name__)

CLEARED_FOR = 5.0
"""Seconds a cleared change may wait before gate, token and lease are asked again."""
AT_ONCE = 18
"""Changes cleared together: two rounds of the nine places."""
SETTLE_EVERY = 0.3
"""Seconds after which results are settled, however few."""
GIVE_UP_AFTER = 27
"""Changes put off one after the other after which Mailchimp is taken to be away."""
DRAIN = 5.0
"""Seconds that calls under way are waited for when this process is told to stop."""
GIVING = ("add", "update", "undo", "move", "ask")
TAKING = ("opt_out",)
TAGGING = ("retag",)
"""Last: a call a person, however many, and nothing that consent waits for."""


async def run_sync(run_id: int, *, clock: Clock) -> Busy | Over | None:
    """Carry out a run to its end, whatever the end is; `Busy` if it has to wait for its turn.

    Raises only what makes another try by the same job right: a lost database, or our own shutdown, before
    which the run is put back into the queue.
    """
    begun = await from_db(store.begin)(run_id)
    if not isinstance(begun, Begun):
        return begun
    await from_db(listen.see_to_tenant)(begun.tenant_id, clock.now(), attended=not begun.unattended)
    async with line.to_mailchimp(ApiKey.parse(begun.key_text)) as mailchimp:
        stopping = asyncio.Event()
        work = asyncio.create_task(_to_an_ending(begun, mailchimp, clock, stopping))
        pulse = asyncio.create_task(_pulse(begun, mailchimp, work))
        try:
            ending = await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():  # by the pulse: cancelled, disconnected or taken over
                ending = endings.CANCELLED
            else:
                await _leave(begun, mailchimp, work, stopping)
                raise
        finally:
            pulse.cancel()
        if ending is None:
            return None
        await from_db(store.finish)(
            begun, ending, requests=mailchimp.requests, unanswered=mailchimp.unanswered > 0, now=clock.now()
        )
        logger.info("run %s of tenant %s: %s %s", begun.id, begun.tenant_id, ending.status, ending.code)
    return None


async def _leave(
    run: Begun, mailchimp: MailchimpClient, work: asyncio.Task[store.Ending | None], stopping: asyncio.Event
) -> None:
    """Stop sending, wait a little for what is under way, and put the run back for the next worker."""
    stopping.set()
    await asyncio.wait({work}, timeout=DRAIN)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    await from_db(store.put_back)(run, unanswered=mailchimp.unanswered > 0)


async def _to_an_ending(
    run: Begun, mailchimp: MailchimpClient, clock: Clock, stopping: asyncio.Event
) -> store.Ending | None:
    """Return how the run ended; None if it was left in the middle because this process is told to stop."""
    try:
        return await _carry_out(run, mailchimp, clock, stopping)
    except RunLostError:
        return endings.CANCELLED
    except errors.MailchimpError as error:
        return endings.of(error)
    except CannotOpen:
        return endings.CANNOT_TELL
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("run %s of tenant %s failed", run.id, run.tenant_id)
        return endings.INTERNAL


async def _carry_out(
    run: Begun, mailchimp: MailchimpClient, clock: Clock, stopping: asyncio.Event
) -> store.Ending | None:
    terms = await _read_audience(run, mailchimp)
    await from_db(store.settle_landed)(run, clock.now())
    horizon = await from_db(store.mark_due)(run, terms, clock.now())
    last: str | None = None
    while (last := await from_db(store.decide_chunk)(run, terms, clock.now(), horizon, last)) is not None:
        continue
    plan = await from_db(store.plan_of)(run)
    await _send(run, mailchimp, clock, terms, GIVING, stopping)
    if run.unattended and plan.needs_a_person:
        return endings.stopped_by_brake(plan)
    await _send(run, mailchimp, clock, terms, TAKING, stopping)
    await _send(run, mailchimp, clock, terms, TAGGING, stopping)
    return None if stopping.is_set() else endings.SUCCEEDED


async def _read_audience(run: Begun, mailchimp: MailchimpClient) -> Terms:
    """Read the audience's settings, then all of its members, or those that changed since the last reading."""
    audience = await mailchimp.audience(run.audience_id)
    merge_fields = await mailchimp.merge_fields(run.audience_id)
    permissions = await mailchimp.permissions(run.audience_id) if audience.marketing_permissions else None
    reading, terms = await from_db(store.begin_reading)(run, audience, merge_fields, permissions)
    seen: set[str] = set()
    totals: set[int] = set()
    began_at: datetime | None = None
    async with aclosing(mailchimp.members(run.audience_id, since=reading.since)) as pages:
        async for page in pages:
            began_at = min(began_at, page.at) if began_at else page.at
            if reading.since is None:
                seen.update(member.id for member in page.members)
            totals.add(page.total_items)
            await from_db(store.learn)(run, page.members)
    async with aclosing(mailchimp.members(run.audience_id, since=reading.since, status="archived")) as pages:
        async for page in pages:  # only this shows who was archived meanwhile
            await from_db(store.learn)(run, page.members)
    complete = totals == {len(seen)}
    if began_at is None:
        raise errors.UnexpectedReply(0, "The listing has no page")
    await from_db(store.reading_ended)(run, reading, began_at=began_at - timedelta(seconds=1), complete=complete)
    return terms


async def _send(
    run: Begun,
    mailchimp: MailchimpClient,
    clock: Clock,
    terms: Terms,
    kinds: tuple[str, ...],
    stopping: asyncio.Event,
) -> None:
    """Send what is planned of these kinds; results are settled in batches while the next calls are under way."""
    batch: list[tuple[Work, Result]] = []
    settling: asyncio.Future[None] = asyncio.ensure_future(_settle(run, clock, ()))
    put_off, settled_at = 0, time.monotonic()
    try:
        async with aclosing(mailchimp.send_all(_cleared(run, mailchimp, clock, terms, kinds, stopping))) as results:
            async for work, result in results:
                batch.append((work, result))
                put_off = put_off + 1 if isinstance(result, Deferred) else 0
                if put_off >= GIVE_UP_AFTER:
                    raise errors.TryLater(0, "Mailchimp does not answer")
                if len(batch) >= AT_ONCE or time.monotonic() - settled_at > SETTLE_EVERY:
                    await settling
                    settling, batch = asyncio.ensure_future(_settle(run, clock, batch)), []
                    settled_at = time.monotonic()
    finally:
        # Whatever ends the sending, what is known of it is kept.
        await settling
        await _settle(run, clock, batch)


async def _settle(run: Begun, clock: Clock, results: Sequence[tuple[Work, Result]]) -> None:
    if results:
        await from_db(store.settle)(run, results, clock.now())


async def _cleared(
    run: Begun,
    mailchimp: MailchimpClient,
    clock: Clock,
    terms: Terms,
    kinds: tuple[str, ...],
    stopping: asyncio.Event,
) -> AsyncIterator[tuple[Work, Call]]:
    """Yield changes whose gate, token and lease were asked less than five seconds before."""
    while not stopping.is_set() and (works := await from_db(store.cleared)(run, kinds, AT_ONCE)):
        asked_at = time.monotonic()
        while works and not stopping.is_set():
            if time.monotonic() - asked_at > CLEARED_FOR:
                await from_db(store.give_back)(run, works)
                break
            work = works.pop(0)
            if await _may_be_sent(run, mailchimp, clock, work):
                yield work, call_for(work.change, run.audience_id, work.address, terms)


async def _may_be_sent(run: Begun, mailchimp: MailchimpClient, clock: Clock, work: Work) -> bool:
    """Look at the member once more before a call that overwrites what the person may have said meanwhile.

    An undo goes ahead only where nobody acted since our opt-out, a question only to somebody who is still not mailed,
    an opt-out of somebody of whom nothing is known only where there is a member who is.
    """
    if not isinstance(work.change, Undo | Ask) and not _is_about_an_unknown(work.change):
        return True
    try:
        member = await mailchimp.member(run.audience_id, work.address)
    except errors.NotFound as gone:
        await _settle(run, clock, [(work, Refused(gone))])
        return False
    if _is_as_it_should_be(work.change, member):
        return True
    await from_db(store.settle_touched)(run, work, member)
    return False


def _is_about_an_unknown(change: Change) -> bool:
    return isinstance(change, OptOut) and change.before is Status.ABSENT


def _is_as_it_should_be(change: Change, member: Member) -> bool:
    if isinstance(change, OptOut):
        return Status(member.status) in MAILABLE
    untouched = not isinstance(change, Undo) or member.last_changed == change.unchanged_since
    return member.status == Status.UNSUBSCRIBED and untouched


async def _pulse(run: Begun, mailchimp: MailchimpClient, work: asyncio.Task[store.Ending | None]) -> None:
    """Show that the run lives; stop its work when it is no longer ours to do."""
    while True:
        await asyncio.sleep(settings.NEXPURA_HEARTBEAT)
        try:
            await from_db(store.beat)(run, mailchimp.requests)
        except RunLostError:
            work.cancel()
            return
        except (OperationalError, InterfaceError):
            continue  # the database is away: the work will notice by itself, or it comes back in time
