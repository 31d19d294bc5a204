"""A run ends: every customer counted in exactly one bucket, the integration told, the Mailchimp user let go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp.pace import SERVER_LIMIT
from nexpura.sync import schedule
from nexpura.sync.models import Bucket, MemberResult, SyncRun
from nexpura.sync.store.begin import Begun, release
from nexpura.tenants import audit

RETRY_UNAVAILABLE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: its status, and for a bad end the words for people.

    `breaks` marks an end that needs a person before anything can work again (a refused key, a lost audience).
    `reached` tells whether Mailchimp answered at all.
    """

    status: str
    code: str = ""
    title: str = ""
    detail: str = ""
    remedy: str = ""
    breaks: bool = False
    reached: bool = True


def finish(run: Begun, ending: Ending, *, requests: int, unanswered: bool, now: datetime) -> None:
    """End the run. Does nothing if it is no longer ours.

    With requests `unanswered`, Mailchimp may still count them: its user is let go only when it has ended them.
    """
    counts, synced, book = _accounts(run)
    with transaction.atomic():
        # Before the run, in the order of everybody else.
        Integration.objects.select_for_update().get(tenant_id=run.tenant_id, kind=MAILCHIMP)
        row = SyncRun.objects.select_for_update().filter(pk=run.id, token=run.token, status="running").first()
        if row is None:
            return
        status = ending.status
        if status == SyncRun.Status.SUCCEEDED and counts[Bucket.FAILED]:
            status = SyncRun.Status.PARTIAL
        row.status, row.phase, row.finished_at = status, "", now
        row.counts, row.synced, row.book = counts, synced, book
        row.faulty = sum(counts.values()) != book
        row.requests = max(row.requests, requests)
        row.error = _error(ending, now)
        row.save()
        _tell_integration(row, ending, now)
        audit.record(
            row.tenant,
            audit.Actor.system("sync"),
            "mailchimp.synced" if status in ("succeeded", "partial") else f"mailchimp.sync_{status}",
            row,
            after={"status": status, "synced": synced, **{k: v for k, v in counts.items() if v}},
        )
        release(run, after=SERVER_LIMIT if unanswered else 0)


def _error(ending: Ending, now: datetime) -> dict[str, Any] | None:
    if not ending.code:
        return None
    return {
        "code": ending.code,
        "title": ending.title,
        "detail": ending.detail,
        "remedy": ending.remedy,
        "at": now.isoformat(),
    }


def _tell_integration(row: SyncRun, ending: Ending, now: datetime) -> None:
    integration = Integration.objects.select_for_update().get(tenant_id=row.tenant_id, kind=MAILCHIMP)
    if ending.reached:
        integration.last_checked_at = now
    if row.status in (SyncRun.Status.SUCCEEDED, SyncRun.Status.PARTIAL):
        integration.last_success_at = now
        pushed = MemberResult.objects.filter(tenant_id=row.tenant_id, run_id=row.pk, state="accepted").exists()
        if row.trigger != SyncRun.Trigger.SCHEDULE or pushed:
            integration.last_sync_at = now
        if integration.is_connected:
            integration.status, integration.error = Integration.Status.CONNECTED, None
    elif ending.breaks and integration.is_connected:
        integration.status, integration.error = Integration.Status.ERROR, _error(ending, now)
    elif not ending.reached and integration.next_sync_at:
        soon = now + RETRY_UNAVAILABLE
        integration.next_sync_at = min(soon, integration.next_sync_at)
    if integration.is_connected and integration.config.get("auto_sync") and integration.next_sync_at is None:
        integration.next_sync_at = schedule.next_time(row.tenant_id, row.tenant.zone, now)
    integration.save()


def _accounts(run: Begun) -> tuple[dict[str, int], int, int]:
    """Return customers per bucket, synced addresses and the size of the book, all of one moment (B7)."""
    counts: dict[str, int] = {bucket.value: 0 for bucket in Bucket}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(_COUNTS, {"tenant": run.tenant_id, "run": run.id})
        for bucket, customers in cursor.fetchall():
            counts[bucket] = counts.get(bucket, 0) + int(customers)
        cursor.execute(_SYNCED, {"tenant": run.tenant_id})
        (synced,) = cursor.fetchone() or (0,)
        cursor.execute("SELECT count(*) FROM customers_customer WHERE tenant_id = %s", [run.tenant_id])
        (book,) = cursor.fetchone() or (0,)
    return counts, int(synced), int(book)


_COUNTS = """
    SELECT bucket, sum(customers) FROM (
        SELECT bucket, customers FROM sync_standingcount WHERE tenant_id = %(tenant)s
        UNION ALL  -- whoever is marked again is waiting, wherever the address stood before
        SELECT s.bucket, -s.customers FROM sync_dirtyaddress AS d
            JOIN sync_addressstanding AS s ON s.tenant_id = d.tenant_id AND s.address = d.address
            WHERE d.tenant_id = %(tenant)s
        UNION ALL
        SELECT CASE WHEN s.bucket = 'failed' THEN 'failed' ELSE 'waiting' END, 1 FROM sync_dirtyaddress AS d
            JOIN customers_customer AS c ON c.tenant_id = d.tenant_id AND c.address = d.address
            LEFT JOIN sync_addressstanding AS s ON s.tenant_id = d.tenant_id AND s.address = d.address
            WHERE d.tenant_id = %(tenant)s
        UNION ALL  -- what this run did counts as done, not as the agreement it led to
        SELECT moved.bucket, moved.customers FROM (
            SELECT DISTINCT ON (r.address) r.standing_bucket, r.bucket, cardinality(r.customer_ids) AS customers
            FROM sync_memberresult AS r
            LEFT JOIN sync_dirtyaddress AS d ON d.tenant_id = r.tenant_id AND d.address = r.address
            WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s AND r.state = 'accepted' AND d.id IS NULL
            ORDER BY r.address, r.kind = 'retag', r.id DESC  -- tags beside another change are part of it
        ) AS done CROSS JOIN LATERAL (
            VALUES (done.standing_bucket, -done.customers), (done.bucket, done.customers)
        ) AS moved (bucket, customers)
    ) AS all_of_them GROUP BY bucket
"""

_SYNCED = """
    SELECT coalesce((SELECT sum(addresses) FROM sync_standingcount
                     WHERE tenant_id = %(tenant)s AND bucket = 'agreement'), 0)
         - (SELECT count(*) FROM sync_dirtyaddress AS d
            JOIN sync_addressstanding AS s ON s.tenant_id = d.tenant_id AND s.address = d.address
            WHERE d.tenant_id = %(tenant)s AND s.bucket = 'agreement')
"""
