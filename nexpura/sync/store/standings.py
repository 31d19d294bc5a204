"""Set-based writes of standings and marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import connection, transaction

from nexpura.audience.plan import NoChange
from nexpura.customers import sharing
from nexpura.tenants.arrays import array_of

STEP = 10_000
"""Addresses marked in one step, where everything is."""


def put(tenant_id: int, rows: Sequence[tuple[str, int, NoChange]]) -> None:
    """Write where each address and its customers stand; an address that nobody holds keeps no row."""
    held = [(address, count, what) for address, count, what in rows if count]
    gone = [address for address, count, _ in rows if not count]
    with connection.cursor() as cursor:
        if held:
            cursor.execute(
                """
                INSERT INTO sync_addressstanding (tenant_id, address, customers, bucket, reason, detail, retry_at)
                SELECT %s, s.* FROM unnest(%s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
                    AS s (address, customers, bucket, reason, detail, retry_at)
                ORDER BY s.address
                ON CONFLICT (tenant_id, address) DO UPDATE
                    SET customers = excluded.customers, bucket = excluded.bucket, reason = excluded.reason,
                        detail = excluded.detail, retry_at = excluded.retry_at, decided_at = now()
                """,
                [
                    tenant_id,
                    array_of(address for address, _, _ in held),
                    array_of(count for _, count, _ in held),
                    array_of(what.bucket for _, _, what in held),
                    array_of(what.reason for _, _, what in held),
                    array_of(what.detail for _, _, what in held),
                    [what.retry_at for _, _, what in held],
                ],
            )
            sharing.notice(tenant_id, [address for address, count, _ in held if count > 1])
        if gone:
            cursor.execute(
                "DELETE FROM sync_addressstanding WHERE tenant_id = %s AND address = ANY(%s::text[])",
                [tenant_id, array_of(gone)],
            )


def carry_out(tenant_id: int, audience_pk: int, rows: Sequence[tuple[str, int | None]]) -> None:
    """Remember the withdrawals that are dealt with (B2a)."""
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_knownmember
                (tenant_id, audience_id, address, carried_out, status, merge_fields, rewritten, contact_id, tags,
                 our_tags, added_by_us, renamed_to, move_refused)
            SELECT %s, %s, s.address, s.event, '', '{}', '{}', '', '[]', '[]', false, '', false
            FROM unnest(%s::text[], %s::bigint[]) AS s (address, event) ORDER BY s.address
            ON CONFLICT (tenant_id, audience_id, address) DO UPDATE
                SET carried_out = excluded.carried_out
            """,
            [tenant_id, audience_pk, array_of(address for address, _ in rows), [event for _, event in rows]],
        )


def unmark(tenant_id: int, rows: Sequence[tuple[str, int]], run_id: int = 0) -> None:
    """Remove the marks whose version is still the one that was read.

    A mark stays as long as `run_id` has something else to do at the address, or put something off.
    """
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM sync_dirtyaddress AS d USING unnest(%s::text[], %s::bigint[]) AS s (address, version)
            WHERE d.tenant_id = %s AND d.address = s.address AND d.version = s.version AND 0 = (
                SELECT count(*) FROM sync_memberresult AS r  -- counted, as NOT EXISTS may read the whole run's at once
                WHERE r.tenant_id = d.tenant_id AND r.run_id = %s AND r.address = d.address
                  AND r.version = d.version AND r.state IN ('planned', 'sending', 'deferred'))
            """,
            [array_of(address for address, _ in rows), array_of(version for _, version in rows), tenant_id, run_id],
        )


def mark_if_connected(tenant_id: int, addresses: Sequence[str]) -> None:
    """Mark these addresses, if the tenant is connected."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_dirtyaddress (tenant_id, address, version)
            SELECT i.tenant_id, a.address, nextval('sync_mark_version')
            FROM integrations_integration AS i, unnest(%s::text[]) AS a (address)
            WHERE i.tenant_id = %s AND i.kind = 'mailchimp' AND i.status <> 'disconnected' ORDER BY a.address
            ON CONFLICT (tenant_id, address) DO UPDATE SET version = excluded.version, marked_at = now()
            """,
            [sorted(addresses), tenant_id],
        )


def mark_all(tenant_id: int, audience_pk: int, *, before_each: Callable[[], None] = lambda: None) -> None:
    """Mark every address the book holds, every one somebody withdrew for, and every member we made.

    In steps, each a transaction unless the caller has one open, so that nobody at a till waits for the whole of it;
    `before_each` is called in each. Marks that are there stay as they are.
    """
    last, more = None, True
    while more:
        with transaction.atomic():
            before_each()
            last, more = _mark_step(tenant_id, audience_pk, last)


def _mark_step(tenant_id: int, audience_pk: int, after: str | None) -> tuple[str | None, bool]:
    """Mark the next of all addresses; returns the last of them, and whether there may be more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT max(address), count(*) FROM (
                SELECT address FROM customers_customer
                WHERE tenant_id = %s AND (%s::text IS NULL OR address > %s) ORDER BY address LIMIT %s) AS step
            """,
            [tenant_id, after, after, STEP],
        )
        last, count = cursor.fetchone() or (None, 0)
        more = count == STEP
        cursor.execute(
            """
            INSERT INTO sync_dirtyaddress (tenant_id, address, version)
            SELECT %(tenant)s, a.address, nextval('sync_mark_version') FROM (
                SELECT address FROM customers_customer WHERE tenant_id = %(tenant)s
                UNION SELECT address FROM customers_consentevent WHERE tenant_id = %(tenant)s AND state = 'withdrawn'
                UNION SELECT address FROM sync_knownmember
                    WHERE tenant_id = %(tenant)s AND audience_id = %(audience)s AND (added_by_us OR opt_out IS NOT NULL)
                UNION SELECT address FROM sync_addressstanding WHERE tenant_id = %(tenant)s
            ) AS a
            WHERE (%(after)s::text IS NULL OR a.address > %(after)s)
              AND (%(upto)s::text IS NULL OR a.address <= %(upto)s)
            ORDER BY a.address
            ON CONFLICT (tenant_id, address) DO NOTHING
            """,
            {"tenant": tenant_id, "audience": audience_pk, "after": after, "upto": last if more else None},
        )
    return last, more


def to_be_decided(
    tenant_id: int, audience_pk: int, now: datetime, *, everything: bool, after: str | None, limit: int
) -> dict[str, int]:
    """Return the addresses that a run would look at, in their order, each with the version of its mark (0: none yet).

    Marked, or due for another try; and `everything` that `mark_all` marks, as a run under new terms does.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT a.address, coalesce(d.version, 0) FROM (
                (SELECT address FROM sync_dirtyaddress
                    WHERE tenant_id = %(tenant)s AND (%(after)s::text IS NULL OR address > %(after)s)
                    ORDER BY address LIMIT %(limit)s)
                UNION
                (SELECT address FROM sync_addressstanding
                    WHERE tenant_id = %(tenant)s AND (%(everything)s OR retry_at <= %(now)s)
                        AND (%(after)s::text IS NULL OR address > %(after)s)
                    ORDER BY address LIMIT %(limit)s)
                UNION
                (SELECT DISTINCT address FROM customers_customer
                    WHERE %(everything)s AND tenant_id = %(tenant)s
                        AND (%(after)s::text IS NULL OR address > %(after)s)
                    ORDER BY address LIMIT %(limit)s)
                UNION
                (SELECT DISTINCT address FROM customers_consentevent
                    WHERE %(everything)s AND tenant_id = %(tenant)s AND state = 'withdrawn'
                        AND (%(after)s::text IS NULL OR address > %(after)s)
                    ORDER BY address LIMIT %(limit)s)
                UNION
                (SELECT address FROM sync_knownmember
                    WHERE %(everything)s AND tenant_id = %(tenant)s AND audience_id = %(audience)s
                        AND (added_by_us OR opt_out IS NOT NULL) AND (%(after)s::text IS NULL OR address > %(after)s)
                    ORDER BY address LIMIT %(limit)s)
            ) AS a
            LEFT JOIN sync_dirtyaddress AS d ON d.tenant_id = %(tenant)s AND d.address = a.address
            ORDER BY a.address LIMIT %(limit)s
            """,
            {
                "tenant": tenant_id,
                "audience": audience_pk,
                "now": now,
                "everything": everything,
                "after": after,
                "limit": limit,
            },
        )
        return dict(cursor.fetchall())


def mark_retries(tenant_id: int, now: datetime) -> None:
    """Mark the addresses whose time for another try has come."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_dirtyaddress (tenant_id, address, version)
            SELECT tenant_id, address, nextval('sync_mark_version') FROM sync_addressstanding
            WHERE tenant_id = %s AND retry_at <= %s ORDER BY address
            ON CONFLICT (tenant_id, address) DO NOTHING
            """,
            [tenant_id, now],
        )
