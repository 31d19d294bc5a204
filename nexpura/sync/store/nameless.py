"""What the mirror keeps of a member where somebody was erased: only what the book says of those who have the address.

The member may bear names that the erased person gave themselves in Mailchimp, and that nobody here ever knew (B11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from nexpura.audience import desired
from nexpura.audience.member import KnownMember
from nexpura.mailchimp.member import Member, MergeValue
from nexpura.sync import facts
from nexpura.tenants import erased

Words = frozenset[str]
Value = TypeVar("Value", str, MergeValue)


def marked(tenant_id: int, members: Mapping[str, Member]) -> set[str]:
    """Return the addresses of members whom the shop has erased, by their address or by who they are in Mailchimp."""
    marks = {
        address: {erased.by_address(address), erased.by_contact(member.contact_id)}
        for address, member in members.items()
    }  # a blank contact is nobody's
    there = erased.among(tenant_id, set().union(*marks.values())).keys()
    return {address for address, own in marks.items() if own & there}


def words_of_the_book(tenant_id: int, addresses: Iterable[str]) -> dict[str, Words]:
    """Return, for each of the addresses that is in the book, every value that can fill a field of its member."""
    held = facts.load(tenant_id, dict.fromkeys(addresses, 0), absence_proven=True)
    return {
        one.address: frozenset(word for customer in one.customers for word in desired.values_of(customer))
        for one in held
        if one.customers
    }


def seen(member: Member, words: Words) -> Member:
    """Return a member that was read, as it may be kept."""
    return replace(member, merge_fields=_only(member.merge_fields, words))


def known(tenant_id: int, members: Mapping[str, KnownMember]) -> dict[str, KnownMember]:
    """Return members as they may be kept, after a reply."""
    marks = {address: erased.by_address(address) for address in members}
    there = erased.among(tenant_id, marks.values())
    words = {address: Words() for address, mark in marks.items() if mark in there}
    words |= words_of_the_book(tenant_id, words) if words else {}
    return {
        address: _known(member, words[address]) if address in words else member for address, member in members.items()
    }


def _known(member: KnownMember, words: Words) -> KnownMember:
    rewritten = {tag: pair for tag, pair in member.rewritten.items() if {pair.sent, pair.got} <= words}
    return replace(member, merge_fields=_only(member.merge_fields, words), rewritten=rewritten)


def _only(fields: Mapping[str, Value], words: Words) -> dict[str, Value]:
    return {tag: value for tag, value in fields.items() if str(value) in words}
