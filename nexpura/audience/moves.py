"""Whether a member of ours is moved to its customer's new address (B5). Asked from both ends, answered alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nexpura.audience import consent
from nexpura.audience.consent import Granted, Verdict
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, Former
from nexpura.audience.member import KnownMember, Status


@dataclass(frozen=True, slots=True)
class Held:
    """One address with what the book holds about it, the member that stands there, and the verdict."""

    facts: AddressFacts
    known: KnownMember
    verdict: Verdict

    @classmethod
    def of(cls, facts: AddressFacts, known: KnownMember) -> Held:
        return cls(facts, known, consent.decide(facts))


def former_of(new: Held, others: Iterable[Held], terms: Terms) -> Former | None:
    """Return the member of `others` that is to be moved to the new address, if there is one.

    We made it, for the very customer whose grant counts at the new address; it is subscribed; nobody consents at
    the old address any more, and nobody withdrew there; the new address is proven not to be in the audience; and
    the audience does not ask newcomers to confirm.
    """
    verdict = new.verdict
    free = new.known.status is Status.ABSENT and new.facts.absence_proven and not new.known.renamed_to
    if not isinstance(verdict, Granted) or not free or terms.double_optin or new.facts.problem or new.known.refusal:
        return None
    movable = [
        Former(old.facts.address, old.known.contact_id, old.facts.version, old.known)
        for old in others
        if old.facts.address != new.facts.address
        and old.known.made_for == verdict.customer.customer_id
        and _ours_and_left(old)
    ]
    return min(movable, key=lambda former: former.address, default=None)


def _ours_and_left(old: Held) -> bool:
    return (
        old.known.added_by_us
        and old.known.status is Status.SUBSCRIBED
        and old.known.opt_out is None
        and not old.known.move_refused
        and not isinstance(old.verdict, Granted)
        and old.verdict.withdrawal is None
    )
