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
    words: str = ""
    """Mailchimp's `unsubscribe_reason` in that reply: the person's own unsubscribe has another."""
    before: Status = Status.SUBSCRIBED
    """What it was: somebody who had yet to confirm is not subscribed by undoing it."""


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
    status_since: datetime | None = None
    """Mailchimp's `last_changed` when the member was first seen with this status."""
    contact_id: str = ""
    """Stays when the address changes."""
    tags: tuple[str, ...] = ()
    """All tags of the member, also those that others set; Mailchimp tells fifty at most."""
    our_tags: tuple[str, ...] = ()
    """Those that we set: the only ones we ever remove (A18)."""
    added_by_us: bool = False
    made_for: int | None = None
    """The customer whose grant made this member."""
    asked_for: int | None = None
    """The grant for which Mailchimp was asked to send its confirmation: once each (B2)."""
    renamed_to: str = ""
    """The address the person gave themselves in Mailchimp, as long as the shop has not answered (B3)."""
    move_refused: bool = False
    """Whether Mailchimp refused to move this member to another address; then it is not asked again."""
    opt_out: OptOutRecord | None = None
    carried_out: int | None = None
    rewritten: Mapping[str, Rewritten] = field(default_factory=dict)
    refusal: Refusal | None = None


UNKNOWN = KnownMember(Status.ABSENT)
"""A member never seen in the audience."""
