"""The consent gate: one address's events in, granted or withheld out (B1, B1a, B4, B11)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.reasons import Reason


@dataclass(frozen=True, slots=True)
class Granted:
    """Marketing consent stands. `customer` is who gave it last: their names and phone are sent."""

    customer: CustomerFacts
    event: ConsentFact

    @property
    def at(self) -> datetime:
        return self.event.at


@dataclass(frozen=True, slots=True)
class Withheld:
    """The gate is shut; `withdrawal` is the event that shut it, if one did."""

    reason: Reason
    withdrawal: ConsentFact | None = None


Verdict = Granted | Withheld


def decide(facts: AddressFacts) -> Verdict:
    """Return the verdict on one address.

    The newest event of all customers who share the address decides; at the same moment a withdrawal beats a
    grant. A withdrawal recorded for the address itself counts even when its customer has moved away. Where somebody
    was erased, a yes from before counts as little as if it had never been given.
    """
    if not facts.address:
        return Withheld(Reason.NO_EMAIL)
    grant = _newest_grant(facts)
    withdrawal = _newest_withdrawal(facts)
    if withdrawal and (grant is None or withdrawal.at >= grant.at):
        return Withheld(Reason.WITHDRAWN, withdrawal)
    if grant:
        return grant
    if any(event.granted for customer in facts.customers for event in customer.events):
        return Withheld(Reason.ERASED)
    return Withheld(Reason.NEVER_ASKED if facts.customers else Reason.NOT_IN_BOOK)


def _newest_grant(facts: AddressFacts) -> Granted | None:
    grants = [
        Granted(customer, event)
        for customer in facts.customers
        for event in customer.events
        if event.granted
        and not (facts.no_before and event.at <= facts.no_before)
        and (event.address in (None, facts.address) or not _refused_by_another(facts, customer))
    ]
    return max(grants, key=lambda grant: (grant.event.at, grant.event.id), default=None)


def _refused_by_another(facts: AddressFacts, customer: CustomerFacts) -> bool:
    """Tell whether somebody else said no here: a yes given for another address does not speak for them."""
    own = {event.id for event in customer.events}
    return any(event.id not in own for event in _withdrawals(facts))


def _newest_withdrawal(facts: AddressFacts) -> ConsentFact | None:
    return max(_withdrawals(facts), key=lambda event: (event.at, event.id), default=None)


def _withdrawals(facts: AddressFacts) -> list[ConsentFact]:
    own = [event for customer in facts.customers for event in customer.events if not event.granted]
    return [*own, *facts.withdrawals]
