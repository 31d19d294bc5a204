"""What the audience should hold for an address whose consent stands.

A `DesiredMember` can only be made from a `Granted`: whatever subscribes somebody passes through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nexpura.audience.consent import Granted

TEXT_LIMIT = 255
"""Bytes Mailchimp keeps of a text field; sending more would differ for ever."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The audience's own conditions, as read in this run."""

    merge_tags: frozenset[str] = frozenset({"FNAME", "LNAME", "PHONE"})
    double_optin: bool = False


@dataclass(frozen=True, slots=True)
class DesiredMember:
    """A subscribed member: its merge fields (never blank, B6) and the grant it rests on."""

    merge_fields: Mapping[str, str]
    consent_at: datetime
    consent_ip: str


def member_for(granted: Granted, terms: Terms) -> DesiredMember:
    """Return the member this grant asks for. Blanks are left out: they never wipe Mailchimp's value."""
    customer = granted.customer
    values = {"FNAME": customer.first_name, "LNAME": customer.last_name, "PHONE": customer.phone}
    fields = {tag: _cut(value.strip()) for tag, value in values.items() if tag in terms.merge_tags}
    return DesiredMember({tag: value for tag, value in fields.items() if value}, granted.event.at, granted.event.ip)


def _cut(value: str) -> str:
    return value.encode()[:TEXT_LIMIT].decode(errors="ignore")
