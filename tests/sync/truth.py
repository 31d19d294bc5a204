"""What people said, kept beside the product and without its rules: the measure that histories are held to.

A `Word` is one yes or no of one person. Nothing in here asks the product what counts; it is written down again,
from the promises (B1, B1a, B3, B4), in as few lines as they allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

WITHIN = timedelta(microseconds=999_999)
"""Mailchimp tells whole seconds: a no said there in some second is later than a yes of the same."""

CHOSEN = ("first_name", "last_name", "email", "phone")
"""Of these a merge takes one of two values; of everything else it keeps both."""


def address_of(email: str) -> str:
    """The unit of everything: trimmed, lower case. The histories write plain letters only."""
    return email.strip().lower()


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the book."""

    id: int
    name: str
    """How the story calls them, whatever the book does."""
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    tags: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return address_of(self.email)


@dataclass(frozen=True, slots=True)
class Word:
    """A yes or a no: when it counts from, and for which address it was said."""

    number: int
    """In the order in which words came to the book."""
    person: int
    yes: bool
    at: datetime
    address: str
    claimed_at: datetime | None = None

    def __str__(self) -> str:
        return (
            f"{'yes' if self.yes else 'no'} {self.number} of {self.at:%d %H:%M:%S.%f} for {self.address or 'nothing'}"
        )


@dataclass(slots=True)
class Truth:
    """Everybody in the book and everything they said."""

    people: dict[int, Person] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)
    addresses_ever: set[str] = field(default_factory=set)
    former: dict[str, int] = field(default_factory=dict)
    """Whom the names of records mean that were merged into another."""
    had: dict[int, set[str]] = field(default_factory=dict)
    """Every address that somebody ever had."""
    erased: dict[str, datetime] = field(default_factory=dict)
    """The names and addresses of people who were erased, and when: an import brings none of them back (B11)."""
    shut: dict[str, datetime] = field(default_factory=dict)
    """Up to when no yes counts any more for whoever has such a name or address."""
    spoken: int = 0
    """Words that were ever said, also by people who were erased since."""

    def as_of_now(self) -> Truth:
        """A copy that what happens next does not change."""
        return replace(self, people=dict(self.people), words=list(self.words), shut=dict(self.shut))

    def keep(self, person: Person) -> None:
        """Put somebody in the book, or bring them up to date."""
        self.people[person.id] = person
        self.addresses_ever.add(person.address)
        self.had.setdefault(person.id, set()).add(person.address)

    def change(self, person_id: int, **fields: object) -> None:
        self.keep(replace(self.people[person_id], **fields))  # type: ignore[arg-type]

    def become_one(self, kept_id: int, other_id: int, from_other: Set[str]) -> None:
        """Two records are of one person: every word of both is theirs, and no value is lost but those not chosen."""
        kept, other = self.people[kept_id], self.people.pop(other_id)
        fields: dict[str, object] = {}
        for name in CHOSEN:
            mine, theirs = getattr(kept, name), getattr(other, name)
            fields[name] = (theirs or mine) if name in from_other else (mine or theirs)
        spelt: dict[str, str] = {}
        for tag in (*kept.tags, *other.tags):
            spelt.setdefault(tag.casefold(), tag)
        fields["tags"] = tuple(spelt.values())
        self.words = [replace(word, person=kept_id) if word.person == other_id else word for word in self.words]
        self.former = {name: kept_id if who == other_id else who for name, who in self.former.items()}
        self.former[other.name] = kept_id
        self.had[kept_id] |= self.had.pop(other_id)
        self.change(kept_id, **fields)

    def is_erased(self, person_id: int, at: datetime, forgotten: Set[str]) -> None:
        """Nothing they said counts any more, nor does any yes from before for an address that was theirs alone.

        At an address that somebody else has, their last no outlives them, unless they took it back. `forgotten` are
        the addresses of their past by which they can be recognised.
        """
        person, own = self.people.pop(person_id), self._own(person_id)
        names = {person.name, *(name for name, who in self.former.items() if who == person_id)}
        self.former = {name: who for name, who in self.former.items() if name not in names}
        shared = {address for address in forgotten if self.holders(address)}
        for one in names | forgotten:
            self.erased[one] = at
        for one in (names | forgotten) - shared:
            self.shut[one] = at
        for address in shared:
            noes = [word.at for word in own if not word.yes and address in (person.address, word.address)]
            if noes and not any(word.yes and word.at > max(noes) for word in own):
                self.shut[address] = max(max(noes), self.shut.get(address, max(noes)))
        self.words = [word for word in self.words if word.person != person_id]
        del self.had[person_id]

    def comes_back(self, name: str, address: str) -> datetime | None:
        """When the person was erased whom an import brings; None: nobody whom it takes for somebody erased."""
        known = self.named(name)
        held = {known.name, known.address} if known else set()
        return max((self.erased[one] for one in {name, address} - held if one in self.erased), default=None)

    def only_theirs(self, person_id: int) -> set[str]:
        """The addresses that nobody else ever had, or said anything for."""
        others = {address for who, had in self.had.items() if who != person_id for address in had}
        others |= {word.address for word in self.words if word.person != person_id}
        return self.had[person_id] - others - {""}

    def said_at(self, person_id: int) -> set[str]:
        return {word.address for word in self._own(person_id)} - {""}

    def named(self, name: str) -> Person | None:
        """Whom a name means, also one from before a merge."""
        by_name = {person.name: person for person in self.people.values()}
        return by_name.get(name) or self.people.get(self.former.get(name, 0))

    def said(
        self, person_id: int, *, yes: bool, at: datetime, claimed_at: datetime | None = None, address: str | None = None
    ) -> Word:
        """Take down a word, for the address the person has now unless told otherwise."""
        address = self.people[person_id].address if address is None else address
        self.spoken += 1
        word = Word(self.spoken, person_id, yes, at, address, claimed_at)
        self.words.append(word)
        return word

    def holders(self, address: str) -> list[Person]:
        return [person for person in self.people.values() if person.address == address]

    def newest_no(self, address: str) -> Word | None:
        """Of everybody who has the address, and of everybody who said it for this address (B4)."""
        return max(self._noes(address), key=_order, default=None)

    def standing_yes(self, address: str) -> Word | None:
        """The yes that allows to write to the address; None if there is none, or a no that is as new or newer.

        A yes given for another address does not speak against somebody else's no at this one.
        """
        noes = list(self._noes(address))
        here = {person.id for person in self.holders(address)} if address else set()
        yeses = (
            word
            for word in self.words
            if word.yes and word.person in here and not (address in self.shut and word.at <= self.shut[address])
            and (word.address == address or all(no.person == word.person for no in noes))
        )  # fmt: skip
        newest = max(yeses, key=_order, default=None)
        if newest is None or any(no.at >= newest.at for no in noes):
            return None
        return newest

    def refusal(self, address: str) -> Word | None:
        """The no that stands at the address: its newest word."""
        return None if self.standing_yes(address) else self.newest_no(address)

    def has_spoken(self, person_id: int) -> bool:
        return bool(self._own(person_id))

    def has_said_yes(self, person_id: int) -> bool:
        """Whether the newest of the person's own words is a yes; at a tie it is a no."""
        own = self._own(person_id)
        return bool(own) and max(own, key=lambda word: (word.at, not word.yes)).yes

    def newest_yes_of(self, person_id: int) -> datetime | None:
        return max((word.at for word in self._own(person_id) if word.yes), default=None)

    def has_said_no_since(self, person_id: int, moment: datetime) -> bool:
        return any(not word.yes and word.at >= moment for word in self._own(person_id))

    def holds(self, person_id: int, *, yes: bool, claimed_at: datetime) -> bool:
        """Whether this very word, with this very date, has been said before."""
        return any(word.yes == yes and word.claimed_at == claimed_at for word in self._own(person_id))

    def yes_from_outside_counts(self, person_id: int, claimed_at: datetime | None) -> bool:
        """A yes without a date of its own, or repeating one, never beats a no that stands already (B1a)."""
        dates = {date for word in self._own(person_id) if word.yes for date in (word.at, word.claimed_at)}
        address = self.people[person_id].address
        against = [word for word in self._own(person_id) if not word.yes] + list(self._noes(address) if address else ())
        return not (against or self.was_shut(person_id)) or (claimed_at is not None and claimed_at not in dates)

    def was_shut(self, person_id: int) -> bool:
        """Whether somebody was erased who had the name or the address."""
        return bool({self.people[person_id].name, self.people[person_id].address} & self.shut.keys())

    def no_from_outside_counts(self, person_id: int, claimed_at: datetime | None) -> bool:
        """A no from outside takes back a yes that is not newer than itself; of anybody else it says nothing."""
        newest = self.newest_yes_of(person_id)
        if not self.has_said_yes(person_id) or newest is None:
            return False
        return claimed_at is None or newest <= claimed_at

    def _own(self, person_id: int) -> list[Word]:
        return [word for word in self.words if word.person == person_id]

    def _noes(self, address: str) -> Iterator[Word]:
        here = {person.id for person in self.holders(address)}
        return (word for word in self.words if not word.yes and (word.person in here or word.address == address))


def _order(word: Word) -> tuple[datetime, int]:
    return word.at, word.number
