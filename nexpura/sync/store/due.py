"""What is due, for all tenants at once: a statement or two for some hundred of them, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.sync.store.records import as_json
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor

SOME = 500
"""Tenants started in one transaction."""
LARGE = 10_000
"""Customers above which a shop's runs are large: they may take minutes, and have places of their own in a worker."""


def taken(now: datetime) -> list[Integration]:
    """Lock some of the integrations that are due, the longest first; leaves out what others have locked."""
    due = Integration.objects.filter(kind=MAILCHIMP, next_sync_at__lte=now).order_by("next_sync_at")
    return list(due.select_for_update(of=("self",), skip_locked=True).select_related("tenant")[:SOME])


def move(integrations: Sequence[Integration]) -> None:
    """Write down when each is due next."""
    rows = [{"id": one.pk, "tenant_id": one.tenant_id, "next": one.next_sync_at} for one in integrations]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE integrations_integration AS i SET next_sync_at = s.next
            FROM jsonb_to_recordset(%s::jsonb) AS s (id bigint, tenant_id bigint, next timestamptz)
            WHERE i.tenant_id = s.tenant_id AND i.id = s.id
            """,
            [as_json(rows)],
        )


def make_runs(integrations: Sequence[Integration], actor: Actor, trigger: str) -> list[SyncRun]:
    """Make a run for each that has no active one. The caller has locked them, as everybody does who makes a run."""
    tenants = {one.tenant_id: one.tenant for one in integrations}
    known = KnownAudience.objects.filter(tenant__in=tenants)
    audiences = {(one.tenant_id, one.data_centre, one.audience_id): one for one in known}
    active = set(
        SyncRun.objects.filter(tenant__in=tenants, status__in=SyncRun.ACTIVE).values_list("tenant_id", flat=True)
    )
    runs = [
        SyncRun(tenant=one.tenant, audience=audience, trigger=trigger, actor_name=actor.name)
        for one in integrations
        if one.tenant_id not in active
        and (audience := audiences.get((one.tenant_id, one.config["data_centre"], one.config["audience_id"])))
    ]
    made = SyncRun.objects.bulk_create(runs)
    audit.record_each([(run.tenant, run) for run in made], actor, "mailchimp.sync_started", after={"trigger": trigger})
    return made


def large_among(tenant_ids: Sequence[int]) -> set[int]:
    """Return those of the tenants that are large; costs no more than the limit tells, however large they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT t.id FROM unnest(%s::bigint[]) AS t (id)
            WHERE EXISTS (SELECT 1 FROM customers_customer WHERE tenant_id = t.id OFFSET %s LIMIT 1)
            """,
            [list(tenant_ids), LARGE],
        )
        return {tenant_id for (tenant_id,) in cursor.fetchall()}


def stranded(late: datetime) -> list[SyncRun]:
    """Return the active runs without a sign of life since `late`, for which no job waits either."""
    return list(
        SyncRun.objects.raw(
            """
            SELECT r.* FROM sync_syncrun AS r
            WHERE r.status IN ('queued', 'running')
              AND CASE r.status WHEN 'running' THEN r.heartbeat_at ELSE r.queued_at END < %s
              AND 'run-' || r.id NOT IN (  -- hashed, however little PostgreSQL knows of the tables
                SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock IS NOT NULL)
            """,
            [late],
        )
    )
