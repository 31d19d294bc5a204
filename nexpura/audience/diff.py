"""The smallest safe change: verdict and known member in, one decision out.

No path leads from here to a subscribed member but `Add`, which Mailchimp ignores for whoever is already
there, `Undo`, which is built only where the last unsubscribe was ours and nobody acted since (B2), and `Move`,
which keeps the status of a member that is subscribed already. `Ask` leaves the answer to the person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from nexpura.audience.consent import Granted, Verdict, Withheld
from nexpura.audience.desired import DesiredMember, Terms, member_for, tags_of
from nexpura.audience.facts import AddressFacts
from nexpura.audience.member import UNKNOWN, Cause, KnownMember, Refusal, Status
from nexpura.audience.plan import Add, Ask, Bucket, Decision, Move, NoChange, OptOut, Retag, Undo, Update
from nexpura.audience.reasons import Reason

RULES_VERSION = 4
"""Raised when a rule changes what it decides: every address is then looked at again."""

MAILABLE = (Status.SUBSCRIBED, Status.PENDING)
A_SECOND = timedelta(seconds=1)
"""Mailchimp tells whole seconds: within one, the no is taken for the later word."""
TAGS_TOLD = 50
"""Tags that Mailchimp tells of a member at most."""
LEFT_ALONE = (Status.ARCHIVED,)
WHATEVER = ""
"""The fingerprint of a refusal that stands whatever is sent."""


def change(verdict: Verdict, facts: AddressFacts, known: KnownMember, terms: Terms, now: datetime) -> Decision:
    """Return what has to happen to one address."""
    if isinstance(verdict, Granted):
        return _granted(verdict, facts, known, terms, now)
    if verdict.withdrawal is not None:
        return _withdrawn(verdict, verdict.withdrawal.id, facts, known)
    return _never_granted(verdict, facts, known)


def retag(verdict: Verdict, decision: Decision, known: KnownMember, former: KnownMember = UNKNOWN) -> Retag | None:
    """Return what has to happen to the tags of a member besides `decision`; None: nothing.

    A new member's tags go with its making. Nobody's tags change but those of subscribed members whose consent stands,
    and of those who are about to be: a member that moves brings its tags along (`former`).
    """
    if not isinstance(verdict, Granted) or isinstance(decision, Add | OptOut):
        return None
    if isinstance(decision, NoChange) and decision.bucket in (Bucket.FAILED, Bucket.WAITING):
        return None
    if isinstance(decision, Move):
        known = former
    elif known.status not in MAILABLE and not isinstance(decision, Undo | Ask):
        return None
    wanted = tags_of(verdict.customer)
    held = {tag.casefold() for tag in known.tags}
    ours = {tag.casefold() for tag in known.our_tags}
    unseen = ours if len(known.tags) >= TAGS_TOLD else set()  # of more than fifty tags Mailchimp tells fifty
    asked = {tag.casefold() for tag in wanted}
    add = tuple(tag for tag in wanted if tag.casefold() not in held | unseen)
    remove = tuple(tag for tag in known.our_tags if tag.casefold() not in asked and tag.casefold() in held | unseen)
    return Retag(add, remove) if add or remove else None


def _granted(verdict: Granted, facts: AddressFacts, known: KnownMember, terms: Terms, now: datetime) -> Decision:
    desired = member_for(verdict, terms)
    if facts.problem:
        return NoChange(Bucket.FAILED, Reason.INVALID_EMAIL, facts.problem)
    if known.renamed_to:
        return NoChange(Bucket.KEPT, Reason.RENAMED)
    if refused := _refused(desired, known, now):
        return _ask(verdict, desired, known, terms, now, sent={}) or refused
    if known.status is Status.ABSENT:
        return _newcomer(verdict, facts, desired, terms)
    if undo := _undo(verdict, desired, known, terms):
        return undo
    if ask := _ask(verdict, desired, known, terms, now, sent=desired.merge_fields):
        return ask
    differing = _differing(desired.merge_fields, known)
    if differing and known.status not in LEFT_ALONE:
        before = {tag: known.merge_fields.get(tag, "") for tag in differing}
        return Update(known.status, before, differing, desired.merge_fields)
    if known.status is Status.UNSUBSCRIBED and known.asked_for == verdict.event.id:
        return NoChange(Bucket.KEPT, Reason.COMPLIANCE)  # Mailchimp would not even ask them
    return standing_of(known.status)


def _newcomer(verdict: Granted, facts: AddressFacts, desired: DesiredMember, terms: Terms) -> Decision:
    """The address is not in the audience: a member of ours is moved here if there is one, else one is made."""
    email = facts.email or facts.address
    customer_id = verdict.customer.customer_id
    if former := facts.moves_from:
        return Move(former.address, former.version, former.contact_id, email, desired.merge_fields, customer_id)
    return Add(
        email,
        desired.merge_fields,
        Status.PENDING if terms.double_optin else Status.SUBSCRIBED,
        desired.consent_at,
        desired.consent_ip,
        desired.tags,
        terms.permissions,
        customer_id,
    )


def _undo(verdict: Granted, desired: DesiredMember, known: KnownMember, terms: Terms) -> Undo | None:
    """Give back what our own unsubscribe took. Whoever had yet to confirm is asked again, where everybody is."""
    ours = known.opt_out if _is_our_opt_out(known) else None
    if ours is None or verdict.event.id <= (known.carried_out or 0):
        return None
    if ours.before is Status.PENDING and not terms.double_optin:
        return None
    return Undo(
        ours.changed, desired.merge_fields, desired.consent_at, desired.consent_ip, terms.permissions, ours.before
    )


def _ask(
    verdict: Granted,
    desired: DesiredMember,
    known: KnownMember,
    terms: Terms,
    now: datetime,
    *,
    sent: Mapping[str, str],
) -> Ask | NoChange | None:
    """Ask somebody who left to confirm: only if the tenant allows it, and their yes is newer than their leaving.

    A question that Mailchimp refused is not put again until its time comes, or something changes.
    """
    left_at = known.status_since or known.last_changed
    if not terms.may_ask or known.status is not Status.UNSUBSCRIBED or left_at is None:
        return None
    if verdict.event.at < left_at + A_SECOND or (known.asked_for or 0) >= verdict.event.id:
        return None
    if refused := _refused(desired, known, now, question=verdict.event.id):
        return refused
    return Ask(verdict.event.id, known.status, terms.permissions, sent, desired.merge_fields, known.last_changed)


def _withdrawn(verdict: Withheld, withdrawal: int, facts: AddressFacts, known: KnownMember) -> Decision:
    if known.status in MAILABLE:
        if known.carried_out == withdrawal:
            return NoChange(Bucket.KEPT, Reason.SUBSCRIBED_AGAIN)
        return OptOut(Cause.WITHDRAWAL, known.status, withdrawal)
    if known.status is not Status.ABSENT:
        return NoChange(Bucket.WITHHELD, verdict.reason, carried_out=withdrawal)
    if known.renamed_to or known.carried_out == withdrawal:  # who changed their address may still get mail at the new
        return NoChange(Bucket.WITHHELD, verdict.reason)
    if facts.no_before:  # the member of somebody erased is kept out of our sight: only asking tells
        return OptOut(Cause.WITHDRAWAL, Status.ABSENT, withdrawal)
    proven = facts.absence_proven
    return NoChange(Bucket.WITHHELD, verdict.reason, carried_out=withdrawal if proven else None, undecided=not proven)


def _never_granted(verdict: Withheld, facts: AddressFacts, known: KnownMember) -> Decision:
    """Somebody without a grant holds the address, or nobody: only a member we made ourselves is ours to end (B5)."""
    if facts.moves_away:
        return NoChange(Bucket.WITHHELD, Reason.MOVING, undecided=True)
    if known.added_by_us and known.status in MAILABLE and known.opt_out is None:
        return OptOut(Cause.MOVED, known.status, None)
    return NoChange(Bucket.WITHHELD, verdict.reason)


def standing_of(status: Status) -> NoChange:
    """Return where customers with a grant stand whose member has this status and needs no change."""
    match status:
        case Status.SUBSCRIBED:
            return NoChange(Bucket.AGREEMENT)
        case Status.PENDING:
            return NoChange(Bucket.ASKED, Reason.AWAITING_CONFIRMATION)
        case Status.UNSUBSCRIBED:
            return NoChange(Bucket.KEPT, Reason.UNSUBSCRIBED_THERE)
        case Status.CLEANED:
            return NoChange(Bucket.KEPT, Reason.CLEANED)
        case Status.ARCHIVED:
            return NoChange(Bucket.KEPT, Reason.ARCHIVED)
        case Status.TRANSACTIONAL:
            return NoChange(Bucket.KEPT, Reason.NON_SUBSCRIBED)
        case Status.ABSENT:
            return NoChange(Bucket.WAITING, Reason.CHANGED_MEANWHILE)


def standing_of_refusal(refusal: Refusal) -> NoChange:
    """Return where customers stand whom Mailchimp refused: what only the person can change is kept, not failed."""
    reason = Reason(refusal.reason)
    if refusal.retry_at is not None:
        return NoChange(Bucket.WAITING, reason, refusal.detail, retry_at=refusal.retry_at)
    kept = reason in (Reason.COMPLIANCE, Reason.FORGOTTEN)
    return NoChange(Bucket.KEPT if kept else Bucket.FAILED, reason, refusal.detail)


def fingerprint(merge_fields: Mapping[str, str]) -> str:
    """Return a short digest of what was sent, to tell whether something changed since it was refused."""
    return hashlib.sha256(json.dumps(sorted(merge_fields.items())).encode()).hexdigest()[:32]


def fingerprint_of_question(grant: int, merge_fields: Mapping[str, str]) -> str:
    """Return the digest of a question to confirm: it is another one for another yes, and for other details."""
    return fingerprint({**merge_fields, "": str(grant)})  # no field has a blank name


def _refused(
    desired: DesiredMember, known: KnownMember, now: datetime, *, question: int | None = None
) -> NoChange | None:
    """Return where customers stand if Mailchimp refused just this, and it is too early to try again.

    This is the fields, or the question to confirm a grant (its id).
    """
    refusal = known.refusal
    if refusal is None:
        return None
    fields = desired.merge_fields
    asked = fingerprint(fields) if question is None else fingerprint_of_question(question, fields)
    if refusal.fingerprint not in (WHATEVER, asked):
        return None
    if refusal.retry_at is not None and refusal.retry_at <= now:
        return None
    return standing_of_refusal(refusal)


def _is_our_opt_out(known: KnownMember) -> bool:
    return (
        known.status is Status.UNSUBSCRIBED
        and known.opt_out is not None
        and known.opt_out.changed == known.last_changed
    )


def _differing(wanted: Mapping[str, str], known: KnownMember) -> dict[str, str]:
    """Return the wanted values that Mailchimp does not hold, unless it rewrote that very value before."""
    differing = {}
    for tag, value in wanted.items():
        held = known.merge_fields.get(tag, "")
        rewritten = known.rewritten.get(tag)
        if held != value and not (rewritten and rewritten.sent == value and rewritten.got == held):
            differing[tag] = value
    return differing
