"""A story and its clocks, and who listens while it is told.

Time is a story too: the ledger's clock and Mailchimp's stand still until the story moves them, so that what falls
into one second, and what does not, is decided by the story and not by the speed of the machine.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.db import connection

from mailchimp_emulator.serve import Running
from nexpura.audience import plan
from nexpura.tenants.management.commands.migrate import as_owner
from nexpura.tenants.models import Tenant
from tests.sync.conftest import KEY
from tests.sync.truth import Person, Truth

TALLY: Counter[str] = Counter()
"""What was played, over all histories of this process."""


class Story:
    """What happened, line by line, and when."""

    def __init__(self, emulator: Running, tell: Callable[[str], None]) -> None:
        self.emulator, self.lines, self._tell = emulator, [], tell
        number = next(_numbers)
        self.tenant = Tenant.objects.create(slug=f"shop-{number}", name=f"Shop {number}", country="AU")
        # Not that of another history: what another shop does in an audience counts there too (B13).
        self.audience_id = f"{number:010x}"
        # Long ago, so that no date of the story lies in the future.
        self.present = datetime.now(UTC).replace(microsecond=0) - timedelta(days=400)
        self.truth = Truth()

    def says(self, what: str) -> None:
        line = f"{self.present:%d %H:%M:%S.%f} {what}"
        self.lines.append(line)
        self._tell(line)

    def passes(self, time: timedelta) -> None:
        self.present += time
        self.says(f"{time} pass")
        self.tell_time()

    def tick(self) -> None:
        """Between any two things something passes, however little."""
        self.present += timedelta(milliseconds=7)
        self.tell_time()

    def tell_time(self) -> None:
        self.second = self.present.replace(microsecond=0)
        self.emulator.control("clock", {"now": self.second.isoformat()})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE history_clock SET at = %s", [self.present])

    def date(self, when: str, person: Person) -> datetime | None:
        """The date that is claimed for a word; None: none is."""
        own = [word for word in self.truth.words if word.person == person.id and word.yes]
        match when:
            case "now":
                return self.present
            case "this second":
                return self.second
            case "an hour ago":
                return self.second - timedelta(hours=1)
            case "last month":
                return self.second - timedelta(days=30)
            case "as before" if own:
                return own[-1].claimed_at or own[-1].at
            case "next year":
                return self.present + timedelta(days=366)
            case _:
                return None

    def somebody(self, who: int) -> Person | None:
        people = list(self.truth.people.values())
        return people[who % len(people)] if people else None


_numbers = itertools.count(1)


class Overheard(logging.Handler):
    """Everything our own code says in its log while histories are played."""

    SPEAKERS = ("nexpura", "aiohttp", "asyncio", "django", "asgiref")
    SECRETS = (KEY[:12], "inbox.example", "post.example", "bar.com", "@")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = logging.Formatter().format(record)
        if any(secret in said for secret in self.SECRETS):
            self.told.append(said)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear everything down to the last detail, and let nobody else be bothered with it."""
        loggers = [logging.getLogger(name) for name in self.SPEAKERS]
        before = [(logger.level, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)
                logger.propagate = propagate


@contextmanager
def a_world_for_histories(settings: Any, emulator: Running) -> Iterator[Overheard]:
    """The clock of the ledger in our hands, a brake that a handful of people trips, no waiting, and a listener."""
    settings.NEXPURA_MAILCHIMP_URL = emulator.api_url
    settings.NEXPURA_RETRY_WAIT, settings.NEXPURA_HEARTBEAT, settings.NEXPURA_STALL = 0.0005, 60.0, 600.0
    overheard = Overheard()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(_OWN_CLOCK)
    brake, unsafe = mock.patch.object(plan, "BRAKE_PEOPLE", 1), mock.patch.dict("os.environ", _ASKED_FROM_WITHIN)
    try:
        with brake, unsafe, overheard.listening():
            yield overheard
    finally:
        with as_owner(), connection.cursor() as cursor:
            cursor.execute(_REAL_CLOCK)


_ASKED_FROM_WITHIN = {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"}
"""What happens in the middle of a run asks the database from inside its event loop."""
_OWN_CLOCK = """
    CREATE TABLE history_clock (at timestamptz);
    INSERT INTO history_clock VALUES (NULL);
    CREATE FUNCTION history_now() RETURNS timestamptz LANGUAGE sql STABLE AS
        'SELECT coalesce((SELECT at FROM history_clock), statement_timestamp())';
    GRANT SELECT, UPDATE ON history_clock TO PUBLIC;
    ALTER TABLE customers_consentevent ALTER COLUMN recorded_at SET DEFAULT history_now();
"""
_REAL_CLOCK = """
    ALTER TABLE customers_consentevent ALTER COLUMN recorded_at SET DEFAULT statement_timestamp();
    DROP FUNCTION history_now();
    DROP TABLE history_clock;
"""
