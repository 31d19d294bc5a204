"""Runs as people and the schedule start, watch and cancel them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import queue, schedule
from nexpura.sync.models import MemberResult, SyncRun
from nexpura.sync.store import due
from nexpura.sync.store.connected import audience_of
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant


class NotConnectedError(Exception):
    """There is no connected Mailchimp integration to sync with."""


@dataclass(frozen=True, slots=True)
class Results:
    """Some results of a run in the order of their addresses; `next` asks for those after them (blank: none)."""

    rows: tuple[MemberResult, ...]
    next: str = ""


def results(run: SyncRun, *, after: str, size: int) -> Results:
    """Return what became of the addresses of a run, those after the result `after` only, by an index of theirs.

    Neither counted nor skipped over: the last page of a million costs what the first does. The cursor is an id, as
    cursors end up in logs and addresses must not; one that is not of this run gives the first page.
    """
    found = MemberResult.objects.filter(tenant_id=run.tenant_id, run=run).order_by("address", "kind")
    numbered = after.isascii() and after.isdigit() and len(after) < 19
    last = found.filter(pk=int(after)).first() if numbered else None
    if last:
        beyond = Q(address__gt=last.address) | Q(address=last.address, kind__gt=last.kind)
        found = found.filter(beyond, address__gte=last.address)
    rows = tuple(found[: size + 1])
    return Results(rows[:size], next=str(rows[size - 1].pk) if len(rows) > size else "")


def create(tenant: Tenant, actor: Actor, trigger: str, *, past_brake: bool, full: bool = False) -> tuple[SyncRun, bool]:
    """Return the tenant's active run, made now if there is none, and whether it was made.

    Two clicks never make two runs: the database holds at most one active run a tenant, and the integration's
    row is locked while we look. A run that has not begun reads the whole audience if that is asked for now (`full`);
    one that has goes on as it began. Call inside a transaction. Raises `NotConnectedError`.
    """
    integration = Integration.objects.select_for_update().filter(tenant=tenant, kind=MAILCHIMP).first()
    audience = audience_of(integration)
    if audience is None:
        raise NotConnectedError
    active = tenant.sync_runs.filter(status__in=SyncRun.ACTIVE).first()
    if active:
        if full and tenant.sync_runs.filter(pk=active.pk, started_at__isnull=True).update(full=True):
            active.full = True
        return active, False
    run = SyncRun.objects.create(
        tenant=tenant, audience=audience, trigger=trigger, actor_name=actor.name, past_brake=past_brake, full=full
    )
    told = {"trigger": trigger, "whole_audience": True} if full else {"trigger": trigger}
    audit.record(tenant, actor, "mailchimp.sync_started", run, after=told)
    return run, True


def start(tenant: Tenant, actor: Actor, trigger: str = SyncRun.Trigger.MANUAL, *, full: bool = False) -> SyncRun:
    """Queue a run for a worker, or return the one that is active. Raises `NotConnectedError`.

    The button goes past the brake: a person asked for it. Who asks that the whole audience be read (`full`) asked for
    no more than that.
    """
    with transaction.atomic():
        run, _ = create(tenant, actor, trigger, past_brake=trigger == SyncRun.Trigger.MANUAL and not full, full=full)
        if not queue.enqueue(run):
            queue.hurry(run)
    return run


def cancel(run: SyncRun, actor: Actor) -> None:
    """Ask a run to end; one that no worker has begun ends at once."""
    with transaction.atomic():
        held = SyncRun.objects.select_for_update(no_key=True).get(pk=run.pk)
        if not held.is_active or held.cancel_requested_at:
            return
        held.cancel_requested_at = timezone.now()
        if held.status == SyncRun.Status.QUEUED:
            held.status, held.finished_at = SyncRun.Status.CANCELLED, held.cancel_requested_at
        held.save()
        audit.record(held.tenant, actor, "mailchimp.sync_cancelled", held)


def worker_seen() -> bool:
    """Tell whether a worker has shown a sign of life lately."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM procrastinate_workers "
            "WHERE last_heartbeat > now() - make_interval(secs => %s))",
            [settings.NEXPURA_STALL],
        )
        (seen,) = cursor.fetchone() or (False,)
    return bool(seen)


def start_due(now: datetime) -> int:
    """Queue a run for every integration whose time has come; returns how many.

    The next time is moved before the run is queued, in one transaction of some hundred: after downtime each tenant
    catches up once, and two ticks never start the same day twice.
    """
    started = 0
    while (some := _start_some(now)) is not None:
        started += some
    return started


def _start_some(now: datetime) -> int | None:
    with transaction.atomic():
        integrations = due.taken(now)
        if not integrations:
            return None
        wanted = []
        for integration in integrations:
            tenant = integration.tenant
            on = integration.is_connected and bool(integration.config.get("auto_sync"))
            integration.next_sync_at = schedule.next_time(tenant.pk, tenant.zone, now) if on else None
            wanted += [integration] * on
        due.move(integrations)
        made = due.make_runs(wanted, Actor.system(), SyncRun.Trigger.SCHEDULE)
        queue.enqueue_new(made)
    return len(made)


def revive(now: datetime) -> int:
    """Queue again every active run that nobody carries out: its worker died, or its job was lost."""
    revived = 0
    for run in due.stranded(now - timedelta(seconds=settings.NEXPURA_STALL)):
        with transaction.atomic():
            revived += queue.enqueue(run)
    return revived
