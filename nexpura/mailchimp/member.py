"""What Mailchimp tells about members, audiences and accounts, as plain values. Mailchimp's JSON keys end here.

The readers raise KeyError, TypeError or ValueError for a document of another shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

MergeValue = str | int | float | Mapping[str, Any]
"""What a merge field holds: text, a number, or (an address) parts by name."""

MEMBER_FIELDS: Final = (
    "id",
    "email_address",
    "status",
    "merge_fields",
    "contact_id",
    "last_changed",
    "timestamp_opt",
    "unsubscribe_reason",
    "tags",
)
"""The keys of a member document that `Member.from_json` reads: all that is asked for in listings."""

AUDIENCE_FIELDS: Final = (
    "id",
    "name",
    "double_optin",
    "marketing_permissions",
    "stats.member_count",
    "stats.unsubscribe_count",
    "stats.cleaned_count",
)

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
SCALARS: Final = (str, int, float)
"""Types of merge values that can be compared with a text; an address, say, is an object."""


def subscriber_hash(address: str) -> str:
    """A member's id in paths: MD5 of the address in lower case. Only ASCII letters are lowered."""
    return hashlib.md5(address.encode().lower(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Member:
    """One address in an audience, as Mailchimp last told it. The repr leaves out who it is."""

    id: str = field(repr=False)
    address: str = field(repr=False)
    """As Mailchimp writes it: capitals are kept there."""
    status: str
    merge_fields: Mapping[str, MergeValue] = field(repr=False)
    contact_id: str = field(repr=False)
    """Stays when the address changes; blank in replies of old accounts."""
    last_changed: datetime
    """1970 if Mailchimp names no moment."""
    timestamp_opt: datetime | None = None
    unsubscribe_reason: str | None = None
    tags: tuple[str, ...] = ()
    """Fifty at most are told."""
    permissions: tuple[tuple[str, str], ...] = ()
    """Id and text of each marketing permission of the audience, whether given or not; told by single reads only."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Member:
        """Read a member document, whole or cut down to `MEMBER_FIELDS`."""
        return cls(
            id=_str(document["id"]),
            address=_str(document["email_address"]),
            status=_str(document["status"]),
            merge_fields=dict(document.get("merge_fields") or {}),  # an empty one may come as a list
            contact_id=document.get("contact_id") or "",
            last_changed=_moment(document.get("last_changed")) or NEVER,
            timestamp_opt=_moment(document.get("timestamp_opt")),
            unsubscribe_reason=document.get("unsubscribe_reason") or None,
            tags=tuple(_str(tag["name"]) for tag in document.get("tags") or ()),
            permissions=cls.permissions_from_json(document),
        )

    @staticmethod
    def permissions_from_json(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """Read the marketing permissions a member document shows."""
        shown = document.get("marketing_permissions") or ()
        return tuple((_str(one["marketing_permission_id"]), _str(one["text"])) for one in shown)


@dataclass(frozen=True, slots=True)
class MemberPage:
    """A part of an audience's listing. Pages may come in any order, and overlap if the audience changes meanwhile."""

    members: tuple[Member, ...] = field(repr=False)
    total_items: int
    offset: int
    at: datetime
    """Mailchimp's clock when it answered."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Mailchimp's list of people. The counts are cached there and may be minutes old."""

    id: str
    name: str
    double_optin: bool
    marketing_permissions: bool
    member_count: int
    """Subscribed members only."""
    unsubscribe_count: int
    cleaned_count: int

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audience:
        stats = document.get("stats") or {}
        return cls(
            id=_str(document["id"]),
            name=_str(document["name"]),
            double_optin=bool(document.get("double_optin")),
            marketing_permissions=bool(document.get("marketing_permissions")),
            member_count=int(stats.get("member_count") or 0),
            unsubscribe_count=int(stats.get("unsubscribe_count") or 0),
            cleaned_count=int(stats.get("cleaned_count") or 0),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """Whose key it is. `login_id` is the Mailchimp user whose simultaneous requests are counted together."""

    account_id: str
    login_id: str
    """The account's id where Mailchimp does not name the user."""
    name: str
    role: str
    total_subscribers: int

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Account:
        account_id = str(document["account_id"])
        return cls(
            account_id=account_id,
            login_id=str(document.get("login_id") or account_id),
            name=document.get("account_name") or "",
            role=document.get("role") or "",
            total_subscribers=int(document.get("total_subscribers") or 0),
        )


@dataclass(frozen=True, slots=True)
class MergeField:
    """A typed field of the audience. `options` holds for example `phone_format` or `choices`."""

    tag: str
    type: str
    required: bool
    options: Mapping[str, Any]
    name: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MergeField:
        return cls(
            tag=_str(document["tag"]),
            type=_str(document["type"]),
            required=bool(document.get("required")),
            options=dict(document.get("options") or {}),
            name=document.get("name") or "",
        )


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _moment(text: str | None) -> datetime | None:
    """Read Mailchimp's ISO 8601, "" for a moment that never was; without an offset it is UTC."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
