"""The sending of a run: what is planned becomes calls, nine at once, and what comes of them is settled meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from nexpura.audience import plan as planning
from nexpura.audience.desired import Terms
from nexpura.audience.diff import MAILABLE
from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Ask, Change, OptOut, Undo
from nexpura.mailchimp import errors
from nexpura.mailchimp.calls import BulkCall, Call
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.flight import as_they_come
from nexpura.mailchimp.member import Member, subscriber_hash
from nexpura.mailchimp.result import Accepted, BulkResult, Deferred, Refused, Result
from nexpura.sync import store
from nexpura.sync.clock import Clock
from nexpura.sync.database import from_db
from nexpura.sync.dispatch import bulk_call_for, call_for, may_be_bulk
from nexpura.sync.store import Begun, RunLostError, Work

logger = logging.getLogger(__name__)

CLEARED_FOR = 5.0
"""Seconds a cleared change may wait before gate, token and lease are asked again."""
AT_ONCE = 18
"""Changes cleared together to be sent singly: two rounds of the nine places."""
SETTLE_EVERY = 0.3
"""Seconds after which results are settled, however few."""
UNSETTLED = 2 * planning.BULK_LIMIT
"""Results that may wait for those before them to be settled; with more, places stay empty until they are."""
TELL_EVERY = 1.0
"""Seconds between two notes of the progress."""
GIVE_UP_AFTER = 27
"""Calls put off one after the other after which Mailchimp is taken to be away."""

BULK_KINDS = ("add", "update")
Job = tuple[Sequence[Work], Call | BulkCall]
Outcome = tuple[Work, Result]


@dataclass(frozen=True, slots=True)
class Cleared:
    """Changes for which gate, token and lease were asked together."""

    works: Sequence[Work]
    cleared_at: float = field(default_factory=time.monotonic)

    @property
    def waited_too_long(self) -> bool:
        return time.monotonic() - self.cleared_at > CLEARED_FOR


class Planned:
    """What the deciding has written down so far, for the sending beside it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.finished = False
        self._grew = asyncio.Event()

    def grow(self, more: Mapping[str, int]) -> None:
        self.counts.update(more)
        self._wake()

    def finish(self) -> None:
        """Everything is decided."""
        self.finished = True
        self._wake()

    async def grown(self) -> None:
        """Wait for more, or for the end."""
        if not self.finished:
            await self._grew.wait()

    def _wake(self) -> None:
        self._grew.set()
        self._grew = asyncio.Event()


@dataclass(slots=True)
class Sending:
    """Sends what a run has planned. Bulk calls end with the first surprise: from then on everybody goes singly."""

    run: Begun
    mailchimp: MailchimpClient
    clock: Clock
    terms: Terms
    stopping: asyncio.Event
    planned: Planned = field(default_factory=Planned)
    in_bulk: bool = True
    in_doubt: bool = False
    """Whether a bulk call may or may not have been carried out: only another reading tells."""
    _taken: Counter[str] = field(default_factory=Counter)
    _singly: set[int] = field(default_factory=set)
    """Results whose bulk call did not tell what became of them."""
    _came_back: bool = False
    _untold: int = 0
    _told_at: float = 0.0

    async def send(self, kinds: tuple[str, ...]) -> None:
        """Send what is planned of these kinds, and once more what the last bulk calls gave back."""
        self._came_back = True
        while self._came_back and self._goes_on:
            self._came_back = False
            await self._send(kinds)

    async def _send(self, kinds: tuple[str, ...]) -> None:
        """Send what is planned; results are settled while the next calls are under way."""
        batch: list[Outcome] = []
        settling: asyncio.Future[None] = asyncio.ensure_future(self._settle(()))
        put_off, settled_at = 0, time.monotonic()
        try:
            jobs = ((job[0], job) async for job in self._jobs(kinds))
            async with aclosing(as_they_come(jobs, self._carry_out, at_most=planning.PLACES)) as results:
                async for _, outcomes in results:
                    batch.extend(outcomes)
                    put_off = _put_off(put_off, outcomes)
                    if put_off >= GIVE_UP_AFTER:
                        raise errors.TryLater(0, "Mailchimp does not answer")
                    due = len(batch) >= AT_ONCE or time.monotonic() - settled_at > SETTLE_EVERY
                    if due and (settling.done() or len(batch) >= UNSETTLED):
                        await settling
                        settling, batch = asyncio.ensure_future(self._settle(batch)), []
                        settled_at = time.monotonic()
        finally:
            # Whatever ends the sending, what is known of it is kept.
            await settling
            await self._settle(batch)
            await self._tell()
            with suppress(RunLostError):
                await from_db(store.forget_unsent)(self.run)

    async def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            await from_db(store.settle)(self.run, outcomes, self.clock.now())
            self._untold += len(outcomes)
            if time.monotonic() - self._told_at > TELL_EVERY:
                await self._tell()

    async def _tell(self) -> None:
        """Show the progress."""
        untold, self._untold, self._told_at = self._untold, 0, time.monotonic()
        if untold:
            await from_db(store.count_done)(self.run, untold)

    async def _jobs(self, kinds: tuple[str, ...]) -> AsyncIterator[Job]:
        """Yield calls whose gate, token and lease were asked less than five seconds before; bulk calls first.

        While the deciding goes on only full bulk calls are made; what is left goes when it has ended.
        """
        for kind in BULK_KINDS:
            if kind in kinds:
                async with aclosing(self._cleared_ahead(kind)) as ahead:
                    async for cleared in ahead:
                        async for job in self._together(cleared):
                            yield job
        while not self.planned.finished and self._goes_on:
            await self._more()
        while self._goes_on and (works := await from_db(store.cleared)(self.run, kinds, AT_ONCE)):
            async for job in self._one_by_one(Cleared(works)):
                yield job

    async def _cleared_ahead(self, kind: str) -> AsyncGenerator[Cleared, None]:
        """Yield what goes together; the next is cleared while the one before waits for its place.

        What waited too long for one is asked again, and what is not sent after all is given back.
        """
        ahead: asyncio.Task[Cleared | None] | None = None
        try:
            while self._goes_on and self.in_bulk:
                all_is_decided = self.planned.finished
                cleared = (await ahead if ahead else None) or await self._clear(kind)
                ahead = None
                if cleared is None:
                    if all_is_decided:
                        break
                    await self._more()
                elif cleared.waited_too_long:
                    await self._give_back(kind, cleared)
                else:
                    ahead = asyncio.create_task(self._clear(kind))
                    yield cleared
        finally:
            if ahead:
                await asyncio.wait({ahead})
                if not ahead.cancelled() and not ahead.exception() and (cleared := ahead.result()):
                    with suppress(RunLostError):
                        await self._give_back(kind, cleared)

    async def _clear(self, kind: str) -> Cleared | None:
        """Clear the changes of the next bulk call; None if there are not enough yet, or no more."""
        size = self._bulk_size(kind)
        works = await from_db(store.cleared)(self.run, (kind,), size) if size > 1 else ()
        self._taken[kind] += len(works)
        return Cleared(works) if works else None

    async def _give_back(self, kind: str, cleared: Cleared) -> None:
        await from_db(store.give_back)(self.run, cleared.works)
        self._taken[kind] -= len(cleared.works)

    def _bulk_size(self, kind: str) -> int:
        """How many changes the next bulk call takes: what there are, shared out among the places, when all is known."""
        if self.planned.finished:
            return planning.bulk_size(self.planned.counts[kind])
        waiting = self.planned.counts[kind] - self._taken[kind]
        return planning.BULK_LIMIT if waiting >= planning.BULK_LIMIT else 0

    async def _more(self) -> None:
        """Wait until there is more to send, all is decided, or this process is told to stop."""
        waiting = {asyncio.ensure_future(self.planned.grown()), asyncio.ensure_future(self.stopping.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    @property
    def _goes_on(self) -> bool:
        return not self.stopping.is_set()

    async def _together(self, cleared: Cleared) -> AsyncIterator[Job]:
        """Yield one call for those that may go in bulk, and one each for the others, who wait for it to be taken."""
        bulk: list[Work] = []
        rest: list[Work] = []
        for work in cleared.works:
            together = may_be_bulk(work.change) and work.result_id not in self._singly
            (bulk if together else rest).append(work)
        if bulk:
            changes = [(work.address, work.change) for work in bulk]
            yield bulk, bulk_call_for(changes, self.run.audience_id, self.terms)
        async for job in self._one_by_one(replace(cleared, works=rest)):
            yield job

    async def _one_by_one(self, cleared: Cleared) -> AsyncIterator[Job]:
        left = list(cleared.works)
        while left and self._goes_on:
            if cleared.waited_too_long:
                await from_db(store.give_back)(self.run, left)
                return
            work = left.pop(0)
            if await self._may_be_sent(work):
                yield (work,), call_for(work.change, self.run.audience_id, work.address, self.terms)

    async def _may_be_sent(self, work: Work) -> bool:
        """Look at the member once more before a call that overwrites what the person may have said meanwhile."""
        if not _is_looked_at(work.change):
            return True
        try:
            member = await self.mailchimp.member(self.run.audience_id, work.address)
        except errors.NotFound as gone:
            await self._settle([(work, Refused(gone))])
            return False
        if _is_as_it_should_be(work.change, member):
            return True
        await from_db(store.settle_touched)(self.run, work, member)
        self._untold += 1
        return False

    async def _carry_out(self, job: Job) -> list[Outcome]:
        works, call = job
        if isinstance(call, Call):
            may_go = not isinstance(works[0].change, OptOut | Undo | Ask) or await from_db(store.hand_over)(
                self.run, works[0]
            )
            return [(works[0], await self.mailchimp.send(call))] if may_go else []
        match await self.mailchimp.send_bulk(call):
            case Deferred() as deferred:
                self.in_doubt |= deferred.error.perhaps_done
                return [(work, deferred) for work in works]
            case Refused():
                await self._send_singly(works)
                return []
            case BulkResult() as told:
                return await self._outcomes(works, told)

    async def _outcomes(self, works: Sequence[Work], told: BulkResult) -> list[Outcome]:
        """Return what became of each; whoever is there already, or was not answered for, is sent singly."""
        answered = [(work, told.results.get(subscriber_hash(work.address))) for work in works]
        if any(_surprising(work, result) for work, result in answered):
            logger.warning("run %s: a bulk call did what it should not; going on singly", self.run.id)
            self.in_bulk = False
        await self._send_singly([work for work, result in answered if result is None or _unclear(result)])
        return [(work, result) for work, result in answered if result is not None and not _unclear(result)]

    async def _send_singly(self, works: Sequence[Work]) -> None:
        if works:
            self._came_back = True
            self._singly.update(work.result_id for work in works)
            await from_db(store.give_back)(self.run, works)


def _is_looked_at(change: Change) -> bool:
    """Whether the member is looked at before: undos, questions, and opt-outs of somebody of whom nothing is known."""
    return isinstance(change, Undo | Ask) or (isinstance(change, OptOut) and change.before is Status.ABSENT)


def _is_as_it_should_be(change: Change, member: Member) -> bool:
    """Tell whether the change may go ahead: an undo and a question only where nobody acted since it was decided, an
    opt-out of somebody unknown only where there is a member who gets mail.
    """
    if isinstance(change, Undo | Ask):
        return member.status == Status.UNSUBSCRIBED and member.last_changed == change.unchanged_since
    return Status(member.status) in MAILABLE


def _surprising(work: Work, result: Result | None) -> bool:
    """Whether a bulk call made a member it should have updated, or updated one it should have made."""
    return isinstance(result, Accepted) and result.created is not isinstance(work.change, Add)


def _unclear(result: Result) -> bool:
    """Whether a refusal in bulk leaves open what it means; asked singly, Mailchimp names it."""
    return (
        isinstance(result, Refused)
        and isinstance(result.error, errors.MemberRefused)
        and result.error.kind in (errors.Refusal.EXISTS, errors.Refusal.OTHER)
    )


def _put_off(calls: int, outcomes: Sequence[Outcome]) -> int:
    """Return how many calls have been put off one after the other, now that this one has ended so."""
    if all(isinstance(result, Deferred) for _, result in outcomes):
        return calls + bool(outcomes)
    return 0
