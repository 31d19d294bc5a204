"""When the daily sync of a tenant runs, in a quiet hour of its own time zone, and when it reads everybody.

Both are spread over tenants. Pure.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

QUIET_FROM = 1
QUIET_HOURS = 4
OVERDUE = timedelta(hours=26)
"""After this long without a success a schedule says so itself (B10)."""
WEEK = timedelta(days=7)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


def next_time(tenant_id: int, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the tenant's next moment after `after`, in UTC; the same local time of day, every day.

    Across a change of the clocks the local time is kept; a time that does not exist that day moves on with
    the clocks.
    """
    seconds = _spread(tenant_id) % (QUIET_HOURS * 3600)
    local = after.astimezone(zone)
    at = time(QUIET_FROM + seconds // 3600, seconds // 60 % 60, seconds % 60)
    for days in (0, 1, 2):
        moment = datetime.combine(local.date() + timedelta(days=days), at, tzinfo=zone).astimezone(UTC)
        if moment > after:
            return moment
    raise AssertionError("a day has passed within two days")


def whole_reading_due(tenant_id: int, now: datetime) -> datetime:
    """Return the newest moment up to `now` since which the whole audience should have been read: one of each week.

    A moment of the tenant's own, not a week after the last reading: where many fell behind together, their next
    readings are spread again.
    """
    own = _MONDAY + timedelta(seconds=_spread(tenant_id) % int(WEEK.total_seconds()))
    return now - (now - own) % WEEK


def _spread(tenant_id: int) -> int:
    return int.from_bytes(hashlib.sha256(str(tenant_id).encode()).digest()[:4], "big")
