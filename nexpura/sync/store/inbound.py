"""What Mailchimp told us by itself: messages heard once, addresses to look at, and what looking at them found.

Nothing here is fenced by a run's token. A run may be under way: what it has just sent, or is sending, is left to its
replies, which are newer than what was read meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from nexpura.audience.member import Status
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp.member import Member
from nexpura.sync import facts, outcome
from nexpura.sync.models import AddressToLookAt, HeardMessage, KnownAudience, Webhook
from nexpura.sync.store import mirror
from nexpura.sync.store.connected import audience_of, key_of
from nexpura.sync.store.learn import mark
from nexpura.sync.store.learn import take_in as mirror_them
from nexpura.tenants import erased

TAKEN_FOR = 300.0
"""Seconds for which addresses handed out to a look are not handed out again."""
UNDER_WAY = 5.0
"""Seconds until another look at a member a run is just writing to."""
FIRST_PAUSE = 150.0
"""Seconds: longer than Mailchimp goes on with a request that nobody waits for any more."""
LONGEST_PAUSE = 6 * 3600.0
MOST_TRIES = 10
"""About a day. The next sync finds what is given up."""
LOCK_WAIT = "10s"


@dataclass(frozen=True, slots=True)
class Look:
    """Addresses to look at now. The key lives here, in memory, and nowhere else unsealed."""

    tenant_id: int
    integration_id: int
    audience_pk: int
    audience_id: str
    login_id: str
    key_text: str = field(repr=False)
    addresses: Mapping[str, int] = field(repr=False)
    """Each with the number of times it was asked about."""
    began_at: datetime
    oldest: datetime
    """When the first of them was asked about."""


# --- at the door ---------------------------------------------------------------------------------------------------


def do_not_wait_longer_than(wait: str) -> None:
    """Give up on locks after so long, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [wait])


def is_new(webhook: Webhook, identity: str) -> bool:
    """Remember a message by a keyed hash; False if it was heard before.

    Whoever has the database alone can try no address against it. Under another secret key, what was heard is forgotten.
    """
    digest = salted_hmac("nexpura.heard_message", f"{webhook.pk}\n{identity}", algorithm="sha256").hexdigest()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sync_heardmessage (tenant_id, webhook_id, identity) VALUES (%s, %s, %s) "
            "ON CONFLICT (tenant_id, webhook_id, identity) DO NOTHING",
            [webhook.tenant_id, webhook.pk, digest],
        )
        return bool(cursor.rowcount == 1)


def ask_to_look(webhook: Webhook, addresses: Sequence[str]) -> None:
    """Have these addresses looked at; one that waits already is due at once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_addresstolookat AS a (tenant_id, audience_id, address, asks, tries)
            SELECT %s, %s, s.address, 1, 0 FROM unnest(%s::text[]) AS s (address) ORDER BY s.address
            ON CONFLICT (tenant_id, audience_id, address) DO UPDATE SET asks = a.asks + 1, tries = 0, due_at = now()
            """,
            [webhook.tenant_id, webhook.audience_id, list(addresses)],
        )


def count(webhook: Webhook, outcome: str, now: datetime) -> None:
    """Count a message; last in its transaction, as messages queue up at this row."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_messagecount AS c (tenant_id, webhook_id, outcome, count, last_at)
            VALUES (%s, %s, %s, 1, %s)
            ON CONFLICT (tenant_id, webhook_id, outcome) DO UPDATE SET count = c.count + 1, last_at = excluded.last_at
            """,
            [webhook.tenant_id, webhook.pk, outcome, now],
        )


def forget_messages(before: datetime) -> None:
    """Forget that messages were heard, so long ago that they would not be heard again."""
    HeardMessage.objects.filter(heard_at__lt=before).delete()


# --- looking -------------------------------------------------------------------------------------------------------


def due(now: datetime) -> list[int]:
    """Return the integrations, connected, for which somebody is to be looked at."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT i.id FROM sync_addresstolookat AS a
            JOIN integrations_integration AS i
                ON i.tenant_id = a.tenant_id AND i.kind = 'mailchimp' AND i.status <> 'disconnected'
            WHERE a.due_at <= %s LIMIT 500
            """,
            [now],
        )
        return [pk for (pk,) in cursor.fetchall()]


def begin(integration_id: int) -> Look | None:
    """Hand out the addresses that are due; None if there is nothing to do, or nothing that can be done."""
    with transaction.atomic():
        integration = Integration.objects.get(pk=integration_id)
        audience, key_text = audience_of(integration), key_of(integration)
        if audience is None or key_text is None:
            return None
        if audience.full_read_at is None:  # the first reading is the baseline, and finds everybody
            forget_addresses(integration.tenant_id)
            return None
        taken = _take(audience)
        if not taken:
            return None
    return Look(
        tenant_id=integration.tenant_id,
        integration_id=integration.pk,
        audience_pk=audience.pk,
        audience_id=audience.audience_id,
        login_id=integration.config["login_id"],
        key_text=key_text,
        addresses={address: asks for address, asks, _, _ in taken},
        began_at=taken[0][3],
        oldest=min(asked_at for _, _, asked_at, _ in taken),
    )


def take_in(look: Look, found: Mapping[str, Member], absent: Collection[str] = ()) -> set[str]:
    """Take what was read into the mirror; returns the addresses that need no further care of this look.

    `absent` are those Mailchimp answered with a 404. Whoever left an address for another comes first: the member at
    the new one tells that they are renamed, not gone.
    """
    read = found.keys() | set(absent)
    if not read:
        return set()
    with transaction.atomic():
        do_not_wait_longer_than(LOCK_WAIT)
        if not _still_connected(look):
            return set(look.addresses)
        erased.hold_still(look.tenant_id)
        busy = _under_way(look, read)
        mirror_them(look.tenant_id, look.audience_pk, [one for address, one in found.items() if address not in busy])
        _gone(look, sorted(set(absent) - busy))
        _looked_at(look, read - busy)
        again(look, read & busy)
    return read & look.addresses.keys()


def put_off(look: Look, addresses: Collection[str]) -> None:
    """Look at these again after a pause that grows with each try; after the last the next sync has to find them."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_PUT_OFF, [FIRST_PAUSE, LONGEST_PAUSE, look.tenant_id, look.audience_pk, list(addresses)])
        cursor.execute(
            "DELETE FROM sync_addresstolookat WHERE tenant_id = %s AND audience_id = %s AND tries > %s",
            [look.tenant_id, look.audience_pk, MOST_TRIES],
        )


def again(look: Look, addresses: Collection[str], pause: float = UNDER_WAY) -> None:
    """Look at these again in so many seconds: it was not Mailchimp that failed."""
    with connection.cursor() as cursor:
        cursor.execute(_AGAIN, [pause, look.tenant_id, look.audience_pk, list(addresses)])


def has_more(look: Look) -> bool:
    """Tell whether somebody is due already."""
    waiting = AddressToLookAt.objects.filter(tenant_id=look.tenant_id, audience_id=look.audience_pk)
    return waiting.filter(due_at__lte=Now()).exists()


def forget_addresses(tenant_id: int) -> None:
    """Look at nobody any more."""
    AddressToLookAt.objects.filter(tenant_id=tenant_id).delete()


def _still_connected(look: Look) -> bool:
    integration = Integration.objects.get(tenant_id=look.tenant_id, kind=MAILCHIMP)
    audience = audience_of(integration)
    return audience is not None and audience.pk == look.audience_pk


def _take(audience: KnownAudience) -> list[tuple[str, int, datetime, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_addresstolookat AS a SET due_at = now() + make_interval(secs => %s)
            FROM (SELECT id FROM sync_addresstolookat
                  WHERE tenant_id = %s AND audience_id = %s AND due_at <= now()
                  ORDER BY address FOR UPDATE SKIP LOCKED) AS waiting
            WHERE a.id = waiting.id
            RETURNING a.address, a.asks, a.asked_at, clock_timestamp()
            """,
            [TAKEN_FOR, audience.tenant_id, audience.pk],
        )
        return [*cursor.fetchall()]


def _under_way(look: Look, addresses: Collection[str]) -> set[str]:
    """Return those addresses a run has sent something about since the look began, or is sending."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH lately AS (
                SELECT r.address, CASE WHEN r.kind = 'move' THEN r.change ->> 'from_address' END AS from_address
                FROM sync_syncrun AS u
                JOIN sync_memberresult AS r ON r.tenant_id = u.tenant_id AND r.run_id = u.id
                WHERE u.tenant_id = %(tenant)s AND u.audience_id = %(audience)s
                  AND (u.status = 'running' OR u.finished_at >= %(began_at)s)
                  AND (r.state = 'sending' OR r.settled_at >= %(began_at)s)
                  AND (r.address = ANY(%(addresses)s) OR r.kind = 'move')
            )
            SELECT address FROM lately UNION SELECT from_address FROM lately WHERE from_address IS NOT NULL
            """,
            {
                "tenant": look.tenant_id,
                "audience": look.audience_pk,
                "began_at": look.began_at,
                "addresses": list(addresses),
            },
        )
        return {address for (address,) in cursor.fetchall()}


def _gone(look: Look, addresses: Sequence[str]) -> None:
    """Nobody is at these addresses any more, as a run finds when its call about a member is answered with a 404."""
    known = facts.known_members(look.tenant_id, look.audience_pk, addresses)
    left = {address: member for address, member in known.items() if member.status is not Status.ABSENT}
    mirror.put(
        look.tenant_id,
        look.audience_pk,
        {address: outcome.gone(member) for address, member in left.items()},
    )
    mark(look.tenant_id, list(left))


def _looked_at(look: Look, addresses: Collection[str]) -> None:
    """Take these off the list, but for those that were asked about again meanwhile."""
    asked = [(address, look.addresses[address]) for address in addresses if address in look.addresses]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM sync_addresstolookat WHERE id IN (
                SELECT a.id FROM sync_addresstolookat AS a
                JOIN unnest(%s::text[], %s::int[]) AS s (address, asks) ON s.address = a.address AND s.asks = a.asks
                WHERE a.tenant_id = %s AND a.audience_id = %s ORDER BY a.address FOR UPDATE OF a)
            """,
            [[address for address, _ in asked], [asks for _, asks in asked], look.tenant_id, look.audience_pk],
        )


_THESE = """
    WHERE id IN (SELECT id FROM sync_addresstolookat
                 WHERE tenant_id = %s AND audience_id = %s AND address = ANY(%s) ORDER BY address FOR UPDATE)
"""
"""In the order in which messages lock them."""
_AGAIN = f"UPDATE sync_addresstolookat SET due_at = now() + make_interval(secs => %s) {_THESE}"  # noqa: S608
_PUT_OFF = f"""
    UPDATE sync_addresstolookat
    SET tries = tries + 1, due_at = now() + make_interval(secs => least(%s * power(2, tries), %s)) {_THESE}
"""  # noqa: S608
