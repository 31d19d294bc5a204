"""What the people of an audience do, and the merchant in Mailchimp's own pages. The API has no part in it."""

from collections.abc import Callable
from typing import Any

from mailchimp_emulator import hashing, merge, problems, rules
from mailchimp_emulator.events import Cause
from mailchimp_emulator.problems import Problem
from mailchimp_emulator.rules import Writer
from mailchimp_emulator.seeding import UnclearError, choice, known, mapping, text
from mailchimp_emulator.state import Audience, Member, State

_BY_MERCHANT = ("unsubscribe_admin", "merge", "archive", "delete_permanent")
Event = Callable[[Audience, Member, dict[str, Any], Writer], None]


def happen(state: State, body: Any, place: str = "member_event") -> None:
    """Carry out one event. An event that cannot befall this member is refused and changes nothing."""
    given = known(body, place, "list_id", "email", "event", "merge_fields", "new_email", "campaign_id")
    audience = state.audience(text(given.get("list_id"), f"{place}.list_id"))
    if audience is None:
        raise UnclearError(f"{place}.list_id: there is no audience {given['list_id']!r}")
    email = text(given.get("email"), f"{place}.email")
    event = choice(given.get("event"), f"{place}.event", ("signup", *EVENTS))
    for field, message in merge.schema_errors(mapping(given.get("merge_fields", {}), f"{place}.merge_fields")):
        raise UnclearError(f"{place}.{field}: {message}")
    writer = Writer(state, f"member_event {event}", "", _cause(event, given, place))
    try:
        if event == "signup":
            _sign_up(audience, email, given, writer)
            return
        member = audience.find_address(email)
        if member is None:
            raise UnclearError(f"{place}.email: no member of {audience.id} has this address")
        EVENTS[event](audience, member, given, writer)
    except Problem as problem:
        raise UnclearError(f"{place}: {event}: {problem.detail}") from None


def _cause(event: str, given: dict[str, Any], place: str) -> Cause:
    """What webhooks hear of who did it. A bounce counts as the person's doing."""
    return Cause(
        source="admin" if event in _BY_MERCHANT else "user",
        reason="abuse" if event == "complaint" else "manual",
        campaign_id=text(given.get("campaign_id", ""), f"{place}.campaign_id"),
    )


def _unsubscribe(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    _leave(audience, member, writer, rules.BY_PERSON)


def _complain(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    _leave(audience, member, writer, rules.COMPLAINED)
    member.compliance = True


def _leave(audience: Audience, member: Member, writer: Writer, reason: str) -> None:
    """The person's own no; it outranks an earlier unsubscribe by the merchant. Said twice it changes nothing."""
    before = member.status, member.unsubscribed_by, member.unsubscribe_reason
    member.unsubscribed_by, member.unsubscribe_reason = "user", reason
    rules.apply_status(audience, member, "unsubscribed", writer, by="user", reason=reason)
    if before != (member.status, member.unsubscribed_by, member.unsubscribe_reason):
        _changed(audience, member, writer)


def _bounce(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    if rules.apply_status(audience, member, "cleaned", writer):
        _changed(audience, member, writer)


def _edit(audience: Audience, member: Member, given: dict[str, Any], writer: Writer) -> None:
    body = {"merge_fields": given.get("merge_fields", {})}
    rules.update(audience, member, body, writer, check_required=False)


def _change_address(audience: Audience, member: Member, given: dict[str, Any], writer: Writer) -> None:
    address = text(given.get("new_email"), "member_event.new_email")
    rules.check_address(address)
    if audience.find_address(address):
        raise UnclearError("member_event.new_email: the address is a member already")
    if hashing.subscriber_hash(address) in audience.forgotten:
        raise problems.forgotten_address(address)
    writer.note(audience, member, "address", "email_address", member.email_address, address)
    audience.rename(member, address)
    _changed(audience, member, writer)


def _confirm(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    if member.status != "pending":
        raise UnclearError("member_event.event: only a pending member can confirm")
    _join(audience, member, writer)


def _unsubscribe_by_merchant(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    if rules.apply_status(audience, member, "unsubscribed", writer):
        _changed(audience, member, writer)


def _archive(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    rules.archive(audience, member, writer)


def _delete_permanently(audience: Audience, member: Member, _given: dict[str, Any], writer: Writer) -> None:
    rules.forget(audience, member, writer)


def _sign_up(audience: Audience, email: str, given: dict[str, Any], writer: Writer) -> None:
    """The person fills in Mailchimp's form, which brings anybody back (first pending, with double opt-in)."""
    body = {"email_address": email, "merge_fields": given.get("merge_fields", {})}
    rules.check_address(email)
    status = "pending" if audience.double_optin else "subscribed"
    member = audience.find_address(email)
    if member is None:
        throttled, audience.account.throttled = audience.account.throttled, set()
        forgotten, audience.forgotten = audience.forgotten, set()
        try:
            member = rules.create(audience, body, status, writer, check_required=True)
        finally:
            audience.account.throttled, audience.forgotten = throttled, forgotten
        audience.forgotten.discard(member.id)
        member.source = "Hosted Signup Form"
        member.timestamp_signup = writer.now()
    elif member.status != "subscribed":
        changed = rules.set_fields(audience, member, body["merge_fields"], writer)
        changed |= member.timestamp_signup != writer.now()
        member.timestamp_signup = writer.now()
        if status == "pending":
            if rules.apply_status(audience, member, "pending", writer) or changed:
                _changed(audience, member, writer)
        else:
            _join(audience, member, writer)


def _join(audience: Audience, member: Member, writer: Writer) -> None:
    member.timestamp_opt = writer.now()
    rules.apply_status(audience, member, "subscribed", writer)
    _changed(audience, member, writer)


def _changed(audience: Audience, member: Member, writer: Writer) -> None:
    audience.touch(member, writer.now())
    writer.wrote(audience, member)


EVENTS: dict[str, Event] = {
    "unsubscribe": _unsubscribe,
    "complaint": _complain,
    "hard_bounce": _bounce,
    "profile": _edit,
    "address": _change_address,
    "confirm": _confirm,
    "unsubscribe_admin": _unsubscribe_by_merchant,
    "merge": _edit,
    "archive": _archive,
    "delete_permanent": _delete_permanently,
}
