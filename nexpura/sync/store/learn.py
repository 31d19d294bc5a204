"""What the audience holds, read into the mirror; an address whose member differs is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from nexpura.audience.address import address_of
from nexpura.audience.desired import Terms
from nexpura.mailchimp.member import Audience, Member, MergeField
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.records import fence

OVERLAP = timedelta(minutes=1)
"""How far a reading reaches back before the last one: whether Mailchimp's filter includes its bound is not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What to ask for: everything (`since` is None) or what changed since."""

    since: datetime | None


def begin_reading(run: Begun, audience: Audience, merge_fields: Sequence[MergeField]) -> tuple[Reading, Terms]:
    """Keep the audience's own settings and tell what has to be read."""
    tags = sorted(field.tag for field in merge_fields)
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        known = KnownAudience.objects.get(pk=run.audience_pk)
        known.name, known.double_optin, known.merge_tags = audience.name, audience.double_optin, tags
        known.subscribed = audience.member_count
        known.save()
    since = known.read_through if known.full_read_at else None
    return Reading(since and since - OVERLAP), Terms(frozenset(tags), audience.double_optin)


def learn(run: Begun, members: Sequence[Member]) -> None:
    """Take one page of members into the mirror; set-based, so that a page costs one round trip."""
    if not members:
        return
    newest = {address_of(member.address): member for member in members}
    with transaction.atomic(), connection.cursor() as cursor:
        fence(run.tenant_id, run.id, run.token)
        cursor.execute(
            """
            WITH seen AS (
                SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::text[], %s::timestamptz[])
                    AS s (address, status, merge_fields, contact_id, last_changed)
            ), differing AS (
                INSERT INTO sync_knownmember AS k
                    (tenant_id, audience_id, address, status, merge_fields, contact_id, last_changed,
                     rewritten, added_by_us)
                SELECT %s, %s, address, status, merge_fields, contact_id, last_changed, '{}', false
                FROM seen ORDER BY address
                ON CONFLICT (tenant_id, audience_id, address) DO UPDATE
                    SET status = excluded.status, merge_fields = excluded.merge_fields,
                        contact_id = excluded.contact_id, last_changed = excluded.last_changed,
                        added_by_us = k.added_by_us AND NOT (
                            excluded.status = 'subscribed' AND k.status IN ('unsubscribed', 'cleaned', 'archived')),
                        refusal = CASE WHEN k.status = excluded.status THEN k.refusal END
                    WHERE (k.status, k.merge_fields, k.contact_id, k.last_changed)
                          IS DISTINCT FROM
                          (excluded.status, excluded.merge_fields, excluded.contact_id, excluded.last_changed)
                RETURNING address
            )
            INSERT INTO sync_dirtyaddress (tenant_id, address, version)
            SELECT s.tenant_id, s.address, nextval('sync_mark_version')
            FROM differing JOIN sync_addressstanding AS s ON s.tenant_id = %s AND s.address = differing.address
            ORDER BY s.address
            ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now()
            """,
            [
                list(newest),
                [member.status for member in newest.values()],
                [Jsonb(dict(member.merge_fields)) for member in newest.values()],
                [member.contact_id for member in newest.values()],
                [member.last_changed for member in newest.values()],
                run.tenant_id,
                run.audience_pk,
                run.tenant_id,
            ],
        )


def reading_ended(run: Begun, reading: Reading, *, began_at: datetime, complete: bool) -> None:
    """Keep how far the mirror reaches (`began_at` by Mailchimp's clock) and, after a full reading, its worth."""
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        changed: dict[str, object] = {"read_through": began_at}
        if reading.since is None:
            changed |= {"full_read_at": timezone.now(), "listing_complete": complete}
        KnownAudience.objects.filter(pk=run.audience_pk).update(**changed)
        SyncRun.objects.filter(pk=run.id, token=run.token).update(phase="deciding")
