"""What the audience should hold for an address whose consent stands.

A `DesiredMember` can only be made from a `Granted`: whatever subscribes somebody passes through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from nexpura.audience.consent import Granted
from nexpura.audience.facts import CustomerFacts

TEXT_LIMIT = 255
"""Bytes Mailchimp keeps of a text field; sending more would differ for ever."""
TAG_LIMIT = 100
"""Characters of a tag that are sent."""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "first_name": "First name",
        "last_name": "Last name",
        "full_name": "First and last name",
        "phone": "Phone",
        "external_id": "Customer number",
    }
)
"""What of a customer can fill a merge field, with the words a person chooses by."""
MAPPING: Mapping[str, str] = MappingProxyType({"FNAME": "first_name", "LNAME": "last_name", "PHONE": "phone"})
"""What fills the audience's fields unless the tenant chose otherwise: merge tag to source."""

_US_NUMBER = re.compile(r"\+1([2-9]\d{2})([2-9]\d{2})(\d{4})")


@dataclass(frozen=True, slots=True)
class Terms:
    """The audience's own conditions, as read in this run, and what the tenant chose about them.

    `permissions` are the marketing permissions (GDPR) that the shop's consent means. `may_ask` tells whether
    Mailchimp may send its confirmation mail to people who left and said yes again.
    """

    merge_tags: frozenset[str] = frozenset({"FNAME", "LNAME", "PHONE"})
    double_optin: bool = False
    mapping: Mapping[str, str] = field(default_factory=lambda: MAPPING)
    us_phones: frozenset[str] = frozenset()
    """Fields that take North American numbers only, written 404-555-1212."""
    permissions: tuple[str, ...] = ()
    may_ask: bool = False
    lift_required: bool = False
    """Whether the audience has required fields, whose check is lifted: nobody's consent waits for a last name."""


@dataclass(frozen=True, slots=True)
class DesiredMember:
    """A subscribed member: its merge fields (never blank, B6), its tags, and the grant it rests on."""

    merge_fields: Mapping[str, str]
    tags: tuple[str, ...]
    consent_at: datetime
    consent_ip: str


def member_for(granted: Granted, terms: Terms) -> DesiredMember:
    """Return the member this grant asks for. Blanks are left out: they never wipe Mailchimp's value."""
    fields = {
        tag: _cut(_value(granted.customer, source, us_phone=tag in terms.us_phones).strip())
        for tag, source in terms.mapping.items()
        if tag in terms.merge_tags
    }
    return DesiredMember(
        {tag: value for tag, value in fields.items() if value},
        tags_of(granted.customer),
        granted.event.at,
        granted.event.ip,
    )


def values_of(customer: CustomerFacts) -> frozenset[str]:
    """Return every value that this customer can fill a field with, whatever is chosen to fill it."""
    values = (
        _cut(_value(customer, source, us_phone=us_phone).strip()) for source in SOURCES for us_phone in (False, True)
    )
    return frozenset(values) - {""}


def tags_of(customer: CustomerFacts) -> tuple[str, ...]:
    """Return the customer's tags as they travel: trimmed, each once whatever its case, in the book's order."""
    named = (" ".join(tag.split())[:TAG_LIMIT] for tag in customer.tags)
    return tuple({tag.casefold(): tag for tag in reversed([*named]) if tag}.values())[::-1]


def _value(customer: CustomerFacts, source: str, *, us_phone: bool) -> str:
    match source:
        case "first_name":
            return customer.first_name
        case "last_name":
            return customer.last_name
        case "full_name":
            return f"{customer.first_name} {customer.last_name}"
        case "phone":
            return us_phone_of(customer.phone) if us_phone else customer.phone
        case "external_id":
            return customer.external_id
        case _:
            return ""


def us_phone_of(phone: str) -> str:
    """Return the number as such a field wants it; blank for a number of elsewhere, which it would refuse."""
    found = _US_NUMBER.fullmatch(phone)
    return "-".join(found.groups()) if found else ""


def _cut(value: str) -> str:
    return value.encode()[:TEXT_LIMIT].decode(errors="ignore")
