"""A look at single members, sooner than the next sync: what Mailchimp's messages were about, read and taken in (B3).

Reads only, a request at a time, in the tenth place: a run may be under way, and pages want their turn too. What
cannot be read now is looked at later, on a schedule kept in the database; the next sync finds it in any case.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from nexpura.audience.address import address_of
from nexpura.mailchimp import errors
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey
from nexpura.mailchimp.member import Member
from nexpura.mailchimp.pace import Patience
from nexpura.sync import line, queue, tenth
from nexpura.sync.database import from_db
from nexpura.sync.store import inbound
from nexpura.sync.store.inbound import Look
from nexpura.sync.tenth import Place

logger = logging.getLogger(__name__)

FEW = 50
"""So many members are read one by one; of more, the listing of what changed tells most."""
REACH = timedelta(hours=2)
"""How far the listing reaches back before the first message: Mailchimp tries a message for 75 minutes."""
ONCE = Patience(attempts=1, total=30.0, connect=5.0, read=20.0)
"""Another attempt is another look's: the place is not kept from pages meanwhile."""


def take_up(now: datetime) -> int:
    """Queue a look wherever somebody is due and none is queued; returns how many."""
    return sum(queue.enqueue_look(pk) for pk in inbound.due(now))


async def look(integration_id: int) -> None:
    """Look at the members that are due to be looked at, as far as Mailchimp lets us."""
    begun = await from_db(inbound.begin)(integration_id)
    if begun is None:
        return
    waiting = set(begun.addresses)
    try:
        async with tenth.place(tenth.of_login(begun.login_id, ApiKey.parse(begun.key_text))) as place:
            await _look(begun, place, waiting)
    except tenth.Taken:
        await from_db(inbound.again)(begun, waiting)
    except errors.MailchimpError as error:
        logger.info("a look at %s members of tenant %s is put off: %s", len(waiting), begun.tenant_id, error)
        await from_db(inbound.put_off)(begun, waiting)
    else:
        await from_db(inbound.again)(begun, waiting, 0)
    if await from_db(inbound.has_more)(begun):
        await from_db(queue.enqueue_look)(integration_id)


async def _look(begun: Look, place: Place, waiting: set[str]) -> None:
    """Take out of `waiting` whoever was read."""
    async with line.to_mailchimp(ApiKey.parse(begun.key_text), places=1, patience=ONCE) as mailchimp:
        if len(waiting) > FEW:
            await _by_listing(begun, mailchimp, place, waiting)
        await _one_by_one(begun, mailchimp, place, waiting)


async def _by_listing(begun: Look, mailchimp: MailchimpClient, place: Place, waiting: set[str]) -> None:
    """Read what changed lately, page by page, until nobody waits or the listing ends."""
    since, offset = begun.oldest - REACH, 0
    while waiting:
        async with place.taken():
            page = await mailchimp.members_changed(begun.audience_id, since, offset)
        waiting -= await from_db(inbound.take_in)(begun, {address_of(one.address): one for one in page.members})
        offset += len(page.members)
        if not page.members or offset >= page.total_items:
            return


async def _one_by_one(begun: Look, mailchimp: MailchimpClient, place: Place, waiting: set[str]) -> None:
    """Read a few members singly. What was read before a failure is kept; who is gone counts only once all were read:
    until then the address may be one that somebody left for another of these."""
    found: dict[str, Member] = {}
    absent: set[str] = set()
    try:
        for address in sorted(waiting)[:FEW]:
            async with place.taken():
                try:
                    found[address] = await mailchimp.member(begun.audience_id, address)
                except errors.NotFound:
                    absent.add(address)
    except (errors.MailchimpError, tenth.Taken):
        waiting -= await from_db(inbound.take_in)(begun, found)
        raise
    waiting -= await from_db(inbound.take_in)(begun, found, absent)
