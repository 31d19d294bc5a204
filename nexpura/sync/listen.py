"""Having Mailchimp tell us at once: the webhook of an integration, made, watched over and taken away (B3).

A convenience, never a condition: where Mailchimp cannot reach this installation, the next sync hears everything.

    connected ─> asking ─> listening ─> ended        asking ─> failed ─> asking again, later
                           (disconnected, another public URL, gone in Mailchimp, messages missed)
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings

from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey, is_loopback
from nexpura.mailchimp.pace import Patience
from nexpura.sync import hear, line, queue, tenth
from nexpura.sync.clock import Clock
from nexpura.sync.database import from_db
from nexpura.sync.store import webhooks
from nexpura.sync.store.webhooks import Asked, Due, Farewell, Problem
from nexpura.sync.tenth import Place

logger = logging.getLogger(__name__)

PATH = "/webhooks/mailchimp/"
SECRET_BYTES = 32
ONCE = Patience(attempts=1, total=40.0, connect=5.0, read=30.0)
"""Mailchimp asks our URL during the call, and waits for it."""
AT_PARTING = Patience(attempts=1, total=4.0, connect=2.0, read=3.0)
"""Somebody waits at the page; a webhook that is left behind ends at its next message."""
WAIT_AT_PARTING = 2.0
REFUSED_PAUSE, BUSY_PAUSE = timedelta(hours=1), timedelta(seconds=150)
"""Until the second try; later pauses grow to a day."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL to give to Mailchimp: whoever knows it may tell us to look at somebody."""

    url: str = field(repr=False)
    digest: str

    @classmethod
    def new(cls, public_url: str) -> Address:
        secret = secrets.token_urlsafe(SECRET_BYTES)
        return cls(f"{public_url}{PATH}{secret}", hear.digest(secret))


def public_url() -> str:
    """Return where Mailchimp can reach this installation; blank if nowhere.

    Over https, or on this machine if Mailchimp (an emulator) is there too.
    """
    ours, theirs = urlsplit(settings.NEXPURA_PUBLIC_URL), urlsplit(settings.NEXPURA_MAILCHIMP_URL)
    together = is_loopback(ours.hostname or "") and is_loopback(theirs.hostname or "")
    reachable = ours.scheme == "https" or (ours.scheme == "http" and together)
    return settings.NEXPURA_PUBLIC_URL if reachable else ""


def see_to(integration: Integration, now: datetime, *, attended: bool = False) -> bool:
    """Queue the job below if something is to be done; costs a query or two. `attended`: a person asked, just now."""
    if webhooks.due(integration, public_url(), now, attended=attended) is Due.NOTHING:
        return False
    if attended:
        webhooks.hurry(integration, now)
    return queue.enqueue_listen(integration.pk)


def see_to_tenant(tenant_id: int, now: datetime, *, attended: bool) -> None:
    """Do the same at the beginning of a run."""
    see_to(Integration.objects.get(tenant_id=tenant_id, kind=MAILCHIMP), now, attended=attended)


def try_again(now: datetime) -> int:
    """Queue the job below for whatever failed and has waited; returns for how many integrations."""
    return sum(queue.enqueue_listen(pk) for pk in webhooks.to_try_again(now))


def part(farewell: Farewell) -> None:
    """Have Mailchimp forget what it was asked to tell, as far as it answers at once."""

    async def delete(mailchimp: MailchimpClient) -> None:
        await mailchimp.delete_webhook(farewell.audience_id, farewell.remote_id)

    key = ApiKey.parse(farewell.key_text)
    place = tenth.of_login(farewell.login_id, key)
    try:
        tenth.ask(place, key, delete, patience=AT_PARTING, wait=WAIT_AT_PARTING)
    except (errors.MailchimpError, tenth.Taken) as error:
        logger.info("webhook %s is left in Mailchimp: %s", farewell.webhook_id, error)


async def listen(integration_id: int, *, clock: Clock) -> None:
    """Do what is to be done about the webhook of an integration: make it, see whether it is there, take it away."""
    address = Address.new(public_url())
    asked = await from_db(webhooks.begin)(integration_id, public_url(), address.digest, clock.now())
    if asked is None:
        return
    key = ApiKey.parse(asked.key_text)
    try:
        async with (
            tenth.place(tenth.of_login(asked.login_id, key)) as place,
            line.to_mailchimp(key, places=1, patience=ONCE) as mailchimp,
        ):
            await _do(asked, address, mailchimp, place, clock)
    except (errors.MailchimpError, tenth.Taken) as error:
        logger.info("webhook %s of tenant %s: %s", asked.webhook_id, asked.tenant_id, error)
        await from_db(webhooks.failed)(asked, _problem(error), clock.now())


async def _do(asked: Asked, address: Address, mailchimp: MailchimpClient, place: Place, clock: Clock) -> None:
    match asked.due:
        case Due.ASK:
            await _register(asked, address, mailchimp, place, clock)
        case Due.CHECK:
            async with place.taken():
                there = await mailchimp.webhooks(asked.audience_id)
            if any(one.id == asked.remote_id for one in there):
                await from_db(webhooks.checked)(asked, clock.now())
            else:
                await from_db(webhooks.over)(asked, clock.now())
                await from_db(queue.enqueue_listen)(asked.integration_id)
        case Due.STOP:
            await _delete(asked, [asked.remote_id], mailchimp, place)
            await from_db(webhooks.over)(asked, clock.now())


async def _register(asked: Asked, address: Address, mailchimp: MailchimpClient, place: Place, clock: Clock) -> None:
    """Ask Mailchimp to tell us, and to forget what it was asked in former times."""
    async with place.taken():
        there = await mailchimp.webhooks(asked.audience_id)
    digests = {one.id: hear.digest(one.url.rpartition("/")[2]) for one in there}
    await _delete(asked, await from_db(webhooks.ours)(asked, digests), mailchimp, place)
    async with place.taken():
        made = await mailchimp.create_webhook(asked.audience_id, address.url)
    former = await from_db(webhooks.listening)(asked, made, clock.now())
    with suppress(errors.MailchimpError, tenth.Taken):  # its URL says that it is gone, which ends it too
        await _delete(asked, former, mailchimp, place)


async def _delete(asked: Asked, remote_ids: Sequence[str], mailchimp: MailchimpClient, place: Place) -> None:
    for remote_id in remote_ids:
        async with place.taken():
            await mailchimp.delete_webhook(asked.audience_id, remote_id)


def _problem(error: errors.MailchimpError | tenth.Taken) -> Problem:
    """Return why Mailchimp does not tell us at once, and what to do. The sync works all the same."""
    match error:
        case errors.WebhookRefused():
            return Problem(
                "webhook_refused",
                "Mailchimp could not reach this installation",
                f"Mailchimp asked {settings.NEXPURA_PUBLIC_URL} and got no good answer. It says: {error.detail}",
                "See that this address opens from outside (DNS, proxy, certificate, no sign-in in front of it). "
                "It is tried again by itself, and at Sync Customers Now.",
                REFUSED_PAUSE,
            )
        case errors.AccessLost():
            return Problem(
                "webhook_not_allowed",
                "The API key may not set this up",
                f"Mailchimp answered: {error}.",
                "Use the key of a Mailchimp user whose role may change the audience's settings.",
                REFUSED_PAUSE,
            )
        case errors.TryLater() | tenth.Taken():
            return Problem(
                "mailchimp_unavailable",
                "Mailchimp could not answer",
                "It was busy or away when it was asked to tell us at once.",
                "Nothing: it is asked again by itself.",
                BUSY_PAUSE,
            )
        case _:
            return Problem(
                "webhook_unexpected",
                "Mailchimp would not set this up",
                f"Mailchimp answered: {error}.",
                "Nothing: it is tried again by itself.",
                REFUSED_PAUSE,
            )
