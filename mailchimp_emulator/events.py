"""From a write to the events it means for webhooks, and to the form that tells one. Pure.

| status before -> after                                 | event                          |
|--------------------------------------------------------|--------------------------------|
| anything else or nobody -> subscribed                  | subscribe                      |
| subscribed, pending, transactional -> unsubscribed     | unsubscribe, action unsub      |
| subscribed -> archived or permanently deleted          | unsubscribe, action delete     |
| anybody -> cleaned                                     | cleaned                        |
| a field changed, and the above does not tell it        | profile                        |
| the address changed                                    | upemail and profile            |

Of the pending and the archived neither profile nor upemail is told; a tag is no event.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mailchimp_emulator import hashing
from mailchimp_emulator.state import Audience, AuditRow, Interest, Member

Form = dict[str, Any]
_COULD_LEAVE = ("subscribed", "pending", "transactional")
_UNTOLD = (None, "pending", "archived")


@dataclass(frozen=True, slots=True)
class Cause:
    """Through which door a write came, and what an unsubscribe or a bounce says of it."""

    source: str = "api"  # or user or admin
    reason: str = "manual"  # or abuse
    campaign_id: str = ""


BY_API = Cause()


@dataclass(frozen=True, slots=True)
class Change:
    """What one write did to one member. The status is None before there was one, and after a permanent deletion."""

    before: str | None
    after: str | None
    edited: bool = False
    old_address: str = ""


def change(rows: Sequence[AuditRow], status: str) -> Change:
    """The change that these rows of the audit tell of a member who now has this status."""
    statuses = [row.old for row in rows if row.event in ("created", "status")]
    addresses = [row.old for row in rows if row.event == "address"]
    return Change(
        before=statuses[0] if statuses else status,
        after=None if rows[-1].event == "deleted" else status,
        edited=any(row.event == "field" for row in rows),
        old_address=addresses[0] if addresses else "",
    )


def of(change: Change) -> list[str]:
    """The types of the events, in the order they are sent."""
    status = _of_status(change.before, change.after)
    found = [status] if status else []
    if change.before is None or change.after in _UNTOLD:
        return found
    if change.old_address:
        found.append("upemail")
    if change.old_address or (change.edited and status not in ("subscribe", "unsubscribe")):
        found.append("profile")
    return found


def _of_status(before: str | None, after: str | None) -> str | None:
    if after == before:
        return None
    if after == "subscribed":
        return "subscribe"
    if after == "unsubscribed":
        return "unsubscribe" if before in _COULD_LEAVE else None
    if after == "cleaned":
        return None if before is None else "cleaned"
    return "unsubscribe" if before == "subscribed" and after in (None, "archived") else None


def body(event: str, audience: Audience, member: Member, change: Change, cause: Cause, now: int) -> bytes:
    """The bytes to POST: a form in bracket notation, everything in it a string."""
    data = _DATA[event](audience, member, change, cause, now)
    form = {"type": event, "fired_at": _fired_at(now), "data": data}
    return urlencode(list(_flat(form))).encode()


def _person(audience: Audience, member: Member, _change: Change, _cause: Cause, _now: int) -> Form:
    """What subscribe and profile tell. IP addresses are left out where there are none, as on the tapes."""
    merges = _merges(audience, member) | _groupings(audience, member)
    return _who(audience, member) | {"merges": merges, "list_id": audience.id}


def _unsubscribe(audience: Audience, member: Member, change: Change, cause: Cause, _now: int) -> Form:
    """The same after what was done; `campaign_id` only if a campaign's link was followed."""
    action = {"action": "unsub" if change.after == "unsubscribed" else "delete", "reason": cause.reason}
    campaign = {"campaign_id": cause.campaign_id} if cause.campaign_id else {}
    merges = {"merges": _merges(audience, member), "list_id": audience.id}
    return action | _who(audience, member) | campaign | merges


def _cleaned(audience: Audience, member: Member, _change: Change, cause: Cause, now: int) -> Form:
    return {
        "campaign_id": cause.campaign_id or hashing.campaign_id(audience.id, now),
        "reason": "hard",
        "email": member.email_address,
        "list_id": audience.id,
    }


def _upemail(audience: Audience, member: Member, change: Change, _cause: Cause, _now: int) -> Form:
    return {
        "new_id": _id(audience, member),
        "new_email": member.email_address,
        "old_email": change.old_address,
        "list_id": audience.id,
    }


def _who(audience: Audience, member: Member) -> Form:
    ips = {"ip_opt": member.ip_opt, "ip_signup": member.ip_signup}
    return {
        "id": _id(audience, member),
        "email": member.email_address,
        "email_type": member.email_type,
        **{name: ip for name, ip in ips.items() if ip},
        "web_id": member.web_id,
    }


def _id(audience: Audience, member: Member) -> str:
    return hashing.unique_email_id(audience.account.account_id, member.email_address)


def _merges(audience: Audience, member: Member) -> Form:
    """The merge fields, and in one text the interests; of them nothing where the audience has none."""
    interests = {"INTERESTS": _names(audience.interests.values(), member)} if audience.interests else {}
    return {"EMAIL": member.email_address} | audience.tagged(member) | interests


def _groupings(audience: Audience, member: Member) -> Form:
    """The interests group by group."""
    groups: dict[str, list[Interest]] = {}
    for interest in audience.interests.values():
        groups.setdefault(interest.group, []).append(interest)
    rows = []
    for name, interests in groups.items():
        number, unique_id = hashing.group_ids(audience.id, name)
        rows.append({"id": number, "unique_id": unique_id, "name": name, "groups": _names(interests, member)})
    return {"GROUPINGS": rows} if rows else {}


def _names(interests: Iterable[Interest], member: Member) -> str:
    return ", ".join(interest.name for interest in interests if interest.id in member.interests)


def _fired_at(now: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names such as data[merges][FNAME]."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(item, f"{name}[{key}]" if name else str(key))
    else:
        yield name, f"{value:.15g}" if isinstance(value, float) else str(value)


_DATA = {
    "subscribe": _person,
    "profile": _person,
    "unsubscribe": _unsubscribe,
    "cleaned": _cleaned,
    "upemail": _upemail,
}
