"""The emulator's clock, and how Mailchimp writes and reads a moment (whole seconds since 1970)."""

import asyncio
import contextlib
import re
import time
from datetime import UTC, datetime
from email.utils import formatdate

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")


class Clock:
    """The real time, or a moment at which a test has stopped it until it is set again."""

    def __init__(self, frozen_at: int | None = None) -> None:
        self.frozen_at = frozen_at
        self._moved = asyncio.Event()

    def now(self) -> int:
        return int(time.time()) if self.frozen_at is None else self.frozen_at

    def set(self, frozen_at: int | None) -> None:
        """Stop at this moment, or run with the real time; wakes whoever waits for a moment."""
        self.frozen_at = frozen_at
        self._moved.set()
        self._moved = asyncio.Event()

    async def reach(self, moment: float) -> None:
        """Wait until it is this moment: in real time, or until a test has set the clock past it."""
        while (now := time.time() if self.frozen_at is None else self.frozen_at) < moment:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), moment - now if self.frozen_at is None else None)


def written(moment: int | None) -> str:
    """ISO 8601 as Mailchimp writes it: whole seconds, offset +00:00, and "" for a moment that never was."""
    if moment is None:
        return ""
    year, month, day, hour, minute, second = time.gmtime(moment)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00"


def read_exactly(text: str) -> float:
    """The moment with its fraction of a second, UTC unless it says otherwise; ValueError if it is none."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"not a moment: {text!r}")
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read(text: str) -> int:
    """The moment in whole seconds; ValueError if the text is no moment."""
    return int(read_exactly(text) // 1)


def header(moment: int) -> str:
    """The form of the HTTP Date header."""
    return formatdate(moment, usegmt=True)
