"""What Mailchimp last confirmed of one address, as the rules see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """A member's status in the audience. `ABSENT` is ours: known not to be a member."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    CLEANED = "cleaned"
    PENDING = "pending"
    TRANSACTIONAL = "transactional"
    ARCHIVED = "archived"
    ABSENT = ""


class Cause(StrEnum):
    """Why we unsubscribed a member."""

    WITHDRAWAL = "withdrawal"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class OptOutRecord:
    """Our last unsubscribe: its cause, and Mailchimp's `last_changed` in the reply to it."""

    cause: Cause
    changed: datetime


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A value we sent and what Mailchimp made of it (a phone in its own format, a field it ignored)."""

    sent: str
    got: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Mailchimp's last no: its reason code, what exactly was refused, and when to try again (None: when it changes)."""

    reason: str
    fingerprint: str
    retry_at: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class KnownMember:
    """The mirror of one member. `carried_out` is the id of the newest withdrawal dealt with (B2a)."""

    status: Status
    merge_fields: Mapping[str, str] = field(default_factory=dict)
    last_changed: datetime | None = None
    added_by_us: bool = False
    opt_out: OptOutRecord | None = None
    carried_out: int | None = None
    rewritten: Mapping[str, Rewritten] = field(default_factory=dict)
    refusal: Refusal | None = None


UNKNOWN = KnownMember(Status.ABSENT)
"""A member never seen in the audience."""
