"""Webhooks: what Mailchimp tells by itself, and how to know that it was Mailchimp. Pure.

https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/

A delivery is a form in bracket notation. What it says of a member is not used, only whom it is about: the member
that is then read decides.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl

SIGNATURE_HEADER: Final = "X-Mailchimp-Signature"
TOLERANCE: Final = timedelta(seconds=300)
"""How far the moment of a signature may be from ours, either way."""
LONGEST_ADDRESS: Final = 320

_MOST_FIELDS: Final = 1000
_FIRED_AT: Final = "%Y-%m-%d %H:%M:%S"
_MOMENT: Final = re.compile(r"[0-9]{1,12}")
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "subscribe": ("data[email]",),
    "unsubscribe": ("data[email]",),
    "profile": ("data[email]",),
    "cleaned": ("data[email]",),
    "upemail": ("data[new_email]", "data[old_email]"),
}
"""Whom each event is about. Events that are not here are none we ask for."""
_ASKED_FOR: Final[Mapping[str, Any]] = {
    "events": {**dict.fromkeys(_ADDRESSES, True), "campaign": False},
    "sources": {"user": True, "admin": True, "api": False},
}
"""Every flag, as the defaults are not documented. What the API did is what we did: it is not told back to us."""
_TOLD_APART_BY: Final = ("type", "fired_at", "data[list_id]", "data[id]", "data[new_id]", "data[email]")


class DeliveryMalformed(ValueError):
    """The body is no message of Mailchimp's. Says nothing of what it holds."""


class Signature(StrEnum):
    """What a signature proves."""

    GENUINE = "genuine"
    FORGED = "forged"
    STALE = "stale"
    """Genuine once: signed too long ago, or in the future by our clock."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: whom to look at. The repr leaves out who it is about."""

    event: str
    audience_id: str
    addresses: tuple[str, ...] = field(repr=False)
    """As Mailchimp writes them; the new one before the old."""
    fired_at: datetime | None
    """Mailchimp does not say in which zone: within half a day or so."""
    identity: str = field(repr=False)
    """What tells it apart, the same for every repetition: Mailchimp gives it no id of its own. Names the person."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as Mailchimp keeps it. The repr leaves out its URL, which is a secret, and what signs it."""

    id: str
    url: str = field(repr=False)
    signing_secret: str | None = field(repr=False, default=None)
    """Told once, in the reply to its making; None also where Mailchimp does not sign."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Webhook:
        secret = document.get("signing_secret") or None
        return cls(id=_str(document["id"]), url=_str(document["url"]), signing_secret=secret and _str(secret))


def asking_for(url: str) -> dict[str, Any]:
    """Return the body that asks Mailchimp to tell this URL what people and the merchant do."""
    return {"url": url, **_ASKED_FOR}


def read(body: bytes) -> Delivery:
    """Read a delivery; raises `DeliveryMalformed`."""
    try:
        form = dict(
            parse_qsl(
                body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MOST_FIELDS
            )
        )
        return _delivery(form)
    except (ValueError, KeyError):  # UnicodeDecodeError is a ValueError
        pass
    raise DeliveryMalformed("not a message of Mailchimp's")  # outside, to keep addresses out of it


def verify(header: str, body: bytes, secret: str, now: datetime) -> Signature:
    """Tell what the signature header of a delivery proves of exactly these bytes."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    moment = next((value for name, _, value in parts if name == "t"), "")
    if not _MOMENT.fullmatch(moment):
        return Signature.FORGED
    expected = sign(secret, moment, body).encode()
    # Several may stand beside each other while a secret is changed; each is compared in constant time.
    matches = [hmac.compare_digest(value.lower().encode(), expected) for name, _, value in parts if name == "v1"]
    if not any(matches):
        return Signature.FORGED
    in_time = abs(now.timestamp() - int(moment)) <= TOLERANCE.total_seconds()
    return Signature.GENUINE if in_time else Signature.STALE


def sign(secret: str, moment: str, body: bytes) -> str:
    """Return the signature of these bytes at a moment (Unix seconds): HMAC-SHA256, in hex."""
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def _delivery(form: Mapping[str, str]) -> Delivery:
    event = form["type"]
    fired_at = form.get("fired_at", "")
    return Delivery(
        event=event,
        audience_id=form.get("data[list_id]", ""),
        addresses=tuple(_address(form[name]) for name in _ADDRESSES[event]),
        fired_at=datetime.strptime(fired_at, _FIRED_AT).replace(tzinfo=UTC) if fired_at else None,
        identity="\n".join(form.get(name, "") for name in _TOLD_APART_BY),
    )


def _address(text: str) -> str:
    if not 3 <= len(text) <= LONGEST_ADDRESS or "@" not in text or not text.isprintable():
        raise ValueError
    return text


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value
