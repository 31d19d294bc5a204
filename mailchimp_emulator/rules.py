"""What a write does to a member: addresses, transitions, merge fields, tags. One place per rule.

Every function decides first and changes last, so a refused write leaves nothing behind.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailchimp_emulator import clock, events, hashing, merge, problems
from mailchimp_emulator.events import BY_API, Cause
from mailchimp_emulator.state import Audience, AuditRow, Member, State

BY_ADMIN = "N/A (Unsubscribed by admin)"
BY_PERSON = "None given"
COMPLAINED = "Abuse complaint"

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,63}|xn--[A-Za-z0-9-]{2,59})")
_FAKE_ADDRESSES = {"foo@bar.com", "test@test.com"}
_FAKE_DOMAINS = {"example.com", "example.net", "example.org"}
_FAKE_ENDINGS = {"tst", "test", "invalid", "localhost", "local"}
_PLAIN_FIELDS = ("email_type", "language", "vip", "ip_signup", "ip_opt")
_MOMENTS = ("timestamp_signup", "timestamp_opt")


@dataclass(slots=True)
class Writer:
    """Who writes: the request or event named in the audit trail. Counts the members it changed, and tells webhooks."""

    state: State
    request: int | str
    ip: str
    cause: Cause = BY_API
    writes: int = 0
    _untold: list[AuditRow] = field(default_factory=list)  # what was noted since the last `wrote`

    def now(self) -> int:
        return self.state.clock.now()

    def note(self, audience: Audience, member: Member, event: str, field: str, old: Any, new: Any) -> None:
        row = AuditRow(self.now(), audience.id, member.email_address, event, field, old, new, self.request)
        self.state.audit.append(row)
        if audience.webhooks:
            self._untold.append(row)

    def wrote(self, audience: Audience, member: Member) -> None:
        """Call this once at the end of each member's write: what was noted before happened together."""
        self.writes += 1
        self.state.writes += 1
        if self._untold:
            rows, self._untold = self._untold, []
            self._tell(audience, member, events.change(rows, member.status))

    def _tell(self, audience: Audience, member: Member, change: events.Change) -> None:
        for event in events.of(change):
            hooks = [hook for hook in audience.webhooks.values() if hook.wants(event, self.cause.source)]
            if hooks:
                body = events.body(event, audience, member, change, self.cause, self.now())
                for hook in hooks:
                    self.state.outbox.send(hook, event, member.email_address, body)


def check_address(address: str) -> None:
    """Refuse what is no address and what looks made up. Only ASCII is taken; white space is not stripped."""
    local, at, domain = address.rpartition("@")
    if not at or len(address) > 254 or len(local) > 64 or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise problems.invalid_address()
    domain = domain.lower()
    if address.lower() in _FAKE_ADDRESSES or domain in _FAKE_DOMAINS or domain.rpartition(".")[2] in _FAKE_ENDINGS:
        raise problems.fake_address(address)


def check_welcome(audience: Audience, address: str) -> None:
    """Refuse an address that may not come onto this list: permanently deleted, or signing up too often."""
    if hashing.subscriber_hash(address) in audience.forgotten:
        raise problems.forgotten_address(address)
    if address.lower() in audience.account.throttled:
        raise problems.throttled_address(address)


def may_become(member: Member, status: str) -> bool:
    """Whether the API may give the member this status; only the person can bring back some of them.

    Archiving, `pending` and `transactional` do not wash off an unsubscribe, a complaint or a bounce.
    """
    if status == member.status or status not in ("subscribed", "pending"):
        return True
    if member.compliance or member.status == "cleaned":
        return False
    return status == "pending" or member.unsubscribed_by != "user"


def create(audience: Audience, body: Mapping[str, Any], status: str, writer: Writer, *, check_required: bool) -> Member:
    """A new member with the status asked for; its address must be free."""
    address = body["email_address"]
    check_address(address)
    check_welcome(audience, address)
    values = merge.checked(audience.merge_fields, body.get("merge_fields", {}), {}, check_required=check_required)
    values = {tag: value for tag, value in values.items() if value != ""}
    interests, permissions = _interests(audience, (), body), _permissions(audience, (), body)
    now = writer.now()
    member = Member(
        web_id=audience.next_web_id(),
        email_address=address,
        id=hashing.subscriber_hash(address),
        status=status,
        values={audience.merge_fields[tag].merge_id: value for tag, value in values.items()},
        last_changed=now,
        timestamp_opt=now if status == "subscribed" else None,
        ip_opt=writer.ip if status == "subscribed" else "",
        interests=interests,
        permissions=permissions,
    )
    for name, value in _plain_values(member, body).items():
        setattr(member, name, value)
    member.tags = tuple((audience.tag(name), now) for name in dict.fromkeys(body.get("tags", ())))
    _marks_of(member, status, now)
    audience.add(member)
    _stats(audience, status, writer)
    new = {
        "status": status,
        "merge_fields": values,
        "tags": [tag.name for tag, _ in member.tags],
    }
    writer.note(audience, member, "created", "", None, json.dumps(new).encode())
    writer.wrote(audience, member)
    return member


def update(
    audience: Audience,
    member: Member,
    body: Mapping[str, Any],
    writer: Writer,
    *,
    check_required: bool,
    taken: Callable[[str], problems.Problem] = problems.member_exists,
    renew_opt_in: bool = False,
) -> None:
    """Change what the body names; a write that changes nothing does not move `last_changed`."""
    address = _new_address(audience, member, body, taken)
    status = body.get("status") or member.status
    if not may_become(member, status):
        raise problems.compliance_state(member.email_address)
    sent = body.get("merge_fields", {})
    values = merge.checked(
        audience.merge_fields,
        sent,
        member.values,
        check_required=check_required and "merge_fields" in body,
    )
    plain = _plain_values(member, body)
    plain["interests"] = _interests(audience, member.interests, body)
    plain["permissions"] = _permissions(audience, member.permissions, body)
    if renew_opt_in:
        plain = {"timestamp_opt": writer.now(), "ip_opt": writer.ip} | plain
    changed = _apply_values(audience, member, values, writer)
    changed |= _apply_plain(audience, member, plain, writer)
    changed |= apply_status(audience, member, status, writer)
    if address:
        writer.note(audience, member, "address", "email_address", member.email_address, address)
        audience.rename(member, address)
        changed = True
    if changed:
        audience.touch(member, writer.now())
        writer.wrote(audience, member)


def set_fields(audience: Audience, member: Member, sent: Mapping[str, Any], writer: Writer) -> bool:
    """Change merge fields as part of something larger, which the caller ends with `wrote`; whether any changed."""
    values = merge.checked(audience.merge_fields, sent, member.values, check_required=False)
    return _apply_values(audience, member, values, writer)


def apply_status(
    audience: Audience,
    member: Member,
    status: str,
    writer: Writer,
    *,
    by: str = "admin",
    reason: str = BY_ADMIN,
) -> bool:
    """Set the status without asking whether it is allowed; whether it changed."""
    old = member.status
    if status == old:
        return False
    writer.note(audience, member, "status", "status", old, status)
    audience.set_status(member, status)
    _marks_of(member, status, writer.now(), by=by, reason=reason, old=old)
    if status == "subscribed" and member.timestamp_opt is None:
        member.timestamp_opt = writer.now()
    _stats(audience, status, writer)
    return True


def set_tags(audience: Audience, member: Member, on: Iterable[str], off: Iterable[str], writer: Writer) -> bool:
    """Add and remove tags by name; whether that changed anything. Tags of the newest call stand first."""
    held = {tag.name for tag, _ in member.tags}
    new = [name for name in dict.fromkeys(on) if name not in held]
    gone = held.intersection(off)
    if not new and not gone:
        return False
    old = [tag.name for tag, _ in member.tags]
    now = writer.now()
    kept = tuple(pair for pair in member.tags if pair[0].name not in gone)
    member.tags = tuple((audience.tag(name), now) for name in new) + kept
    writer.note(audience, member, "tags", "tags", old, [tag.name for tag, _ in member.tags])
    return True


def archive(audience: Audience, member: Member, writer: Writer) -> None:
    """Take out of the audience; the member can still be read and can return."""
    if member.status in ("cleaned", "pending", "archived"):
        raise problems.cannot_be_archived()
    apply_status(audience, member, "archived", writer)
    audience.touch(member, writer.now())
    writer.wrote(audience, member)


def forget(audience: Audience, member: Member, writer: Writer) -> None:
    """Delete permanently; the API can never add the address again."""
    writer.note(audience, member, "deleted", "status", member.status, None)
    audience.remove(member)
    audience.forgotten.add(member.id)
    writer.wrote(audience, member)


def _new_address(
    audience: Audience, member: Member, body: Mapping[str, Any], taken: Callable[[str], problems.Problem]
) -> str | None:
    """The address to rename the member to, if the body has another one than its own (case does not count)."""
    address = body.get("email_address")
    if not address or hashing.subscriber_hash(address) == member.id:
        return None
    check_address(address)
    if hashing.subscriber_hash(address) in audience.members:
        raise taken(address)
    check_welcome(audience, address)
    if member.compliance or member.unsubscribed_by == "user" or member.status == "cleaned":
        raise problems.compliance_state(member.email_address)
    return str(address)


def _plain_values(member: Member, body: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: body[name] for name in _PLAIN_FIELDS if body.get(name) not in (None, "")}
    values |= {name: clock.read(body[name]) for name in _MOMENTS if body.get(name)}
    if "location" in body:
        latitude, longitude = member.location
        place = {"latitude": latitude, "longitude": longitude} | body["location"]
        values["location"] = (float(place["latitude"]), float(place["longitude"]))
    return values


def _permissions(audience: Audience, held: tuple[str, ...], body: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the marketing permissions that are on after this write; those it does not name stay as they are."""
    on = set(held)
    for item in body.get("marketing_permissions", ()):
        key = item["marketing_permission_id"]
        if key not in audience.permissions:
            raise problems.unknown_permission(key)
        (on.add if item["enabled"] else on.discard)(key)
    return tuple(known for known in audience.permissions if known in on)


def _interests(audience: Audience, held: tuple[str, ...], body: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the interests that are on after this write; those it does not name stay as they are."""
    on = set(held)
    for key, wanted in body.get("interests", {}).items():
        if key not in audience.interests:
            raise problems.invalid_interest(key)
        (on.add if wanted else on.discard)(key)
    return tuple(known for known in audience.interests if known in on)


def _apply_values(audience: Audience, member: Member, values: Mapping[str, Any], writer: Writer) -> bool:
    changed = {}
    for tag, value in values.items():
        key = audience.merge_fields[tag].merge_id
        old = member.values.get(key, "")
        if old != value:
            writer.note(audience, member, "field", tag, old, value)
            changed[key] = value
    if changed:
        member.values = {key: value for key, value in (member.values | changed).items() if value != ""}
    return bool(changed)


def _apply_plain(audience: Audience, member: Member, plain: Mapping[str, Any], writer: Writer) -> bool:
    changed = False
    for name, value in plain.items():
        old = getattr(member, name)
        if old != value:
            writer.note(audience, member, "field", name, old, value)
            setattr(member, name, value)
            changed = True
    return changed


def _marks_of(
    member: Member, status: str, now: int, *, by: str = "admin", reason: str = BY_ADMIN, old: str = ""
) -> None:
    """Remember what a status says about who may bring the member back, and since when they are out."""
    if status == "subscribed":
        member.unsubscribed_by, member.unsubscribe_reason, member.compliance = "", "", False
    elif status == "unsubscribed":
        member.unsubscribed_at = now
        member.compliance = member.compliance or old == "cleaned"
        if member.unsubscribed_by != "user":
            member.unsubscribed_by, member.unsubscribe_reason = by, reason
    elif status == "cleaned" or old == "cleaned":
        member.compliance = True


def _stats(audience: Audience, status: str, writer: Writer) -> None:
    if status == "subscribed":
        audience.last_sub_at = writer.now()
    elif status == "unsubscribed":
        audience.last_unsub_at = writer.now()
    elif status == "pending":
        audience.confirmation_mails += 1
