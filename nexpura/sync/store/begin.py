"""A run begins, shows that it lives, and lets go."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp.pace import SERVER_LIMIT
from nexpura.sync.models import SyncRun
from nexpura.sync.store.connected import KEY_UNREADABLE, key_of
from nexpura.sync.store.records import RunLostError


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is ours to carry out. The key lives here, in memory, and nowhere else unsealed."""

    id: int
    tenant_id: int
    audience_pk: int
    audience_id: str
    login_id: str
    token: UUID
    key_text: str
    unattended: bool

    def __repr__(self) -> str:
        return f"<run {self.id} of tenant {self.tenant_id}>"


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds this run, or the Mailchimp user it needs: try again in a moment."""


@dataclass(frozen=True, slots=True)
class Over:
    """The run has ended already; there is nothing to do."""


def begin(run_id: int) -> Begun | Busy | Over:
    """Take the run and the right to send requests for its Mailchimp user."""
    return _begin(run_id) or _end_without_key(run_id)


def _begin(run_id: int) -> Begun | Busy | Over | None:
    """Return what `begin` does; None if the key is there and cannot be opened."""
    with transaction.atomic():
        run = SyncRun.objects.select_for_update().select_related("audience").get(pk=run_id)
        if not run.is_active:
            return Over()
        if run.status == SyncRun.Status.RUNNING and _alive(run):
            return Busy()
        integration = Integration.objects.get(tenant_id=run.tenant_id, kind=MAILCHIMP)
        if run.cancel_requested_at or not integration.is_connected or integration.config_encrypted is None:
            _end_unstarted(run)
            return Over()
        key_text = key_of(integration)
        if key_text is None:
            return None
        token = uuid.uuid4()
        if not _take_lease(integration.config["login_id"], run.pk, token):
            return Busy()
        run.token, run.status, run.phase = token, SyncRun.Status.RUNNING, "reading"
        run.heartbeat_at = timezone.now()
        run.started_at = run.started_at or run.heartbeat_at
        run.attempts += 1
        run.save()
        return Begun(
            id=run.pk,
            tenant_id=run.tenant_id,
            audience_pk=run.audience_id,
            audience_id=run.audience.audience_id,
            login_id=integration.config["login_id"],
            token=token,
            key_text=key_text,
            unattended=not run.past_brake,
        )


def beat(run: Begun, requests: int) -> None:
    """Show that the run lives and renew its lease; raises `RunLostError` when it should stop."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_syncrun AS r SET heartbeat_at = now(), requests = greatest(r.requests, %s)
            FROM integrations_integration AS i
            WHERE r.tenant_id = %s AND r.id = %s AND r.token = %s AND r.status = 'running'
              AND r.cancel_requested_at IS NULL
              AND i.tenant_id = r.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
            """,
            [requests, run.tenant_id, run.id, run.token],
        )
        if cursor.rowcount != 1 or not _renew_lease(run):
            raise RunLostError(f"run {run.id}")


def put_back(run: Begun, *, unanswered: bool) -> None:
    """Give an interrupted run back to the queue; with requests `unanswered`, only after Mailchimp has ended them."""
    with transaction.atomic():
        SyncRun.objects.filter(pk=run.id, token=run.token, status=SyncRun.Status.RUNNING).update(
            status=SyncRun.Status.QUEUED, phase="", heartbeat_at=None
        )
        release(run, after=SERVER_LIMIT if unanswered else 0)


def release(run: Begun, after: float = 0) -> None:
    """Let go of the Mailchimp user, now or in so many seconds."""
    with connection.cursor() as cursor:
        if after:
            cursor.execute(
                "UPDATE sync_loginlease SET run_id = 0, expires_at = now() + make_interval(secs => %s) "
                "WHERE login_id = %s AND token = %s",
                [after, run.login_id, run.token],
            )
        else:
            cursor.execute("DELETE FROM sync_loginlease WHERE login_id = %s AND token = %s", [run.login_id, run.token])


def _alive(run: SyncRun) -> bool:
    return run.heartbeat_at is not None and timezone.now() - run.heartbeat_at < timedelta(
        seconds=settings.NEXPURA_STALL
    )


def _end_unstarted(run: SyncRun) -> None:
    run.status, run.phase, run.finished_at = SyncRun.Status.CANCELLED, "", timezone.now()
    run.save()


def _end_without_key(run_id: int) -> Busy | Over:
    """The installation's sealing keys have changed: only the shop can put its key in again.

    `Busy` if it just has, or has disconnected: then the run is to be begun once more.
    """
    error = KEY_UNREADABLE._asdict() | {"at": timezone.now().isoformat()}
    tenant_id = SyncRun.objects.values_list("tenant_id", flat=True).get(pk=run_id)
    with transaction.atomic():
        integration = Integration.objects.select_for_update().get(tenant_id=tenant_id, kind=MAILCHIMP)
        run = SyncRun.objects.select_for_update().get(pk=run_id)
        if not run.is_active:
            return Over()
        if key_of(integration) or not integration.is_connected:
            return Busy()
        run.status, run.finished_at, run.error = SyncRun.Status.FAILED, timezone.now(), error
        run.save()
        integration.status, integration.error = Integration.Status.ERROR, error
        integration.save(update_fields=["status", "error"])
    return Over()


def _take_lease(login_id: str, run_id: int, token: UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_loginlease AS l (login_id, run_id, token, expires_at)
            VALUES (%s, %s, %s, now() + make_interval(secs => %s))
            ON CONFLICT (login_id) DO UPDATE
                SET run_id = excluded.run_id, token = excluded.token, expires_at = excluded.expires_at
                WHERE l.expires_at < now() OR l.run_id = excluded.run_id
            """,
            [login_id, run_id, token, settings.NEXPURA_STALL],
        )
        return bool(cursor.rowcount == 1)


def _renew_lease(run: Begun) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sync_loginlease SET expires_at = now() + make_interval(secs => %s) "
            "WHERE login_id = %s AND token = %s",
            [settings.NEXPURA_STALL, run.login_id, run.token],
        )
        return bool(cursor.rowcount == 1)
