"""What the book holds about one address: a plain snapshot for the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from nexpura.audience.member import UNKNOWN, KnownMember


@dataclass(frozen=True, slots=True)
class ConsentFact:
    """One event of the ledger; `at` is its effective time (B1a)."""

    id: int
    granted: bool
    at: datetime
    ip: str = ""
    address: str | None = None
    """The address the customer held when they said so; None: the one it is about."""


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """One customer who holds the address, with all of their own consent events, in any order."""

    customer_id: int
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    events: tuple[ConsentFact, ...] = ()
    tags: tuple[str, ...] = ()
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class Former:
    """The address a member of ours is to be moved away from, and the mark that was read with it (0: none)."""

    address: str
    contact_id: str
    version: int = 0
    known: KnownMember = field(default=UNKNOWN, compare=False)
    """The member itself, whose tags come along."""


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """Everything the rules need about one address.

    `withdrawals` are those recorded for this very address, whoever holds it now. `problem` says why the
    address cannot be written to (None: it can). `absence_proven` tells whether not knowing a member means
    there is none. `version` is the mark these facts were read under.
    """

    address: str
    customers: tuple[CustomerFacts, ...] = ()
    withdrawals: tuple[ConsentFact, ...] = ()
    problem: str | None = None
    absence_proven: bool = True
    version: int = 0
    email: str = ""
    """The address as the book spells it, which is how a new member is written."""
    moves_from: Former | None = None
    """A member of ours under another address that may be moved here (B5); found by `audience.moves`."""
    moves_away: bool = False
    """Whether the member at this address is about to be moved to the one its customer has now."""
    no_before: datetime | None = None
    """Somebody with this address was erased: no yes given up to then counts for it (B11)."""

    @property
    def customer_ids(self) -> tuple[int, ...]:
        return tuple(customer.customer_id for customer in self.customers)
