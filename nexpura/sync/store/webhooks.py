"""The rows of webhooks: what is to be done about them, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import transaction

from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp import webhook as remote
from nexpura.sync.models import Webhook
from nexpura.sync.store.connected import audience_of, key_of
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor

State = Webhook.State

CHECK_EVERY = timedelta(days=7)
"""One request a week tells whether Mailchimp still has it."""
ASKING_TAKES = timedelta(minutes=5)
"""After this long whoever asks is taken to be dead."""
ATTENDED_PAUSE = timedelta(minutes=10)
"""A person who presses the button has perhaps mended what was wrong, but does not press to have it tried again."""
LONGEST_PAUSE = timedelta(days=1)
LATE = timedelta(hours=2)
"""Mailchimp tries a message for 75 minutes: what a sync hears later than this was not told, or we were away."""
KEPT = timedelta(days=30)


class Due(StrEnum):
    """What is to be done about a webhook."""

    NOTHING = "nothing"
    ASK = "ask"
    """Ask Mailchimp to tell us; a webhook that is there already is replaced."""
    CHECK = "check"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job has to do, with what it needs. The key lives here, in memory, and nowhere else unsealed."""

    due: Due
    webhook_id: int
    tenant_id: int
    integration_id: int
    audience_id: str
    login_id: str
    key_text: str = field(repr=False)
    remote_id: str
    """Of the webhook that listens now; blank if there is none."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """A webhook that Mailchimp may forget, now that the shop is disconnected. Lives in memory only."""

    webhook_id: int
    audience_id: str
    login_id: str
    key_text: str = field(repr=False)
    remote_id: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why Mailchimp cannot tell us at once, in words for people, and when to try again at first."""

    code: str
    title: str
    detail: str
    remedy: str
    pause: timedelta


def due(integration: Integration, url: str, now: datetime, *, attended: bool = False) -> Due:
    """Tell what is to be done about the webhook of an integration, if this installation can be reached at `url`."""
    if not integration.is_connected:
        return Due.NOTHING
    listening, wanted = _live(integration)
    if not url:
        return Due.STOP if listening or wanted else Due.NOTHING
    if listening and listening.public_url == url:
        return _due_while_listening(listening, now)
    if wanted is None or wanted.public_url != url or wanted.retry_at is None or wanted.retry_at <= now:
        return Due.ASK
    return Due.ASK if attended and wanted.asked_at <= now - ATTENDED_PAUSE else Due.NOTHING


def hurry(integration: Integration, now: datetime) -> None:
    """Have the next job ask, whatever pause is still running."""
    Webhook.objects.filter(tenant_id=integration.tenant_id, state__in=Webhook.WANTED).update(retry_at=now)


def doubt(tenant_id: int, missed: Iterable[datetime], now: datetime) -> None:
    """A sync heard what happened at these moments: a webhook that should have told long before is asked for anew."""
    late = [moment for moment in missed if now - moment > LATE]
    if late:
        Webhook.objects.filter(tenant_id=tenant_id, state=State.LISTENING, listening_since__lt=max(late)).update(
            checked_at=None
        )


def to_try_again(now: datetime) -> list[int]:
    """Return the integrations whose webhook is to be asked for again."""
    tenants = Webhook.objects.filter(state__in=Webhook.WANTED, retry_at__lte=now).values("tenant_id")
    connected = Integration.objects.filter(kind=MAILCHIMP, tenant_id__in=tenants)
    return list(connected.exclude(status=Integration.Status.DISCONNECTED).values_list("pk", flat=True)[:500])


def begin(integration_id: int, url: str, digest: str, now: datetime) -> Asked | None:
    """Write down what is going to be asked of Mailchimp, before it is: its own look at the URL comes meanwhile."""
    with transaction.atomic():
        integration = Integration.objects.select_for_update(no_key=True).get(pk=integration_id)
        what, audience = due(integration, url, now), audience_of(integration)
        key_text = key_of(integration) if what is not Due.NOTHING else None
        if key_text is None or audience is None:
            return None
        listening, wanted = _live(integration)
        if wanted and what in (Due.ASK, Due.STOP):
            _end(wanted, now)
        subject = listening
        if what is Due.ASK:
            subject = Webhook.objects.create(
                tenant_id=integration.tenant_id,
                audience=audience,
                public_url=url,
                secret_hash=digest,
                tries=wanted.tries if wanted and wanted.public_url == url else 0,
                retry_at=now + ASKING_TAKES,
                asked_at=now,
            )
        if subject is None:
            return None
        return Asked(
            due=what,
            webhook_id=subject.pk,
            tenant_id=integration.tenant_id,
            integration_id=integration.pk,
            audience_id=integration.config["audience_id"],
            login_id=integration.config["login_id"],
            key_text=key_text,
            remote_id=listening.remote_id if listening else "",
        )


def ours(asked: Asked, digests: Mapping[str, str]) -> list[str]:
    """Return which of Mailchimp's webhooks (their id to the digest of their secret) are left over from former times.

    A job died before it knew the id, or Mailchimp did not answer at parting. The one that listens now is none of them.
    """
    known = Webhook.objects.filter(tenant_id=asked.tenant_id, secret_hash__in=list(digests.values()))
    former = set(known.values_list("secret_hash", flat=True))
    return [remote_id for remote_id, one in digests.items() if one in former and remote_id != asked.remote_id]


def listening(asked: Asked, made: remote.Webhook, now: datetime) -> list[str]:
    """Write down that Mailchimp tells us; returns which of its webhooks it may forget now."""
    with transaction.atomic():
        integration = Integration.objects.select_for_update(no_key=True).get(pk=asked.integration_id)
        asking = Webhook.objects.filter(pk=asked.webhook_id, state=State.ASKING).select_related("tenant").first()
        if asking is None or not integration.is_connected:
            return [made.id]
        former = Webhook.objects.filter(tenant_id=asked.tenant_id, state=State.LISTENING).first()
        if former:
            _end(former, now)
        asking.state, asking.remote_id, asking.error, asking.retry_at = State.LISTENING, made.id, None, None
        asking.listening_since = asking.checked_at = now
        asking.signing_secret = made.signing_secret and vault.seal(
            made.signing_secret,
            tenant_id=asked.tenant_id,
            integration_id=asked.integration_id,
            field="webhook_signing_secret",
        )
        asking.save()
        after = {"public_url": asking.public_url, "signed": asking.signing_secret is not None}
        audit.record(asking.tenant, _ITSELF, "mailchimp.webhook_registered", asking, after=after)
        return [former.remote_id] if former else []


def failed(asked: Asked, problem: Problem, now: datetime) -> None:
    """Write down why Mailchimp cannot tell us, and when to ask again."""
    with transaction.atomic():
        asking = Webhook.objects.select_for_update(no_key=True).filter(pk=asked.webhook_id, state=State.ASKING).first()
        if asking is None:
            return
        asking.state = State.FAILED
        asking.error = {name: value for name, value in asdict(problem).items() if name != "pause"}
        asking.retry_at = now + min(problem.pause * 2**asking.tries, LONGEST_PAUSE)
        asking.tries = min(asking.tries + 1, 20)
        asking.save()


def checked(asked: Asked, now: datetime) -> None:
    """Write down that Mailchimp still has the webhook."""
    Webhook.objects.filter(pk=asked.webhook_id, state=State.LISTENING).update(checked_at=now)


def over(asked: Asked, now: datetime) -> None:
    """Write down that the webhook that listened is no more."""
    with transaction.atomic():
        held = Webhook.objects.select_for_update(no_key=True).filter(pk=asked.webhook_id, state=State.LISTENING)
        if webhook := held.first():
            _end(webhook, now)


def end(integration: Integration, actor: Actor, now: datetime) -> Farewell | None:
    """End the webhook of an integration that is about to be disconnected; call inside its transaction.

    Its URL answers that it is gone from then on, at which Mailchimp disables it, should the farewell not reach it.
    """
    listening, wanted = _live(integration)
    key_text = key_of(integration)
    for webhook in (wanted, listening):
        if webhook:
            _end(webhook, now, actor)
    if listening is None or key_text is None:
        return None
    config = integration.config
    return Farewell(listening.pk, config["audience_id"], config["login_id"], key_text, listening.remote_id)


def tidy(now: datetime) -> None:
    """Forget webhooks that ended long ago."""
    Webhook.objects.filter(state=State.ENDED, ended_at__lt=now - KEPT).delete()


_ITSELF = Actor.system("sync")


def _due_while_listening(webhook: Webhook, now: datetime) -> Due:
    if webhook.checked_at is None:
        return Due.ASK
    return Due.CHECK if webhook.checked_at <= now - CHECK_EVERY else Due.NOTHING


def _live(integration: Integration) -> tuple[Webhook | None, Webhook | None]:
    """Return the webhook that listens, and the one that is or was asked for."""
    rows = list(Webhook.objects.filter(tenant_id=integration.tenant_id).exclude(state=State.ENDED))
    listening = next((row for row in rows if row.state == State.LISTENING), None)
    return listening, next((row for row in rows if row.state in Webhook.WANTED), None)


def _end(webhook: Webhook, now: datetime, actor: Actor = _ITSELF) -> None:
    """End a webhook; only one that listened is worth a line in the audit trail."""
    listened = webhook.state == State.LISTENING
    webhook.state, webhook.ended_at, webhook.retry_at, webhook.signing_secret = State.ENDED, now, None, None
    webhook.save()
    if listened:
        before = {"public_url": webhook.public_url}
        audit.record(webhook.tenant, actor, "mailchimp.webhook_removed", webhook, before=before)
