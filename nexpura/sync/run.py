"""One run, whole: bring one audience to what its customers and their consent say it should be."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import count

from django.conf import settings
from django.db import InterfaceError, OperationalError

from nexpura.audience.desired import Terms
from nexpura.audience.plan import Plan
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey
from nexpura.sync import endings, line, listen, store
from nexpura.sync.clock import Clock
from nexpura.sync.database import from_db
from nexpura.sync.reading import read_audience
from nexpura.sync.sending import Sending
from nexpura.sync.store import Begun, Busy, Over, RunLostError
from nexpura.tenants import statistics
from nexpura.tenants.vault import CannotOpen

logger = logging.getLogger(__name__)

DRAIN = 5.0
"""Seconds that calls under way are waited for when this process is told to stop."""
LOOKS = 3
"""Readings of one run: after a bulk call whose reply was lost the audience tells whom it made, not a repetition."""
CHUNKS_UNTIL_GROWN = 10
"""Chunks after which PostgreSQL looks at what has grown."""
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
    await from_db(store.forget_unsent)(run)
    for _ in range(LOOKS):
        terms = await read_audience(run, mailchimp)
        await from_db(store.settle_landed)(run, clock.now())
        horizon = await from_db(store.mark_due)(run, terms, clock.now())
        sending = Sending(run, mailchimp, clock, terms, stopping)
        plan = await _decide_and_give(run, terms, clock, horizon, sending)
        if not sending.in_doubt or stopping.is_set():
            break
    if stopping.is_set():
        return None
    if run.unattended and plan.needs_a_person:
        return endings.stopped_by_brake(plan)
    await sending.send(TAKING)
    await sending.send(TAGGING)
    return None if stopping.is_set() else endings.SUCCEEDED


async def _decide_and_give(run: Begun, terms: Terms, clock: Clock, horizon: int, sending: Sending) -> Plan:
    """Decide chunk by chunk while what gives is sent already; returns the plan of what takes and is still to come."""
    giving = asyncio.create_task(sending.send(GIVING))
    try:
        after: str | None = None
        for number in count():
            if giving.done():
                break
            if number % CHUNKS_UNTIL_GROWN == 0:
                await from_db(statistics.take)()
            chunk = await from_db(store.decide_chunk)(run, terms, clock.now(), horizon, after)
            if chunk is None:
                break
            after = chunk.last
            sending.planned.grow(chunk.planned)
        plan = await from_db(store.plan_of)(run)
        sending.planned.finish()
        await giving
    finally:
        if not giving.done():
            giving.cancel()
            await asyncio.wait({giving})
    return plan


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
