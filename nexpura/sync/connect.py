"""Connect, disconnect, and what may be changed while connected. Connecting reads; it never writes to an audience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey, KeyMalformed
from nexpura.mailchimp.member import Account, Audience, MergeField
from nexpura.sync import listen, schedule, store, tenth
from nexpura.sync.models import AddressStanding, KnownAudience, SyncRun
from nexpura.sync.store import erase, inbound, standings, webhooks
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

LONGEST_AUDIENCE_ID = 50
API_ERROR = "Mailchimp API error"
CAUSES = (
    "The key was revoked: in Mailchimp, confirm it is active under Account → Extras → API keys.",
    "The key was cut short when it was copied: copy it whole, including the ending such as -us14.",
    "The audience belongs to another account, or is not open to this key: check the Audience ID in Mailchimp "
    "under Audience → Settings → Audience name and defaults.",
)


@dataclass(frozen=True, slots=True)
class Connected:
    """The integration row is written; `also_elsewhere` warns of another tenant on the same audience (B13)."""

    integration: Integration
    also_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written. `code` tells which field is meant: key, audience, or mailchimp for its own refusal."""

    code: str
    title: str
    detail: str
    causes: tuple[str, ...] = ()


def connect(tenant: Tenant, actor: Actor, *, key_text: str, audience_id: str, auto_sync: bool) -> Connected | Refused:
    """Ask Mailchimp for the named audience and, if it answers, write the integration row."""
    audience_id = audience_id.strip()
    if refused := _refuse_audience_id(audience_id):
        return refused
    if _current(tenant):
        return Refused(
            "connected", "Mailchimp is connected already", "Disconnect first to connect another account or audience."
        )
    answer = _ask(key_text, audience_id)
    if isinstance(answer, Refused):
        return answer
    try:
        return _write_row(tenant, actor, answer, auto_sync=auto_sync)
    except OperationalError:
        return Refused(
            "busy", "Busy", "Customers are being imported at this moment.", ("Try again when that is done.",)
        )


def _write_row(tenant: Tenant, actor: Actor, answer: Answer, *, auto_sync: bool) -> Connected:
    key, account, audience = answer.key, answer.account, answer.audience
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '10s'")
        integration, _ = Integration.objects.select_for_update().get_or_create(
            tenant=tenant, kind=MAILCHIMP, defaults={"status": Integration.Status.DISCONNECTED}
        )
        if integration.is_connected:
            return Connected(integration)
        # Wait for an import under way: its rows are neither marked nor to be seen yet.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        now = timezone.now()
        integration.config = {
            "audience_id": audience.id,
            "audience_name": audience.name,
            "data_centre": key.data_centre,
            "key_last4": key.last4,
            "login_id": account.login_id,
            "account_name": account.name,
            "auto_sync": auto_sync,
        }
        _seal(integration, key)
        integration.status, integration.error = Integration.Status.CONNECTED, None
        integration.connected_at, integration.last_sync_at = now, None
        integration.last_checked_at = integration.last_success_at = None
        integration.next_sync_at = schedule.next_time(tenant.pk, tenant.zone, now) if auto_sync else None
        integration.save()
        known, _ = KnownAudience.objects.get_or_create(
            tenant=tenant, data_centre=key.data_centre, audience_id=audience.id, defaults={"name": audience.name}
        )
        store.keep_settings(known, audience, answer.merge_fields, answer.permissions)
        known.decided_under = ""  # the first sync marks once more whoever was being written down at this moment
        known.save()
        AddressStanding.objects.filter(tenant=tenant).delete()
        standings.mark_all(tenant.pk, known.pk)
        erase.wake(tenant.pk)
        audit.record(tenant, actor, "mailchimp.connected", integration, after=_told(integration))
        listen.see_to(integration, now)
    return Connected(integration, also_elsewhere(integration))


def disconnect(tenant: Tenant, actor: Actor) -> None:
    """Forget key and audience; keep the row, its history and what we knew of the audience. Ends a run (B14).

    Mailchimp is asked last to tell us nothing more, with the key still in memory: some seconds at most.
    """
    with transaction.atomic():
        integration = Integration.objects.select_for_update().filter(tenant=tenant, kind=MAILCHIMP).first()
        if integration is None or not integration.is_connected:
            return
        before, now = _told(integration), timezone.now()
        farewell = webhooks.end(integration, actor, now)
        inbound.forget_addresses(tenant.pk)
        integration.status, integration.error = Integration.Status.DISCONNECTED, None
        integration.config_encrypted, integration.next_sync_at = None, None
        integration.config = {}
        integration.save()
        active = tenant.sync_runs.filter(status__in=SyncRun.ACTIVE)
        active.filter(cancel_requested_at__isnull=True).update(cancel_requested_at=now)
        tenant.sync_runs.filter(status=SyncRun.Status.QUEUED).update(status=SyncRun.Status.CANCELLED, finished_at=now)
        audit.record(tenant, actor, "mailchimp.disconnected", integration, before=before)
    if farewell:
        listen.part(farewell)


def set_auto_sync(tenant: Tenant, actor: Actor, on: bool) -> None:
    """Switch the daily sync on or off. Does nothing when not connected."""
    with transaction.atomic():
        integration = Integration.objects.select_for_update().filter(tenant=tenant, kind=MAILCHIMP).first()
        if integration is None or not integration.is_connected or bool(integration.config.get("auto_sync")) == on:
            return
        integration.config = {**integration.config, "auto_sync": on}
        integration.next_sync_at = schedule.next_time(tenant.pk, tenant.zone, timezone.now()) if on else None
        integration.save()
        audit.record(
            tenant, actor, "mailchimp.auto_sync", integration, before={"auto_sync": not on}, after={"auto_sync": on}
        )


def replace_key(tenant: Tenant, actor: Actor, key_text: str) -> Connected | Refused:
    """Put in another key for the same audience (B14)."""
    integration = _current(tenant)
    if integration is None:
        return Refused("connected", "Mailchimp is not connected", "Connect it first.")
    answer = _ask(key_text, integration.config["audience_id"])
    if isinstance(answer, Refused):
        return answer
    key, account = answer.key, answer.account
    if key.data_centre != integration.config["data_centre"]:
        return Refused("key", "Another data centre", "This key belongs to another account: disconnect first.")
    with transaction.atomic():
        integration = Integration.objects.select_for_update().get(pk=integration.pk)
        if not integration.is_connected:
            return Refused("connected", "Mailchimp is not connected", "Connect it first.")
        before = _told(integration)
        integration.config = {
            **integration.config,
            "key_last4": key.last4,
            "login_id": account.login_id,
            "account_name": account.name,
        }
        _seal(integration, key)
        integration.status, integration.error = Integration.Status.CONNECTED, None
        integration.save()
        erase.wake(tenant.pk)
        audit.record(tenant, actor, "mailchimp.key_replaced", integration, before=before, after=_told(integration))
        listen.see_to(integration, timezone.now(), attended=True)
    return Connected(integration)


def _current(tenant: Tenant) -> Integration | None:
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    return integration if integration and integration.is_connected else None


def _refuse_audience_id(audience_id: str) -> Refused | None:
    if not audience_id:
        return Refused("audience", "Audience / List ID is missing", "Copy it from Mailchimp; it looks like abc123def4.")
    if len(audience_id) > LONGEST_AUDIENCE_ID or not (audience_id.isascii() and audience_id.isalnum()):
        return Refused(
            "audience",
            "This is not an Audience ID",
            "An Audience ID is letters and digits only, typically ten of them, such as abc123def4.",
        )
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What Mailchimp says about a key and an audience."""

    key: ApiKey
    account: Account
    audience: Audience
    merge_fields: tuple[MergeField, ...]
    permissions: tuple[tuple[str, str], ...] | None


def _ask(key_text: str, audience_id: str) -> Answer | Refused:
    """Return what Mailchimp says about key and audience, or its refusal in words for people."""
    try:
        key = ApiKey.parse(key_text)
    except KeyMalformed as malformed:
        return Refused("key", "This API key cannot be right", str(malformed))
    try:
        account = tenth.ask(tenth.of_anybody(key), key, lambda mailchimp: mailchimp.account())
        place = tenth.of_login(account.login_id, key)
        return tenth.ask(place, key, lambda mailchimp: _about(mailchimp, key, account, audience_id))
    except (errors.AccessLost, errors.AudienceNotFound) as error:
        return Refused("mailchimp", API_ERROR, f"{error.title}: {error.detail}", CAUSES)
    except errors.MailchimpError as error:
        return Refused(
            "unreachable", API_ERROR, f"Mailchimp could not answer just now ({error}).", ("Try again in a minute.",)
        )
    except tenth.Taken:
        return Refused(
            "busy", "Busy", "Another page is talking to Mailchimp at this moment.", ("Try again in a minute.",)
        )


async def _about(mailchimp: MailchimpClient, key: ApiKey, account: Account, audience_id: str) -> Answer:
    """Read the audience with its fields and permissions, one request after the other."""
    audience = await mailchimp.audience(audience_id)
    merge_fields = await mailchimp.merge_fields(audience_id)
    permissions = await mailchimp.permissions(audience_id) if audience.marketing_permissions else None
    return Answer(key, account, audience, merge_fields, permissions)


def _seal(integration: Integration, key: ApiKey) -> None:
    integration.config_encrypted = vault.seal(
        key.value, tenant_id=integration.tenant_id, integration_id=integration.pk, field="api_key"
    )


def _told(integration: Integration) -> dict[str, Any]:
    """What the audit trail may know: everything but the key."""
    return {key: value for key, value in integration.config.items() if key != "login_id"}


def also_elsewhere(integration: Integration) -> bool:
    """Tell whether another shop of this installation is connected to the same audience (B13)."""
    return (
        Integration.objects.filter(
            kind=MAILCHIMP,
            config__audience_id=integration.config["audience_id"],
            config__data_centre=integration.config["data_centre"],
        )
        .exclude(tenant_id=integration.tenant_id)
        .exclude(status=Integration.Status.DISCONNECTED)
        .exists()
    )
