"""What became of one call: exactly one of three."""

from __future__ import annotations

from dataclasses import dataclass

from nexpura.mailchimp.errors import MemberRefused, NotFound, TryLater
from nexpura.mailchimp.member import Member


@dataclass(frozen=True, slots=True)
class Accepted:
    """Mailchimp carried it out (or says the member was like that already). Look at `member.status`.

    `member` is None only for calls whose reply does not tell it (`Call.tells_member`).
    """

    member: Member | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Mailchimp will not do it for this address; sending the same again changes nothing."""

    error: MemberRefused | NotFound


@dataclass(frozen=True, slots=True)
class Deferred:
    """Patience ran out. `error.perhaps_done` tells whether it may have been carried out."""

    error: TryLater


Result = Accepted | Refused | Deferred
