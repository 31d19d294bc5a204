"""What an erasure does in Mailchimp: one try at a time, for as many days as it takes (B11).

    the job, a page, a command -> carry_out -> store.erase.take -> _carried_out -> store.erase.done | put_off

It takes the tenth place of a Mailchimp user, as pages do, and no run. A try may always be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from nexpura.audience import consent, desired, diff
from nexpura.audience.consent import Granted
from nexpura.audience.desired import Terms
from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp import calls, errors
from nexpura.mailchimp.calls import Call
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import Member, MergeValue
from nexpura.mailchimp.result import Accepted, Deferred, Refused
from nexpura.sync import facts, tenth, terms
from nexpura.sync.models import Erasure
from nexpura.sync.store import erase
from nexpura.sync.store.connected import KEY_UNREADABLE, audience_of, key_of
from nexpura.sync.store.erase import Errand, Told
from nexpura.tenants.audit import Actor
from nexpura.tenants.vault import FORMER_KEYS, OTHER_KEYS

logger = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=6)
LOOK_AGAIN = timedelta(seconds=20)
"""While a run that had a change of the person under way goes on."""
CLAIM = timedelta(minutes=2)
"""How long a try may take before it is taken for dead."""

UNSUBSCRIBED, DELETED = ACTS = ("unsubscribed", "deleted")
ABSENT, NOT_MAILED, KEPT, SHARED = "absent", "not_mailed", "kept", "shared"
"""What became of a member; the first two were done to it, the others found."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a try did not succeed, in words for people. `waits`: nothing can come of trying before somebody acts."""

    code: str
    title: str
    detail: str
    remedy: str
    waits: bool = False
    failed: bool = False
    in_doubt: bool = False
    """Whether Mailchimp may have done it all the same."""

    def as_json(self, now: datetime) -> dict[str, Any]:
        return {
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "remedy": self.remedy,
            "in_doubt": self.in_doubt,
            "at": now.isoformat(),
        }


class _CannotNow(Exception):
    """This try ends here; a turn within this module, never seen outside."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be done at one address. The repr names nobody.

    `values` are the erased person's names and numbers, where the address is in the book all the same: they are taken
    out of the member, and `wanted` put in their place as far as its customer consents.
    """

    address: str
    act: str
    values: frozenset[str] = frozenset()
    wanted: Mapping[str, str] = field(default_factory=dict)
    in_doubt: bool = False

    def __repr__(self) -> str:
        return f"<{self.act} at an address>"


@dataclass(frozen=True, slots=True)
class _Did:
    """What became of the member at one address, and how Mailchimp replied where we unsubscribed it."""

    word: str
    opt_outs: frozenset[tuple[datetime, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Way:
    """How to get to the audience. The repr leaves out the key."""

    key: ApiKey = field(repr=False)
    login_id: str
    audience_id: str
    terms: Terms


def carry_out(erasure_id: int, now: datetime) -> None:
    """Make one try, if it is due: the member is as the person wished, or the next try is queued with the reason."""
    erasure = erase.take(erasure_id, now, CLAIM)
    if erasure is None:
        return
    over = erase.is_over(erasure.tenant_id, erasure.after_run)  # asked before looking at the member, not after
    try:
        did, shared = _carried_out(erasure)
    except _CannotNow as turn:
        _put_off(erasure, turn.problem, now)
    else:
        told = _added_up(Told.of(erasure), did)
        if over:
            erase.done(erasure, Actor.system("erasure"), told, now, shared)
        else:
            erase.put_off(erasure, told=told, problem=None, next_try_at=now + LOOK_AGAIN)
    logger.info("erasure %s of tenant %s: try %s", erasure.pk, erasure.tenant_id, erasure.attempts)


def pause(attempts: int) -> timedelta:
    """Return how long to wait after so many tries: ten seconds, then four times as long each, six hours at most."""
    times: int = 4 ** min(attempts - 1, 10)
    return min(FIRST_PAUSE * times, LONGEST_PAUSE)


def _put_off(erasure: Erasure, problem: Problem, now: datetime) -> None:
    erase.put_off(
        erasure,
        told=Told.of(erasure),
        problem=problem.as_json(now),
        next_try_at=None if problem.waits or problem.failed else now + pause(erasure.attempts),
        failed=problem.failed,
    )


def _added_up(before: Told, now: Sequence[_Did]) -> Told:
    """Add a try to the earlier ones: what one of them did is not undone by finding it done."""
    earlier = [*before.outcomes, *[""] * len(now)]
    words = [was if was in ACTS and is_now.word not in ACTS else is_now.word
             for was, is_now in zip(earlier, now, strict=False)]  # fmt: skip
    return Told(tuple(words), before.opt_outs.union(*(did.opt_outs for did in now)))


# --- one try --------------------------------------------------------------------------------------


def _carried_out(erasure: Erasure) -> tuple[list[_Did], list[str]]:
    """Return what became of each address, and which of them are in the book for somebody else."""
    errand = _opened(erasure)
    way = _way(erasure)
    steps = [_step(erasure, errand, address, way.terms) for address in errand.addresses]
    did = _asked_of_mailchimp(way, steps)
    return did, [step.address for step in steps if step.values]


def _opened(erasure: Erasure) -> Errand:
    try:
        return erase.open_errand(erasure)
    except vault.CannotOpen:
        raise _CannotNow(
            Problem(
                "address_unreadable",
                "The sealed address cannot be opened",
                OTHER_KEYS,
                f"{FORMER_KEYS} Then try again.",
                failed=True,
            )
        ) from None


def _step(erasure: Erasure, errand: Errand, address: str, terms: Terms) -> _Step:
    """Decide by the book as it is now: where somebody consents, the member is theirs and stays, with their names."""
    (held,) = facts.load(erasure.tenant_id, {address: 0}, absence_proven=True)
    verdict = consent.decide(held)
    if isinstance(verdict, Granted):
        return _Step(address, SHARED, frozenset(errand.values), desired.member_for(verdict, terms).merge_fields)
    values = frozenset(errand.values if held.customers else ())
    return _Step(address, erasure.choice, values, in_doubt=erase.in_doubt(erasure))


def _way(erasure: Erasure) -> _Way:
    integration = Integration.objects.filter(tenant_id=erasure.tenant_id, kind=MAILCHIMP).first()
    audience = audience_of(integration)
    if integration is None or audience is None or audience.pk != erasure.audience_id:
        raise _CannotNow(
            Problem(
                "not_connected",
                "That audience is not connected any more",
                "Nothing can be done in it until it is.",
                "Connect it again, and this is done by itself; or do it in Mailchimp and settle it by hand.",
                waits=True,
            )
        )
    key_text = key_of(integration)
    if key_text is None:
        raise _CannotNow(Problem(*KEY_UNREADABLE, waits=True))
    under = terms.of(audience, integration.config)
    return _Way(ApiKey.parse(key_text), integration.config["login_id"], audience.audience_id, under)


def _asked_of_mailchimp(way: _Way, steps: Sequence[_Step]) -> list[_Did]:
    async def asked(mailchimp: MailchimpClient) -> list[_Did]:
        return [await _taken(mailchimp, way.audience_id, step) for step in steps]

    try:
        return tenth.ask(tenth.of_login(way.login_id, way.key), way.key, asked)
    except errors.MailchimpError as error:
        raise _CannotNow(problem_of(error)) from None
    except tenth.Taken:
        raise _CannotNow(
            Problem("busy", "Busy", "Pages are talking to Mailchimp.", "Nothing to do: it is tried again by itself.")
        ) from None


async def _taken(mailchimp: MailchimpClient, audience_id: str, step: _Step) -> _Did:
    """Take one step; returns what became of the member."""
    try:
        if step.act == Erasure.Choice.DELETE:
            await _sent(mailchimp, calls.forget(audience_id, step.address))
            return _Did(DELETED)
        member = await mailchimp.member(audience_id, step.address)
        did = {Erasure.Choice.KEEP: KEPT, SHARED: SHARED}.get(step.act, NOT_MAILED)
        if step.act == Erasure.Choice.UNSUBSCRIBE and member.status in diff.MAILABLE:
            did, member = UNSUBSCRIBED, await _sent(mailchimp, calls.unsubscribe(audience_id, step.address)) or member
        elif did == NOT_MAILED and step.in_doubt and member.status == "unsubscribed":
            did = UNSUBSCRIBED  # by an earlier try, whose reply was lost
        opt_outs = {_moment(member)} if did == UNSUBSCRIBED else set()
        fields = _without_them(member.merge_fields, step)
        if fields and did != KEPT:
            call = calls.update_fields(audience_id, step.address, fields, lift_required=True)
            member = await _sent(mailchimp, call) or member
        return _Did(did, frozenset(opt_outs | {_moment(member)} if opt_outs else ()))
    except errors.NotFound:
        return _Did(ABSENT)


def _moment(member: Member) -> tuple[datetime, str]:
    return member.last_changed, member.unsubscribe_reason or ""


def _without_them(held: Mapping[str, MergeValue], step: _Step) -> dict[str, str]:
    """Return what replaces the erased person's names in a member that somebody else's address keeps in our records."""
    return {
        tag: step.wanted.get(tag, "")
        for tag, value in held.items()
        if isinstance(value, str) and value in step.values and value != step.wanted.get(tag)
    }


async def _sent(mailchimp: MailchimpClient, call: Call) -> Member | None:
    match await mailchimp.send(call):
        case Accepted(member):
            return member
        case Refused(error) | Deferred(error):
            raise error


def problem_of(error: errors.MailchimpError) -> Problem:
    """Return what a failure means for an erasure. Mailchimp's own detail stays out: it may name the person."""
    match error:
        case errors.TryLater():
            return Problem(
                "mailchimp_unavailable",
                "Mailchimp does not answer",
                f"The last answer was: {error}.",
                "Nothing to do: it is tried again by itself.",
                in_doubt=error.perhaps_done,
            )
        case errors.AccessLost():
            return Problem(
                "access_lost",
                "Mailchimp refuses the API key",
                f"Mailchimp says: {error}.",
                "Put a working API key in under Integrations; then, and every few hours, it is tried again by itself.",
            )
        case errors.AudienceNotFound():
            return Problem(
                "audience_not_found",
                "Audience not found",
                "The audience no longer exists in Mailchimp, or the key cannot see it.",
                "If it was deleted, nothing is left of the member: settle this by hand. Otherwise connect it again.",
                failed=True,
            )
        case _:
            return Problem(
                "refused",
                "Mailchimp refused it",
                f"Mailchimp says: {error}.",
                "Try again; or do it in Mailchimp and settle it by hand.",
                failed=True,
            )
