"""What the audience holds, read into the mirror; an address whose member differs is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from nexpura.audience.address import address_of
from nexpura.audience.desired import Terms
from nexpura.customers import ledger
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.mailchimp.member import Audience, Member, MergeField
from nexpura.sync import schedule, terms
from nexpura.sync.drift import merged
from nexpura.sync.models import KnownAudience, KnownMember, SyncRun
from nexpura.sync.store import drift, erase, nameless, standings, webhooks
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.drift import Expectation
from nexpura.sync.store.records import as_json, fence
from nexpura.tenants import erased, vault
from nexpura.tenants.arrays import array_of

OVERLAP = timedelta(minutes=1)
"""How far a reading reaches back before the last one: whether Mailchimp's filter includes its bound is not known."""
WITHIN = timedelta(microseconds=999_999)
"""Mailchimp tells whole seconds: a no of this second is taken for later than a yes of the same."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What to ask for: everything (`since` is None) or what changed since.

    `expected` is what everything is compared with; None: nothing was known well enough to compare with.
    """

    since: datetime | None
    expected: Expectation | None = None


def begin_reading(
    run: Begun,
    audience: Audience,
    merge_fields: Sequence[MergeField],
    permissions: Sequence[tuple[str, str]] | None,
) -> tuple[Reading, Terms]:
    """Keep the audience's own settings and tell what has to be read, and under which terms."""
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        known = KnownAudience.objects.get(pk=run.audience_pk)
        keep_settings(known, audience, merge_fields, permissions)
        known.subscribed = audience.member_count
        known.save()
        config = Integration.objects.values_list("config", flat=True).get(tenant_id=run.tenant_id, kind=MAILCHIMP)
        row = SyncRun.objects.get(pk=run.id)
    under = terms.of(known, config)
    if known.read_through is None or known.full_read_at is None or not known.listing_complete:
        return Reading(None), under  # the baseline, or somebody was missed by it
    since = known.read_through - OVERLAP
    if _serves(known.full_read_at, row):
        return Reading(since), under
    return Reading(None, Expectation(since, tuple(sorted(under.mapping.keys() & under.merge_tags)))), under


def _serves(full_read_at: datetime, run: SyncRun) -> bool:
    """Tell whether a whole reading is new enough: from this week, and not from before somebody asked for another."""
    asked = run.full and run.started_at is not None and full_read_at < run.started_at
    return not asked and full_read_at >= schedule.whole_reading_due(run.tenant_id, timezone.now())


def keep_settings(
    known: KnownAudience,
    audience: Audience,
    merge_fields: Sequence[MergeField],
    permissions: Sequence[tuple[str, str]] | None,
) -> None:
    """Put what Mailchimp says of an audience into its row, without saving it."""
    known.name, known.double_optin = audience.name, audience.double_optin
    known.merge_fields = [
        {
            "tag": field.tag,
            "name": field.name,
            "type": field.type,
            "required": field.required,
            "options": {name: value for name, value in field.options.items() if name == "phone_format"},
        }
        for field in merge_fields
    ]
    known.permissions = None if permissions is None else [{"id": key, "text": text} for key, text in permissions]


def learn(run: Begun, members: Sequence[Member], expected: Expectation | None = None) -> None:
    """Take one page of members into the mirror; note what is otherwise than `expected`."""
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        drifted = drift.of_page(run, expected, members) if expected else {}
        drift.note(run, drifted)
        take_in(run.tenant_id, run.audience_pk, members, unasked=True)
        drift.take_back_noes(run, drifted)


def take_in(tenant_id: int, audience_pk: int, members: Sequence[Member], *, unasked: bool = False) -> list[str]:
    """Take members into the mirror, whoever read them; returns the addresses of those that differ.

    Set-based, so that a page costs a few round trips. What the people in Mailchimp did is carried into the book in
    the same transaction: a "no" first seen after the first reading becomes a withdrawal (B3), another address they
    gave themselves becomes a proposal to the shop. `unasked`: no message of Mailchimp's led to them.
    """
    if not members:
        return []
    newest = {address_of(member.address): member for member in members}
    with transaction.atomic():
        newest, forgotten = _without_the_erased(tenant_id, audience_pk, newest)
        renamed, out_before = _follow_renames(tenant_id, audience_pk, newest)
        unsubscribed = {address: one.last_changed for address, one in newest.items() if one.status == "unsubscribed"}
        perhaps_ours = erase.perhaps_ours(audience_pk, unsubscribed)  # asked first: if done since, the mirror sees it
        differing = _mirror(tenant_id, audience_pk, newest)
        left = {address for address, is_no in differing.items() if is_no} - perhaps_ours - out_before - forgotten
        noes = {address: newest[address].last_changed + WITHIN for address in left}
        if noes and KnownAudience.objects.filter(pk=audience_pk, full_read_at__isnull=False).exists():
            _hear(tenant_id, audience_pk, noes, newest)
            if unasked:
                webhooks.doubt(tenant_id, list(noes.values()), timezone.now())
        mark(tenant_id, [*differing, *renamed])
    return [*differing]


def _without_the_erased(
    tenant_id: int, audience_pk: int, newest: dict[str, Member]
) -> tuple[dict[str, Member], set[str]]:
    """Leave out whoever was erased and is not in the book again: in the audience they may be, not in our records.

    Of whoever has their address now, what the book says of them is taken in. Returns beside it those of these addresses
    whose member was forgotten: what we find there now is no news, and says nothing about when it came to be so.
    """
    erased.hold_still(tenant_id)
    marked = nameless.marked(tenant_id, newest)
    if not marked:
        return newest, set()
    words = nameless.words_of_the_book(tenant_id, marked)  # of those who are in the book
    known_there = KnownMember.objects.filter(tenant_id=tenant_id, audience_id=audience_pk, address__in=words.keys())
    taken = {
        address: nameless.seen(member, words[address]) if address in words else member
        for address, member in newest.items()
        if address in words or address not in marked
    }
    return taken, words.keys() - set(known_there.values_list("address", flat=True))


def _mirror(tenant_id: int, audience_pk: int, newest: Mapping[str, Member]) -> dict[str, bool]:
    """Write what differs; returns those addresses, each with whether its person has left by their own doing."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MIRROR,
            {
                "tenant": tenant_id,
                "audience": audience_pk,
                "seen": as_json([_row(address, member) for address, member in newest.items()]),
                "erased": [*_opted_out_when_erased(audience_pk, newest)],
            },
        )
        return dict(cursor.fetchall())


def _row(address: str, member: Member) -> dict[str, object]:
    return {
        "address": address,
        "status": member.status,
        "merge_fields": dict(member.merge_fields),
        "tags": member.tags,
        "contact_id": member.contact_id,
        "last_changed": member.last_changed,
        "words": member.unsubscribe_reason or "",
    }


_MIRROR = """
    WITH seen AS (
        SELECT * FROM jsonb_to_recordset(%(seen)s::jsonb) AS s (address text, status text, merge_fields jsonb,
            tags jsonb, contact_id text, last_changed timestamptz, words text)
    ), ours AS (  -- this audience, for every shop of this installation that is or was connected to it
        SELECT a.tenant_id, a.id FROM sync_knownaudience AS a JOIN sync_knownaudience AS this
            ON this.id = %(audience)s AND a.data_centre = this.data_centre AND a.audience_id = this.audience_id
    ), before AS (
        SELECT k.address, k.status, k.opt_out, s.words,
               k.status = s.status AND k.opt_out IS NOT NULL
                   AND k.opt_out ->> 'words' NOT IN ('', s.words)  -- blank: its reply was lost
                   AND (k.opt_out ->> 'changed')::timestamptz <> s.last_changed AS left_anew
        FROM sync_knownmember AS k JOIN seen AS s ON s.address = k.address
        WHERE k.tenant_id = %(tenant)s AND k.audience_id = %(audience)s
    ), differing AS (
        INSERT INTO sync_knownmember AS k
            (tenant_id, audience_id, address, status, merge_fields, tags, contact_id, last_changed, status_since,
             rewritten, our_tags, added_by_us, renamed_to, move_refused)
        SELECT %(tenant)s, %(audience)s, address, status, merge_fields, tags, contact_id, last_changed, last_changed,
               '{}', '[]', false, '', false
        FROM seen ORDER BY address
        ON CONFLICT (tenant_id, audience_id, address) DO UPDATE
            SET status = excluded.status, merge_fields = excluded.merge_fields, tags = excluded.tags,
                contact_id = excluded.contact_id, last_changed = excluded.last_changed, renamed_to = '',
                status_since = CASE
                    WHEN k.status = excluded.status
                        AND NOT EXISTS (SELECT 1 FROM before AS b WHERE b.address = k.address AND b.left_anew)
                    THEN k.status_since ELSE excluded.last_changed END,
                opt_out = CASE  -- heard once: what else changes there later is no other no
                    WHEN EXISTS (SELECT 1 FROM before AS b WHERE b.address = k.address AND b.left_anew)
                    THEN NULL ELSE k.opt_out END,
                added_by_us = k.added_by_us AND NOT (
                    excluded.status IN ('subscribed', 'pending')
                    AND k.status IN ('unsubscribed', 'cleaned', 'archived')
                    AND NOT EXISTS (  -- brought back by us, and the reply was lost
                        SELECT 1 FROM sync_memberresult AS r
                        WHERE r.tenant_id = k.tenant_id AND r.address = k.address AND r.kind IN ('undo', 'ask')
                          AND r.state = 'sending'))
                    AND (k.status <> '' OR k.renamed_to <> '' AND k.contact_id = excluded.contact_id),
                our_tags = CASE
                    WHEN k.status <> '' OR k.renamed_to <> '' AND k.contact_id = excluded.contact_id
                    THEN k.our_tags ELSE '[]' END,
                refusal = CASE WHEN k.status = excluded.status THEN k.refusal END
            WHERE (k.status, k.merge_fields, k.tags, k.contact_id, k.last_changed)
                  IS DISTINCT FROM
                  (excluded.status, excluded.merge_fields, excluded.tags, excluded.contact_id, excluded.last_changed)
              AND coalesce(k.last_changed <= excluded.last_changed, true)  -- a reading may be older than a reply
        RETURNING address, status, last_changed
    )
    SELECT d.address,
           d.status = 'unsubscribed' AND (coalesce(b.status, '') <> 'unsubscribed' OR b.left_anew)
               AND (coalesce(b.status, '') <> ''  -- or not out already when the first reading began, which missed them
                   OR (SELECT coalesce(d.last_changed >= a.baseline_at, true)
                       FROM sync_knownaudience AS a WHERE a.id = %(audience)s))
               AND coalesce((b.opt_out ->> 'changed')::timestamptz <> d.last_changed, true)
               AND NOT EXISTS (  -- an opt-out whose reply was lost: ours, or that of a shop with the same audience
                   SELECT 1 FROM sync_memberresult AS r JOIN sync_syncrun AS u ON u.id = r.run_id
                   JOIN ours AS o ON o.tenant_id = r.tenant_id AND o.id = u.audience_id
                   WHERE r.address = d.address AND r.kind = 'opt_out' AND r.state = 'sending'
                     AND (r.tenant_id = %(tenant)s OR u.status IN ('queued', 'running')
                          OR u.finished_at > now() - interval '1 day'))  -- who left long after did so by themselves
               AND NOT EXISTS (  -- the other shop's opt-out
                   SELECT 1 FROM ours AS o JOIN sync_knownmember AS k ON k.tenant_id = o.tenant_id
                       AND k.audience_id = o.id AND k.address = d.address
                   WHERE o.id <> %(audience)s AND (k.opt_out ->> 'changed')::timestamptz = d.last_changed)
               AND NOT EXISTS (  -- the opt-out of somebody erased
                   SELECT 1 FROM sync_erasure AS e JOIN ours AS o ON o.tenant_id = e.tenant_id AND o.id = e.audience_id
                   JOIN seen AS s ON s.address = d.address
                   CROSS JOIN jsonb_array_elements(e.opt_outs) AS t (told)
                   WHERE s.address = ANY(%(erased)s::text[])
                     AND (told ->> 'changed')::timestamptz = d.last_changed AND told ->> 'words' = s.words)
    FROM differing AS d LEFT JOIN before AS b ON b.address = d.address ORDER BY d.address
"""


def _opted_out_when_erased(audience_pk: int, newest: Mapping[str, Member]) -> set[str]:
    """Return the addresses of people whom a shop with this audience erased, with an opt-out that is known."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT e.tenant_id FROM sync_erasure AS e
            JOIN sync_knownaudience AS a ON a.tenant_id = e.tenant_id AND a.id = e.audience_id
            JOIN sync_knownaudience AS this ON this.id = %s
                AND a.data_centre = this.data_centre AND a.audience_id = this.audience_id
            WHERE e.choice = 'unsubscribe' AND e.opt_outs <> '[]'
            """,
            [audience_pk],
        )
        tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
    found: set[str] = set()
    for tenant_id in tenants:
        try:
            found |= nameless.marked(tenant_id, newest)
        except vault.CannotOpen:  # another shop's: anybody may be the one
            found |= newest.keys()
    return found


def _follow_renames(tenant_id: int, audience_pk: int, newest: Mapping[str, Member]) -> tuple[list[str], set[str]]:
    """Note members who have another address now.

    Returns the addresses they left, where nobody is any more, and the new ones of those who were unsubscribed as we
    knew them before: that is no no of today. Whose member it was stays at the old address until the shop has
    answered: at the new one, which the book does not know, nothing of ours may end or change it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH leaving AS (
                SELECT k.id, k.status, s.address AS now_at
                FROM sync_knownmember AS k JOIN unnest(%s::text[], %s::text[]) AS s (address, contact_id)
                    ON k.contact_id = s.contact_id AND k.address <> s.address AND k.renamed_to <> s.address
                WHERE k.tenant_id = %s AND k.audience_id = %s AND k.contact_id <> ''
                ORDER BY k.address FOR UPDATE OF k
            )
            UPDATE sync_knownmember AS k
            SET status = '', merge_fields = '{}', tags = '[]', last_changed = NULL, status_since = NULL,
                opt_out = NULL, rewritten = '{}', refusal = NULL, renamed_to = l.now_at,
                carried_out = CASE  -- by a call that met nobody, who had just gone to the new address
                    WHEN k.status <> '' OR k.renamed_to <> '' THEN k.carried_out END
            FROM leaving AS l WHERE k.tenant_id = %s AND k.id = l.id
            RETURNING k.address, l.status, l.now_at
            """,
            [
                array_of(newest),
                array_of(member.contact_id for member in newest.values()),
                tenant_id,
                audience_pk,
                tenant_id,
            ],
        )
        rows = cursor.fetchall()
    return [address for address, _, _ in rows], {now_at for _, status, now_at in rows if status == "unsubscribed"}


def _hear(tenant_id: int, audience_pk: int, noes: Mapping[str, datetime], newest: Mapping[str, Member]) -> None:
    """Record what people said in Mailchimp; where their member is out by it, nothing is left to carry out (B2a)."""
    said_at = _heard(tenant_id, audience_pk, noes, newest)
    heard = ledger.hear_noes(tenant_id, said_at, _of_those_who_moved(tenant_id, audience_pk, noes))
    out = {address for address, _ in said_at}
    carried_out = {event.address: event.pk for event in heard if event.address in out}
    standings.carry_out(tenant_id, audience_pk, [*carried_out.items()])


def _heard(
    tenant_id: int, audience_pk: int, noes: Mapping[str, datetime], newest: Mapping[str, Member]
) -> list[tuple[str, datetime]]:
    """Return the addresses of the book for which these noes count: also the one a person had before (B3)."""
    left = KnownMember.objects.filter(tenant_id=tenant_id, audience_id=audience_pk, renamed_to__any_of=noes)
    before = {
        address: noes[new]
        for address, new, contact_id in left.values_list("address", "renamed_to", "contact_id")
        if contact_id == newest[new].contact_id
    }
    return [*(before | dict(noes)).items()]


def _of_those_who_moved(tenant_id: int, audience_pk: int, noes: Mapping[str, datetime]) -> dict[int, datetime]:
    """Return whose these noes are where the book has another address for them by now, and nobody else has this one."""
    held = set(Customer.objects.filter(tenant_id=tenant_id, address__in=list(noes)).values_list("address", flat=True))
    left = KnownMember.objects.filter(tenant_id=tenant_id, audience_id=audience_pk, address__in=noes.keys() - held)
    made_for = left.filter(added_by_us=True, made_for__isnull=False).values_list("made_for", "address")
    return {customer: noes[address] for customer, address in made_for if customer}


def mark(tenant_id: int, addresses: Sequence[str]) -> None:
    """Mark those of the addresses that the book has to do with."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_dirtyaddress (tenant_id, address, version)
            SELECT s.tenant_id, s.address, nextval('sync_mark_version') FROM sync_addressstanding AS s
            WHERE s.tenant_id = %s AND s.address = ANY(%s::text[]) ORDER BY s.address
            ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now()
            """,
            [tenant_id, array_of(addresses)],
        )


def reading_ended(run: Begun, reading: Reading, *, began_at: datetime, complete: bool) -> None:
    """Keep how far the mirror reaches (`began_at` by Mailchimp's clock) and, after a full reading, what it found.

    A full reading that missed somebody takes nothing from what an earlier one has proven, and the next reading of
    changes reaches back as far as this one would have.
    """
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        known = KnownAudience.objects.select_for_update(no_key=True).get(pk=run.audience_pk)
        if complete or not reading.expected:
            known.read_through = began_at
        if reading.since is None:
            if known.full_read_at is None:
                known.baseline_at = began_at
            known.full_read_at = timezone.now()
            known.listing_complete = known.listing_complete or complete
        told = SyncRun.objects.values_list("drift", flat=True).get(pk=run.id)
        if reading.expected or known.drift:
            found = merged(told["found"] if told else {}, known.drift or {})
            told, known.drift = {"complete": complete and reading.expected is not None, "found": found}, None
        known.save(update_fields=["read_through", "full_read_at", "baseline_at", "listing_complete", "drift"])
        SyncRun.objects.filter(pk=run.id, token=run.token).update(phase="deciding", drift=told)
