"""Until Mailchimp has been told of an erasure: the sealed errand, one try after the other, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from nexpura.sync import queue
from nexpura.sync.models import Erasure, KnownAudience, LoginLease, SyncRun
from nexpura.sync.store.erase.forgotten import forget_fields
from nexpura.sync.store.erase.whom import Errand
from nexpura.tenants import audit, vault
from nexpura.tenants.audit import Actor

FIELD = "erasure_errand"
"""What the vault binds an errand to, besides tenant and erasure, until Mailchimp has been told."""
CLOCKS_APART = timedelta(minutes=1)
"""How far Mailchimp's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of how the member fared, over all tries.

    `outcomes` has a word for each address, `opt_outs` Mailchimp's moment and words in the replies to our unsubscribe.
    """

    outcomes: tuple[str, ...]
    opt_outs: frozenset[tuple[datetime, str]] = frozenset()

    @classmethod
    def of(cls, erasure: Erasure) -> Told:
        """What earlier tries found."""
        moments = {(datetime.fromisoformat(one["changed"]), one["words"]) for one in erasure.opt_outs}
        return cls(tuple(erasure.outcomes), frozenset(moments))

    def as_kept(self) -> tuple[list[str], list[dict[str, str]]]:
        """Return the values of the two columns."""
        kept = [{"changed": changed.isoformat(), "words": words} for changed, words in sorted(self.opt_outs)]
        return [*self.outcomes], kept


def seal(erasure: Erasure, errand: Errand) -> bytes:
    """Return what an erasure has to know, as it is kept until it is done."""
    return vault.seal(json.dumps(asdict(errand)), tenant_id=erasure.tenant_id, row_id=erasure.pk, field=FIELD)


def open_errand(erasure: Erasure) -> Errand:
    """Open what an erasure that is not done has to know; raises `vault.CannotOpen`."""
    sealed = bytes(erasure.sealed or b"")
    opened = json.loads(vault.unseal(sealed, tenant_id=erasure.tenant_id, row_id=erasure.pk, field=FIELD))
    return Errand(tuple(opened["addresses"]), tuple(opened["values"]))


def seal_anew() -> int:
    """Seal with today's key what waits under an older one; returns how many."""
    resealed = 0
    for erasure in Erasure.objects.filter(sealed__isnull=False):
        if erasure.sealed is None or bytes(erasure.sealed).startswith(vault.of_today()):
            continue
        try:
            sealed = seal(erasure, open_errand(erasure))
        except vault.CannotOpen:
            continue  # told by the next try
        # Unless it was done meanwhile.
        resealed += Erasure.objects.filter(pk=erasure.pk, sealed=erasure.sealed).update(sealed=sealed)
    return resealed


def take(erasure_id: int, now: datetime, claim: timedelta) -> Erasure | None:
    """Take an erasure for one try, so that no other begins within `claim`; None: it is not due, or it is done.

    The problem of the last try is returned with it; a try that is killed leaves none.
    """
    with transaction.atomic():
        due = Erasure.objects.select_for_update().filter(state=Erasure.State.PENDING, next_try_at__lte=now)
        erasure = due.filter(pk=erasure_id).first()
        if erasure is None:
            return None
        last = erasure.problem
        erasure.attempts, erasure.next_try_at, erasure.problem = erasure.attempts + 1, now + claim, None
        erasure.save(update_fields=["attempts", "next_try_at", "problem"])
    erasure.problem = last
    return erasure


def in_doubt(erasure: Erasure) -> bool:
    """Tell whether an earlier try may have done what nobody knows of: its reply was lost, or its worker was killed."""
    unknown = erasure.problem is None or bool(erasure.problem.get("in_doubt"))
    return erasure.attempts > 1 and not erasure.outcomes and unknown


def put_off(
    erasure: Erasure,
    *,
    told: Told,
    problem: dict[str, Any] | None,
    next_try_at: datetime | None,
    failed: bool = False,
) -> None:
    """Write down a try that did not end it; queue the next one, if there is to be one."""
    with transaction.atomic():
        held = _still_open(erasure)
        if held is None:
            return
        held.state = Erasure.State.FAILED if failed else Erasure.State.PENDING
        held.outcomes, held.opt_outs = told.as_kept()
        held.problem, held.next_try_at = problem, next_try_at
        held.save(update_fields=["state", "outcomes", "opt_outs", "problem", "next_try_at"])
        if next_try_at and not failed:
            queue.enqueue_erasure(held, at=next_try_at)


def done(erasure: Erasure, actor: Actor, told: Told, now: datetime, shared: Sequence[str] = ()) -> None:
    """End an erasure: what became of the member is kept, the address is not.

    At `shared` addresses, those of others, a sync may have read the old names meanwhile: they are forgotten again.
    """
    with transaction.atomic():
        held = _still_open(erasure)
        if held is None:
            return
        held.state, held.done_at = Erasure.State.DONE, now
        held.outcomes, held.opt_outs = told.as_kept()
        held.sealed, held.problem, held.next_try_at = None, None, None
        held.save(update_fields=["state", "outcomes", "opt_outs", "done_at", "sealed", "problem", "next_try_at"])
        forget_fields(held.tenant_id, shared)
        audit.record(
            held.tenant,
            actor,
            "customer.erased_in_mailchimp",
            held,
            after={"receipt": held.number, "did": held.outcomes},
        )


def is_over(tenant_id: int, run_id: int | None) -> bool:
    """Tell whether nothing that a run sent can reach Mailchimp any more."""
    if run_id is None:
        return True
    run = SyncRun.objects.filter(tenant_id=tenant_id, pk=run_id).first()
    if run is None:
        return True
    reserved = LoginLease.objects.filter(token=run.token, expires_at__gt=Now()).exists()
    return not run.is_active and not reserved


def wake(tenant_id: int) -> None:
    """Have the open erasures of a tenant tried again at once: there is a key again, or another one."""
    waiting = Erasure.objects.filter(tenant_id=tenant_id, state__in=Erasure.OPEN)
    waiting.update(state=Erasure.State.PENDING, next_try_at=Now())


def queue_due(now: datetime) -> int:
    """Queue the erasures whose time has come and whose job was lost, or never made; returns how many."""
    due = Erasure.objects.filter(state=Erasure.State.PENDING, next_try_at__lte=now).order_by("next_try_at")[:500]
    queued = 0
    for erasure in due:
        with transaction.atomic():
            queued += queue.enqueue_erasure(erasure)
    return queued


def perhaps_ours(audience_pk: int, unsubscribed: Mapping[str, datetime]) -> set[str]:
    """Return those of the addresses that an erasure may have unsubscribed whose tries have had no good reply yet.

    `unsubscribed` tells since when each of them is. For whichever shop of this installation the audience is; somebody
    else who leaves while such an erasure waits is not among them.
    """
    if not unsubscribed:
        return set()
    this = KnownAudience.objects.get(pk=audience_pk)
    tried = Erasure.objects.filter(
        audience__data_centre=this.data_centre,
        audience__audience_id=this.audience_id,
        state=Erasure.State.PENDING,
        choice=Erasure.Choice.UNSUBSCRIBE,
        attempts__gt=0,
        opt_outs=[],
    )
    found: set[str] = set()
    for erasure in tried:
        with suppress(vault.CannotOpen):  # then nobody can tell: rather a no too many than one that is lost
            since = erasure.requested_at - CLOCKS_APART
            asked = open_errand(erasure).addresses
            found |= {one for one in asked if one in unsubscribed and unsubscribed[one] >= since}
    return found


def _still_open(erasure: Erasure) -> Erasure | None:
    return Erasure.objects.select_for_update().filter(pk=erasure.pk, state__in=Erasure.OPEN).first()
