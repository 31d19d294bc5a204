"""A message of Mailchimp's at our door: whether to believe it, and whom to look at because of it (B3).

What a message says of a member is not used: it makes us look sooner, and the member we then read decides. A message
that is forged, stale, replayed, about another audience or none at all changes nothing and is counted.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import DatabaseError, transaction

from nexpura.audience.address import address_of
from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp import webhook as message
from nexpura.mailchimp.webhook import SIGNATURE_HEADER, DeliveryMalformed, Signature
from nexpura.sync import queue
from nexpura.sync.models import Webhook
from nexpura.sync.store import inbound

__all__ = ["LONGEST", "SIGNATURE_HEADER", "Door", "Outcome", "State", "digest", "door", "hear", "turn_away"]

LONGEST = 64 * 1024
"""Bytes of a message; those of Mailchimp have a few thousand."""
KEPT = timedelta(days=7)
"""How long a message that was heard is remembered."""
STALE = KEPT - timedelta(days=1)
"""Older messages are not heard: they could be replays that are remembered no more. Mailchimp tries for 75 minutes."""
LOCK_WAIT = "300ms"
"""Mailchimp waits for the answer: rather have it try again than make it wait for somebody's lock."""


class State(StrEnum):
    """What stands behind the door."""

    OPEN = "open"
    NOT_YET = "not yet"
    """Mailchimp is being asked at this moment: it may look, but has nothing to tell."""
    GONE = "gone"
    """The shop disconnected, or another URL took its place: Mailchimp may forget this one."""


class Outcome(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    FORGED = "forged"
    STALE = "stale"
    REPLAYED = "replayed"
    FOREIGN = "foreign"
    """About another audience."""
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Door:
    """The place a secret URL leads to."""

    webhook: Webhook
    integration: Integration
    state: State


def digest(secret: str) -> str:
    """Return what is kept of the secret in a URL. It is long and random: nobody finds it from this."""
    return hashlib.sha256(secret.encode()).hexdigest()


def door(secret: str) -> Door | None:
    """Return where the secret leads; None if nowhere."""
    webhook = Webhook.objects.filter(secret_hash=digest(secret)).select_related("audience").first()
    if webhook is None:
        return None
    integration = Integration.objects.get(tenant_id=webhook.tenant_id, kind=MAILCHIMP)
    return Door(webhook, integration, _state(webhook, integration))


def hear(door: Door, body: bytes, signature: str, now: datetime) -> Outcome:
    """Take a message. Costs a few inserts and one job; raises `OperationalError` rather than wait for long."""
    with transaction.atomic():
        inbound.do_not_wait_longer_than(LOCK_WAIT)
        outcome = _accept(door, body, signature, now)
        inbound.count(door.webhook, outcome, now)
    if outcome is Outcome.ACCEPTED:
        # Only now: a look that begins before our commit would not see the address, and no other would be queued.
        # If this fails the address is written down all the same, and the next tick finds it.
        with suppress(DatabaseError):
            queue.enqueue_look(door.integration.pk)
    return outcome


def turn_away(door: Door, now: datetime) -> Outcome:
    """Count a message that was not even read."""
    with transaction.atomic():
        inbound.do_not_wait_longer_than(LOCK_WAIT)
        inbound.count(door.webhook, Outcome.MALFORMED, now)
    return Outcome.MALFORMED


def _state(webhook: Webhook, integration: Integration) -> State:
    config, audience = integration.config, webhook.audience
    connected = integration.is_connected and (
        (config["data_centre"], config["audience_id"]) == (audience.data_centre, audience.audience_id)
    )
    if not connected or webhook.state in (Webhook.State.ENDED, Webhook.State.FAILED):
        return State.GONE
    return State.OPEN if webhook.state == Webhook.State.LISTENING else State.NOT_YET


def _accept(door: Door, body: bytes, signature: str, now: datetime) -> Outcome:
    if refused := _refuse_signature(door, body, signature, now):
        return refused
    try:
        delivery = message.read(body)
    except DeliveryMalformed:
        return Outcome.MALFORMED
    if delivery.audience_id != door.webhook.audience.audience_id:
        return Outcome.FOREIGN
    if delivery.fired_at and now - delivery.fired_at > STALE:
        return Outcome.STALE
    if not inbound.is_new(door.webhook, delivery.identity):
        return Outcome.REPLAYED
    inbound.ask_to_look(door.webhook, sorted({address_of(address) for address in delivery.addresses}))
    return Outcome.ACCEPTED


def _refuse_signature(door: Door, body: bytes, signature: str, now: datetime) -> Outcome | None:
    """Without a signing secret the URL, which nobody can guess, has to do."""
    sealed = door.webhook.signing_secret
    if sealed is None:
        return None
    secret = vault.unseal(
        bytes(sealed),
        tenant_id=door.webhook.tenant_id,
        integration_id=door.integration.pk,
        field="webhook_signing_secret",
    )
    match message.verify(signature, body, secret, now):
        case Signature.GENUINE:
            return None
        case Signature.FORGED:
            return Outcome.FORGED
        case Signature.STALE:
            return Outcome.STALE
