"""What must hold when nothing happens any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.sync.histories import BAD, FAKE, TIRED, History
from tests.sync.truth import Person, address_of
from tests.sync.witness import MAILABLE, promised

Row = dict[str, Any]

UNSENDABLE = {*BAD, FAKE, TIRED, ""}
MOST_SYNCS = 5
"""After so many quiet syncs nothing is left to write."""


def all_is_quiet(history: History) -> None:
    """Nothing happens any more: after a sync everything is as promised, and a further one writes nothing."""
    if not history.connected:
        history.connects()
    _nothing_is_left_to_write(history)
    if history.errands:
        for _ in range(MOST_SYNCS):
            history.passes(timedelta(hours=6))
            history.carries_out_erasures()
            if not history.errands:
                break
        promised(not history.errands, "every erasure is carried out (B11)", open=history.errands)
        _nothing_is_left_to_write(history)
    history.book_is_as_told()
    nobody = {name for name in history.truth.erased if "@" not in name and not history.truth.named(name)}
    if nobody:
        history.nobody_is_named(nobody)
    _audience_is_as_promised(history)


def _nothing_is_left_to_write(history: History) -> None:
    settled = False
    most = 6 if history.opening.permissions else 5
    for _ in range(MOST_SYNCS):
        run = history.syncs()
        assert run is not None
        promised(
            not (settled and history.witness.writes), "a further sync writes nothing", wrote=history.witness.writes
        )
        if run.status in ("succeeded", "partial"):
            settled = not run.counts["waiting"]
            if not history.witness.writes and run.requests <= most:
                break
    else:
        promised(
            False, "the writing comes to an end, and an unchanged book costs a handful of reads", requests=run.requests
        )


def _audience_is_as_promised(history: History) -> None:
    held = {address_of(row["email_address"]): row for row in history.emulator.members(history.audience_id)}
    seen = {address: member.status for address, member in history.witness.members.items()}
    assert seen == {address: row["status"] for address, row in held.items()}, "the witness lost track"
    for address, member in history.witness.members.items():
        yes, no = history.truth.standing_yes(address), history.truth.refusal(address)
        told = {"address": address, "yes": yes, "no": no, "member": member}
        if no and member.status in MAILABLE:
            back = no.number in member.back_perhaps_since
            promised(back, "every withdrawal arrives (A10, B2a)", **told)
        elif member.ours and member.status in MAILABLE:
            promised(yes, "no member of ours stays where its customer has gone (B5)", **told)
        if yes and member.status in MAILABLE:
            _member_follows_the_book(history, history.truth.people[yes.person], held[address])
    for address in history.truth.addresses_ever - UNSENDABLE - history.witness.others_were_at:
        yes, member = history.truth.standing_yes(address), history.witness.members.get(address)
        undone = (
            member is None
            or member.opt_out is None
            or member.opt_out.no is None
            or (yes and yes.number > member.opt_out.no.number)
        )
        if yes and undone:
            there = member and member.status in MAILABLE
            promised(
                there,
                "everybody with a standing yes is in the audience (A8)",
                address=address,
                yes=yes,
                member=member,
            )
    _one_member_a_person(history)


def _one_member_a_person(history: History) -> None:
    """Never two subscribed members of ours for one person, unless somebody else consents at the other (B5)."""
    made: dict[int, list[str]] = {}
    for address, member in history.witness.members.items():
        yes = history.truth.standing_yes(address)
        if (
            member.ours
            and member.made_for
            and member.status == "subscribed"
            and (not yes or yes.person == member.made_for)
        ):
            made.setdefault(member.made_for, []).append(address)
    for person, addresses in made.items():
        promised(len(addresses) == 1, "never two members of ours for one person (B5)", person=person, at=addresses)


def _member_follows_the_book(history: History, person: Person, row: Row) -> None:
    tags = {" ".join(tag.split()).casefold() for tag in person.tags} - {""}
    missing = tags - {tag.casefold() for tag in row["tags"]}
    promised(not missing, "the book's tags travel (A18)", person=person.name, missing=missing)
    if history.mapping or history.opening.fields not in ("usual", "american"):
        return
    for tag, value in (("FNAME", person.first_name), ("LNAME", person.last_name)):
        wanted = value.strip().encode()[:255].decode(errors="ignore")
        got = row["merge_fields"].get(tag, "")
        promised(
            not wanted or got == wanted,
            "the member's fields follow the book (A8)",
            person=person.name,
            tag=tag,
            got=got,
        )
