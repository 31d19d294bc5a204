"""What a reply means for a change: pure, so that every combination can be laid out in a table of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nexpura.audience import diff
from nexpura.audience.member import KnownMember, OptOutRecord, Refusal, Rewritten, Status
from nexpura.audience.plan import Add, Bucket, Change, NoChange, OptOut, Undo, Update
from nexpura.audience.reasons import Reason
from nexpura.mailchimp import errors
from nexpura.mailchimp.member import Member
from nexpura.mailchimp.result import Accepted, Deferred, Refused, Result

THROTTLE_WAIT = timedelta(days=1)

_REASONS = {
    errors.Refusal.INVALID_ADDRESS: Reason.INVALID_EMAIL,
    errors.Refusal.FAKE_ADDRESS: Reason.FAKE_EMAIL,
    errors.Refusal.THROTTLED_ADDRESS: Reason.THROTTLED,
    errors.Refusal.COMPLIANCE: Reason.COMPLIANCE,
    errors.Refusal.FORGOTTEN: Reason.FORGOTTEN,
    errors.Refusal.MERGE_FIELDS: Reason.MERGE_FIELDS,
}


@dataclass(frozen=True, slots=True)
class Settled:
    """What to store: the result's state and bucket for the run, the member as now known, where it stands.

    `again` keeps the address marked, for the next run to decide anew.
    """

    state: str
    bucket: Bucket
    standing: NoChange
    known: KnownMember
    again: bool = False


def of(change: Change, known: KnownMember, result: Result, now: datetime) -> Settled:
    """Return what became of `change`, planned when the member was `known`."""
    match result:
        case Accepted(member):
            return _accepted(change, known, member)
        case Refused(errors.NotFound()):
            return _gone(change, known)
        case Refused(error):
            return _refused(change, known, error, now)
        case Deferred(error):
            waiting = NoChange(Bucket.WAITING, Reason.BUSY)
            state = "sending" if error.perhaps_done else "deferred"  # the next reading finds whether it landed
            return Settled(state, Bucket.WAITING, waiting, known, again=True)


def touched(known: KnownMember, member: Member) -> Settled:
    """Return the outcome of an undo that was not sent: the member was touched since our opt-out (B2)."""
    seen = _seen(known, member)
    standing = diff.standing_of(seen.status)
    return Settled("skipped", standing.bucket, standing, replace(seen, opt_out=None))


def _accepted(change: Change, known: KnownMember, member: Member) -> Settled:
    seen = replace(_seen(known, member), refusal=None)
    match change:
        case Add():
            seen = _sent(seen, change.merge_fields)
            seen = replace(seen, added_by_us=seen.status is change.status_if_new)
            return _standing(seen, Bucket.ADDED)
        case Update():
            return _standing(_sent(seen, change.merge_fields), Bucket.UPDATED)
        case Undo():
            return _standing(replace(_sent(seen, change.merge_fields), opt_out=None), Bucket.ADDED)
        case OptOut():
            return _opted_out(change, seen)


def _opted_out(change: OptOut, seen: KnownMember) -> Settled:
    if seen.status in diff.MAILABLE or seen.last_changed is None:
        told = f"Mailchimp accepted the unsubscribe but answered with status {seen.status.value}."
        return Settled("refused", Bucket.FAILED, NoChange(Bucket.FAILED, Reason.REFUSED, told), seen, again=True)
    reason = Reason.WITHDRAWN if change.withdrawal else Reason.NEVER_ASKED
    seen = replace(
        seen,
        opt_out=OptOutRecord(change.cause, seen.last_changed),
        carried_out=change.withdrawal or seen.carried_out,
    )
    return Settled("accepted", Bucket.UNSUBSCRIBED, NoChange(Bucket.WITHHELD, reason), seen)


def _standing(seen: KnownMember, done: Bucket) -> Settled:
    """Where a member with a grant stands after the reply: `done` if it is subscribed, by its status otherwise."""
    standing = diff.standing_of(seen.status)
    return Settled("accepted", done if standing.bucket is Bucket.AGREEMENT else standing.bucket, standing, seen)


def _gone(change: Change, known: KnownMember) -> Settled:
    """Mailchimp has no such member any more: an opt-out is thereby done, anything else is decided anew."""
    absent = KnownMember(Status.ABSENT, carried_out=known.carried_out)
    if isinstance(change, OptOut):
        standing = NoChange(Bucket.WITHHELD, Reason.WITHDRAWN if change.withdrawal else Reason.NEVER_ASKED)
        absent = replace(absent, carried_out=change.withdrawal or known.carried_out)
        return Settled("skipped", Bucket.WITHHELD, standing, absent)
    waiting = NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)
    return Settled("deferred", Bucket.WAITING, waiting, absent, again=True)


def _refused(change: Change, known: KnownMember, error: errors.MailchimpError, now: datetime) -> Settled:
    kind = error.kind if isinstance(error, errors.MemberRefused) else errors.Refusal.OTHER
    if kind is errors.Refusal.EXISTS:
        waiting = NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)
        return Settled("deferred", Bucket.WAITING, waiting, known, again=True)
    reason = _REASONS.get(kind, Reason.REFUSED)
    retry_at = now + THROTTLE_WAIT if reason is Reason.THROTTLED else None
    refusal = Refusal(reason.value, diff.fingerprint(_desired(change)), retry_at, _without_address(error.detail))
    standing = diff.standing_of_refusal(refusal)
    return Settled(
        "refused",
        standing.bucket,
        standing,
        replace(known, refusal=refusal, opt_out=_opt_out(change, known)),
        again=isinstance(change, OptOut),  # a withdrawal is never given up
    )


def _desired(change: Change) -> Mapping[str, str]:
    """All fields the book wants, of which an update sends only the differing ones."""
    match change:
        case OptOut():
            return {}
        case Update():
            return change.desired
        case _:
            return change.merge_fields


def _opt_out(change: Change, known: KnownMember) -> OptOutRecord | None:
    """A refused undo is not tried again: Mailchimp holds the unsubscribe to be the person's own."""
    return None if isinstance(change, Undo) else known.opt_out


def _without_address(detail: str) -> str:
    """Mailchimp's words, without the address they begin with (it is on the customer's page already)."""
    return " ".join("The address" if "@" in word else word for word in detail.split())


def _seen(known: KnownMember, member: Member) -> KnownMember:
    fields = {tag: str(value) for tag, value in member.merge_fields.items() if isinstance(value, str | int | float)}
    return replace(known, status=Status(member.status), merge_fields=fields, last_changed=member.last_changed)


def _sent(seen: KnownMember, sent: Mapping[str, str]) -> KnownMember:
    rewritten = {tag: pair for tag, pair in seen.rewritten.items() if tag not in sent}
    for tag, value in sent.items():
        got = seen.merge_fields.get(tag, "")
        if got != value:
            rewritten[tag] = Rewritten(value, got)
    return replace(seen, rewritten=rewritten)
