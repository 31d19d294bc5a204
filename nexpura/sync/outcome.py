"""What a reply means for a change: pure, so that every combination can be laid out in a table of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from nexpura.audience import diff
from nexpura.audience.member import UNKNOWN, KnownMember, OptOutRecord, Refusal, Rewritten, Status
from nexpura.audience.plan import Add, Ask, Bucket, Change, Move, NoChange, OptOut, Retag, Undo, Update
from nexpura.audience.reasons import Reason
from nexpura.mailchimp import errors
from nexpura.mailchimp.member import NEVER, SCALARS, Member
from nexpura.mailchimp.result import Accepted, Deferred, Refused, Result

NOTHING: Mapping[str, str] = MappingProxyType({})
THROTTLE_WAIT = timedelta(days=1)
CLOCKS_APART = timedelta(seconds=2)
"""How far the clocks of Mailchimp's own machines may be apart."""

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

    `again` keeps the address marked, for the next run to decide anew. `former` is the member at the address a
    move started from, as now known; None: not concerned.
    """

    state: str
    bucket: Bucket
    standing: NoChange
    known: KnownMember
    again: bool = False
    former: KnownMember | None = None


def of(
    change: Change,
    known: KnownMember,
    result: Result,
    now: datetime,
    former: KnownMember = UNKNOWN,
    *,
    all_seen_until: datetime | None = None,
) -> Settled:
    """Return what became of `change`, planned when the member was `known` (and, for a move, there was a `former`).

    Whoever was a member at `all_seen_until`, by Mailchimp's clock, is known; None: readings may have missed somebody.
    """
    match result:
        case Accepted(member, created):
            if member is None:
                return _retagged(change, known)
            if isinstance(change, OptOut) and _was_out(member, result.first_sent):
                return _out_by_themselves(change, known)
            if _left_meanwhile(change, former if isinstance(change, Move) else known, member, all_seen_until):
                waiting = NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)
                return Settled("deferred", Bucket.WAITING, waiting, known, again=True)
            settled = _accepted(change, known, member, former)
            return _made_anew(settled) if created and isinstance(change, Update) else settled
        case Refused(error) if isinstance(change, Move):
            return _not_moved(known, former, gone=isinstance(error, errors.NotFound))
        case Refused(errors.NotFound()):
            return _gone(change, known)
        case Refused(error) if isinstance(change, Retag):
            failed = NoChange(Bucket.FAILED, Reason.TAGS, error.detail)
            return Settled("refused", Bucket.FAILED, failed, known)
        case Refused(error):
            return _refused(change, known, error, now)
        case Deferred(error):
            waiting = NoChange(Bucket.WAITING, Reason.BUSY)
            state = "sending" if error.perhaps_done else "deferred"  # the next reading finds whether it landed
            return Settled(state, Bucket.WAITING, waiting, known, again=True)


def touched(change: Change, known: KnownMember, member: Member) -> Settled:
    """Return the outcome of a change that was not sent, as a last look at the member showed another than was expected.

    It is decided anew. Of who left once more the next reading tells whether that was their no.
    """
    seen = _seen(known, member)
    if isinstance(change, Undo | Ask) and seen.status is Status.UNSUBSCRIBED:
        waiting = NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)
        return Settled("skipped", Bucket.WAITING, waiting, known, again=True)
    ours = seen.added_by_us and seen.status is not Status.SUBSCRIBED  # who is, by now, came by themselves
    standing = diff.standing_of(seen.status)
    return Settled("skipped", standing.bucket, standing, replace(seen, opt_out=None, added_by_us=ours), again=True)


def _accepted(change: Change, known: KnownMember, member: Member, former: KnownMember) -> Settled:
    match change:
        case Add():
            return _standing(_seen(known, member, change.merge_fields, **_made(change, member)), Bucket.ADDED)
        case Update():
            return _standing(_seen(known, member, change.merge_fields, refusal=None), Bucket.UPDATED)
        case Move():
            ours = {"added_by_us": True, "made_for": change.customer_id, "our_tags": former.our_tags}
            seen = _seen(known, member, change.merge_fields, **_BACK, **ours)
            vacated = KnownMember(Status.ABSENT, carried_out=former.carried_out)
            return replace(_standing(seen, Bucket.UPDATED), former=vacated)
        case Undo():
            return _standing(_seen(known, member, change.merge_fields, **_BACK), Bucket.ADDED)
        case OptOut():
            return _opted_out(change, _seen(known, member, refusal=None), member)
        case Ask():
            return _standing(_seen(known, member, change.merge_fields, **_BACK, asked_for=change.grant), Bucket.ASKED)
        case Retag():
            return _retagged(change, _seen(known, member, refusal=None))


def _left_meanwhile(change: Change, known: KnownMember, member: Member, all_seen_until: datetime | None) -> bool:
    """Tell whether a member was unsubscribed since the audience was read, and not by this change.

    What is known of it then stays as it was: the next reading finds it differing, and tells whose no that is. Of
    somebody who is only now seen for the first time that can be told only if the reading would have shown them.
    """
    if member.status != Status.UNSUBSCRIBED or known.status is Status.UNSUBSCRIBED:
        return False
    if isinstance(change, Add):
        return all_seen_until is not None and member.last_changed >= all_seen_until
    return isinstance(change, Update | Move)


_BACK: Mapping[str, Any] = {"refusal": None, "opt_out": None, "carried_out": None}
"""Mailable by our own doing: should the withdrawal come to count again, it has to be carried out again."""


def _made(change: Add, member: Member) -> dict[str, Any]:
    """Ours is a member with the status we asked for; somebody who came by themselves meanwhile is not."""
    if member.status != change.status_if_new.value:
        return {"refusal": None, "added_by_us": False}
    held = {tag.casefold() for tag in member.tags}
    ours = tuple(tag for tag in change.tags if tag.casefold() in held)
    return {**_BACK, "added_by_us": True, "made_for": change.customer_id, "our_tags": ours}


def _made_anew(settled: Settled) -> Settled:
    """A member that was gone before its update came has been made by us after all."""
    done = Bucket.ADDED if settled.bucket is Bucket.UPDATED else settled.bucket
    return replace(settled, bucket=done, known=replace(settled.known, added_by_us=True))


def _retagged(change: Change, known: KnownMember) -> Settled:
    """The tags are as they should be; where the address stands is said by its other change, or was before."""
    assert isinstance(change, Retag)
    gone = {tag.casefold() for tag in change.remove}
    tags = (*(tag for tag in known.tags if tag.casefold() not in gone), *change.add)
    ours = (*(tag for tag in known.our_tags if tag.casefold() not in gone), *change.add)
    standing = diff.standing_of(known.status)
    done = Bucket.UPDATED if standing.bucket is Bucket.AGREEMENT else standing.bucket
    return Settled("accepted", done, standing, replace(known, tags=tags, our_tags=ours))


def _not_moved(known: KnownMember, former: KnownMember, *, gone: bool) -> Settled:
    """The next run adds the new address in its own right; the old one, if it is still there, is never moved again."""
    waiting = NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)
    left = KnownMember(Status.ABSENT, carried_out=former.carried_out) if gone else replace(former, move_refused=True)
    return Settled("deferred", Bucket.WAITING, waiting, known, again=True, former=left)


def _opted_out(change: OptOut, seen: KnownMember, member: Member) -> Settled:
    if seen.status in diff.MAILABLE or seen.last_changed is None:
        told = f"Mailchimp accepted the unsubscribe but answered with status {seen.status.value}."
        return Settled("refused", Bucket.FAILED, NoChange(Bucket.FAILED, Reason.REFUSED, told), seen, again=True)
    reason = Reason.WITHDRAWN if change.withdrawal else Reason.NEVER_ASKED
    before = change.before or Status.PENDING  # of somebody unknown: should it be undone, they are asked
    seen = replace(
        seen,
        opt_out=OptOutRecord(change.cause, seen.last_changed, member.unsubscribe_reason or "", before),
        carried_out=change.withdrawal or seen.carried_out,
    )
    return Settled("accepted", Bucket.UNSUBSCRIBED, NoChange(Bucket.WITHHELD, reason), seen)


def _was_out(member: Member, first_sent: datetime | None) -> bool:
    """Tell whether a member who is unsubscribed now has been since before we first asked for it.

    A call that changes something moves `last_changed`; one that met an unsubscribed member leaves it.
    """
    if member.status != Status.UNSUBSCRIBED or member.last_changed == NEVER or first_sent is None:
        return False
    return member.last_changed < first_sent.replace(microsecond=0) - CLOCKS_APART


def _out_by_themselves(change: OptOut, known: KnownMember) -> Settled:
    """No unsubscribe of ours, which a later yes may undo: the next reading finds the member differing, and a no."""
    standing = NoChange(Bucket.WITHHELD, Reason.WITHDRAWN if change.withdrawal else Reason.NEVER_ASKED)
    known = replace(known, carried_out=change.withdrawal or known.carried_out)
    return Settled("skipped", Bucket.WITHHELD, standing, known)


def _standing(seen: KnownMember, done: Bucket) -> Settled:
    """Where a member with a grant stands after the reply: `done` if it is subscribed, by its status otherwise."""
    standing = diff.standing_of(seen.status)
    return Settled("accepted", done if standing.bucket is Bucket.AGREEMENT else standing.bucket, standing, seen)


def gone(known: KnownMember) -> KnownMember:
    """Return what is known once Mailchimp has no such member any more.

    What tells whose member it was stays: the next reading may show it at another address, which its person chose. Whose
    member was deleted stays out, and is not asked a second time to confirm: only they can come back (B2).
    """
    deleted = known.status is not Status.ABSENT
    return KnownMember(
        Status.ABSENT,
        contact_id=known.contact_id,
        our_tags=known.our_tags,
        added_by_us=known.added_by_us,
        made_for=known.made_for,
        carried_out=known.carried_out,
        refusal=Refusal(Reason.FORGOTTEN.value, diff.WHATEVER) if deleted else None,
    )


def _gone(change: Change, known: KnownMember) -> Settled:
    """Mailchimp has no such member any more: an opt-out is thereby done, anything else is decided anew."""
    absent = gone(known)
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
    if isinstance(change, Ask) and kind is errors.Refusal.COMPLIANCE:  # whatever is sent with it, for this yes
        standing = NoChange(Bucket.KEPT, Reason.COMPLIANCE)
        return Settled("refused", Bucket.KEPT, standing, replace(known, asked_for=change.grant))
    reason = _REASONS.get(kind, Reason.REFUSED)
    retry_at = now + THROTTLE_WAIT if reason is Reason.THROTTLED else None
    refusal = Refusal(reason.value, _asked(change, reason), retry_at, _words(error))
    standing = diff.standing_of_refusal(refusal)
    return Settled(
        "refused",
        standing.bucket,
        standing,
        replace(known, refusal=refusal, opt_out=_opt_out(change, known)),
        again=isinstance(change, OptOut) or _goes_without_fields(change, reason),  # a withdrawal is never given up
    )


def _asked(change: Change, reason: Reason) -> str:
    """Return what was refused, to know it again: of a question whose fields were not taken, only these."""
    if isinstance(change, Ask) and not _goes_without_fields(change, reason):
        return diff.fingerprint_of_question(change.grant, change.desired)
    return diff.fingerprint(_desired(change))


def _goes_without_fields(change: Change, reason: Reason) -> bool:
    """Tell whether the next sync asks this person without the fields that Mailchimp would not take."""
    return isinstance(change, Ask) and reason is Reason.MERGE_FIELDS and bool(change.merge_fields)


def _desired(change: Change) -> Mapping[str, str]:
    """All fields the book wants, of which an update sends only the differing ones."""
    match change:
        case Update() | Ask():
            return change.desired
        case Add() | Undo() | Move():
            return change.merge_fields
        case OptOut() | Retag():
            return {}


def _opt_out(change: Change, known: KnownMember) -> OptOutRecord | None:
    """A refused undo is not tried again: Mailchimp holds the unsubscribe to be the person's own."""
    return None if isinstance(change, Undo) else known.opt_out


def _words(error: errors.MailchimpError) -> str:
    """Mailchimp's words about a refusal, and about each field it will not take."""
    fields = error.fields if isinstance(error, errors.MemberRefused) else {}
    told = [error.detail, *(f"{tag}: {said}" for tag, said in fields.items())]
    return " ".join(words.strip() for words in told if words.strip())


def _seen(known: KnownMember, member: Member, sent: Mapping[str, str] = NOTHING, **also: Any) -> KnownMember:
    """Return the member as the reply shows it, `sent` being the fields we wrote, with what else has become of it.

    In one go: this is done for everybody, and copying a member costs as much as deciding about it.
    """
    fields = {tag: str(value) for tag, value in member.merge_fields.items() if isinstance(value, SCALARS)}
    status = Status(member.status)
    return replace(
        known,
        status=status,
        status_since=known.status_since if known.status is status else member.last_changed,
        merge_fields=fields,
        last_changed=member.last_changed,
        contact_id=member.contact_id,
        tags=member.tags,
        renamed_to="",
        rewritten=_rewritten(known.rewritten, fields, sent),
        **also,
    )


def _rewritten(
    before: Mapping[str, Rewritten], fields: Mapping[str, str], sent: Mapping[str, str]
) -> dict[str, Rewritten]:
    now = {tag: pair for tag, pair in before.items() if tag not in sent}
    for tag, value in sent.items():
        got = fields.get(tag, "")
        if got != value:
            now[tag] = Rewritten(value, got)
    return now
