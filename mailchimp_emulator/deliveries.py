"""Telling webhooks what happened: a few at a time to each, signed, and again later if nobody answers well."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Coroutine, Iterable
from heapq import heappop, heappush
from typing import Any

import aiohttp

from mailchimp_emulator import outgoing
from mailchimp_emulator.background import Background
from mailchimp_emulator.clock import Clock
from mailchimp_emulator.hooks import Attempt, Delivery, Webhook

USER_AGENT = "MailChimp.com"
ANSWER_SECONDS = 10.0
RETRY_AFTER = (5 * 60, 20 * 60, 50 * 60)  # growing, 75 minutes in all
KEEP_TRYING = sum(RETRY_AFTER)
AT_ONCE = 5  # to one webhook
ATTEMPTS_KEPT = 100_000
_GONE = 410


class Outbox:
    """All deliveries between two resets."""

    def __init__(self, clock: Clock, background: Background) -> None:
        self.clock = clock
        self.background = background
        self.answer_seconds = ANSWER_SECONDS
        self.attempts: deque[Attempt] = deque(maxlen=ATTEMPTS_KEPT)
        self._numbers = 0
        self._queues: dict[Webhook, _Queue] = {}

    def send(self, hook: Webhook, event: str, email: str, body: bytes) -> None:
        """Begin a delivery; returns at once."""
        self._queue(hook).add(Delivery(self._next_number(), hook, event, email, body))

    def replay(self, past: Delivery, *, same_signature: bool) -> Delivery:
        """Send a past delivery once more, as somebody would who has caught it."""
        signature = past.signature if same_signature else ""
        again = Delivery(
            self._next_number(), past.hook, past.type, past.email, past.body, signature=signature, replayed=True
        )
        self._queue(past.hook).add(again)
        return again

    def past(self, number: int) -> Delivery | None:
        """The delivery of this number, if an attempt at it was made."""
        return next((item.delivery for item in reversed(self.attempts) if item.delivery.number == number), None)

    def drop(self, hook: Webhook) -> None:
        """Nothing more goes to this webhook."""
        hook.enabled = False
        if hook in self._queues:
            self._queues[hook].clear()

    def open_now(self) -> int:
        """Deliveries under way or about to be."""
        return sum(queue.under_way + queue.due() for queue in self._queues.values())

    def waiting(self) -> int:
        """Deliveries that failed and wait for their next attempt."""
        return sum(len(queue.waiting) - queue.due() for queue in self._queues.values())

    def _queue(self, hook: Webhook) -> "_Queue":
        return self._queues.setdefault(hook, _Queue(self, hook))

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


class _Queue:
    """The deliveries to one webhook, each waiting for its moment and for one of the few places."""

    def __init__(self, outbox: Outbox, hook: Webhook) -> None:
        self.outbox = outbox
        self.hook = hook
        self.waiting: list[tuple[int, int, Delivery]] = []  # a heap: moment of the next attempt, number
        self.under_way = 0
        self._running = False
        self._changed = asyncio.Event()

    def add(self, delivery: Delivery, moment: int = 0) -> None:
        heappush(self.waiting, (moment, delivery.number, delivery))
        self._changed.set()
        if not self._running:
            self._running = True
            self.outbox.background.start(self._run())

    def clear(self) -> None:
        self.waiting.clear()
        self._changed.set()

    def due(self) -> int:
        now = self.outbox.clock.now()
        return sum(moment <= now for moment, _, _ in self.waiting)

    async def _run(self) -> None:
        """Work until nothing is left to deliver."""
        try:
            while self.waiting:
                async with outgoing.session(self.outbox.answer_seconds) as session, asyncio.TaskGroup() as group:
                    await self._work(session, group)
        finally:
            self._running = False

    async def _work(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        while self.waiting or self.under_way:
            self._changed.clear()
            if self.under_way < AT_ONCE and self._next_is_due():
                self.under_way += 1
                group.create_task(self._attempt(session, heappop(self.waiting)[2]))
            else:
                await self._news()

    def _next_is_due(self) -> bool:
        return bool(self.waiting) and self.waiting[0][0] <= self.outbox.clock.now()

    async def _news(self) -> None:
        """Wait until something was added or ended, or the moment of the next attempt has come."""
        if self.waiting and self.under_way < AT_ONCE:
            await _first_of(self._changed.wait(), self.outbox.clock.reach(self.waiting[0][0]))
        else:
            await self._changed.wait()

    async def _attempt(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        now, url = self.outbox.clock.now(), self.hook.url
        delivery.attempts += 1
        if delivery.attempts == 1:
            delivery.first_attempt_at = now
        try:
            answer = await outgoing.call(session, "POST", url, self._headers(delivery, now), delivery.body)
        finally:
            self.under_way -= 1
            self._changed.set()
        attempt = Attempt(delivery, url, now, delivery.attempts, answer.status, answer.error)
        self.outbox.attempts.append(attempt)
        if answer.status == _GONE:
            self.outbox.drop(self.hook)
        elif not attempt.delivered and self.hook.enabled:
            self._try_later(delivery)

    def _headers(self, delivery: Delivery, now: int) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/x-www-form-urlencoded"}
        if self.hook.secret is not None:
            if not (delivery.replayed and delivery.signature):
                delivery.signature = signature(self.hook.secret, now, delivery.body)
            headers["X-Mailchimp-Signature"] = delivery.signature
        return headers

    def _try_later(self, delivery: Delivery) -> None:
        """Queue the next attempt, unless there were enough or the time for it is over."""
        now = self.outbox.clock.now()
        if delivery.replayed or delivery.attempts > len(RETRY_AFTER):
            return
        if now - delivery.first_attempt_at < KEEP_TRYING:
            self.add(delivery, now + RETRY_AFTER[delivery.attempts - 1])


def signature(secret: str, now: int, body: bytes) -> str:
    """The value of X-Mailchimp-Signature for exactly these bytes."""
    digest = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of them does, and end the others."""
    tasks: Iterable[asyncio.Task[Any]] = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
