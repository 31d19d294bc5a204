"""Changes, and a run's plan: what is to be done, counted before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from nexpura.audience.member import Cause, Status
from nexpura.audience.reasons import Reason


class Bucket(StrEnum):
    """Where a customer stands after a run (B7)."""

    AGREEMENT = "agreement"
    ADDED = "added"
    UPDATED = "updated"
    UNSUBSCRIBED = "unsubscribed"
    ASKED = "asked"
    KEPT = "kept"
    WITHHELD = "withheld"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Add:
    """Make a member. `status_if_new` is used by Mailchimp only if there is none: nobody's status can flip."""

    email: str
    merge_fields: Mapping[str, str]
    status_if_new: Status
    consent_at: datetime
    consent_ip: str = ""
    tags: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    customer_id: int | None = None
    """Whose grant this is."""


@dataclass(frozen=True, slots=True)
class Update:
    """Bring an existing member's fields into agreement; its status is not sent."""

    status: Status
    before: Mapping[str, str]
    merge_fields: Mapping[str, str]
    """What differs: all that is sent."""
    desired: Mapping[str, str]
    """Every field the book wants, to know the change again if it is refused."""


@dataclass(frozen=True, slots=True)
class OptOut:
    """Unsubscribe a subscribed or pending member. `withdrawal` is the event carried out (None: moved away).

    `before` is `ABSENT` where nobody knows whether there is a member: it is looked at first.
    """

    cause: Cause
    before: Status
    withdrawal: int | None


@dataclass(frozen=True, slots=True)
class Undo:
    """Give a member whom we unsubscribed back its status, after a newer grant, if nobody has touched it since."""

    unchanged_since: datetime
    merge_fields: Mapping[str, str]
    consent_at: datetime
    consent_ip: str = ""
    permissions: tuple[str, ...] = ()
    status: Status = Status.SUBSCRIBED
    """What it was before; `pending` if the person had yet to confirm, and Mailchimp asks them again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Have Mailchimp send its confirmation mail to somebody who left and said yes again; once for each grant."""

    grant: int
    before: Status
    permissions: tuple[str, ...] = ()
    merge_fields: Mapping[str, str] = field(default_factory=dict)
    """What goes with it: nothing if Mailchimp refused these values before."""
    desired: Mapping[str, str] = field(default_factory=dict)
    """Every field the book wants, to know the question again if it is refused."""
    unchanged_since: datetime | None = None
    """Mailchimp's `last_changed` when this was decided; None (planned by an earlier version): it is decided anew."""


@dataclass(frozen=True, slots=True)
class Move:
    """Give a member of ours the new address of its customer, keeping its history (B5)."""

    from_address: str
    from_version: int
    """The mark of the old address under which this was decided (0: none)."""
    contact_id: str
    email: str
    merge_fields: Mapping[str, str]
    customer_id: int | None = None


@dataclass(frozen=True, slots=True)
class Retag:
    """Add and remove tags of a member. Only tags that we set are removed; no automation is set off by it (A18)."""

    add: tuple[str, ...]
    remove: tuple[str, ...]


Change = Add | Update | OptOut | Undo | Ask | Move | Retag


@dataclass(frozen=True, slots=True)
class NoChange:
    """Nothing to send: where the customers of the address stand, and why.

    `carried_out` is the withdrawal that needs no call any more. `retry_at` is when to look again unasked.
    `undecided` keeps the address marked: what happens to it follows from what happens to another one.
    """

    bucket: Bucket
    reason: Reason = Reason.NONE
    detail: str = ""
    carried_out: int | None = None
    retry_at: datetime | None = None
    undecided: bool = False


Decision = Change | NoChange

PLACES = 9
"""Calls in flight at once."""
BULK_LIMIT = 500
"""Members of one bulk call."""


def bulk_size(count: int) -> int:
    """Return how many of so many changes of one kind go into one call.

    As few calls as there are places, so that all are under way at once, each as large as it may be: beyond that they
    only queue. A change for each place goes singly.
    """
    return min(-(-count // PLACES), BULK_LIMIT)


BRAKE_PEOPLE = 10
BRAKE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How many changes of each kind a run is about to make, and how large the audience is."""

    adds: int = 0
    updates: int = 0
    opt_outs: int = 0
    undos: int = 0
    asks: int = 0
    moves: int = 0
    retags: int = 0
    subscribed: int = 0
    """Subscribed members of the audience before the run."""

    @property
    def total(self) -> int:
        return self.adds + self.updates + self.opt_outs + self.undos + self.asks + self.moves + self.retags

    @property
    def needs_a_person(self) -> bool:
        """Whether an unattended run must stop before its opt-outs (B9): more than ten people and 5 %."""
        return self.opt_outs > BRAKE_PEOPLE and self.opt_outs > BRAKE_SHARE * self.subscribed
