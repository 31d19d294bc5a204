"""What became of one call: exactly one of three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nexpura.mailchimp.errors import MemberRefused, NotFound, TryLater
from nexpura.mailchimp.member import Member


@dataclass(frozen=True, slots=True)
class Accepted:
    """Mailchimp carried it out (or says the member was like that already). Look at `member.status`.

    `member` is None only for calls whose reply does not tell it (`Call.tells_member`).
    """

    member: Member | None
    created: bool | None = None
    """Whether the member is new; None where the reply does not tell."""
    first_sent: datetime | None = field(default=None, compare=False)
    """When the call was first sent, by Mailchimp's clock and rather too early; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Mailchimp will not do it for this address; sending the same again changes nothing."""

    error: MemberRefused | NotFound


@dataclass(frozen=True, slots=True)
class Deferred:
    """Patience ran out. `error.perhaps_done` tells whether it may have been carried out."""

    error: TryLater


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the members of one bulk call, by subscriber hash.

    Whoever is missing has not been answered for: look at them singly.
    """

    results: Mapping[str, Accepted | Refused]


Result = Accepted | Refused | Deferred
