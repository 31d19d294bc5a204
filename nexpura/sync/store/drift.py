"""A whole reading compared with the mirror, page by page, before the mirror takes the page in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from nexpura.audience.address import address_of
from nexpura.audience.diff import TAGS_TOLD
from nexpura.customers.models import Customer
from nexpura.mailchimp.member import Member
from nexpura.sync.drift import CUSTOMERS_TOLD, Kind, merged
from nexpura.sync.models import KnownAudience
from nexpura.sync.store import nameless
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.records import as_json

LOOKED_UP = 50
"""Addresses of a kind and a page whose customers are looked up."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the mirror should agree with: members as they last changed `before`, in the `fields` the shop fills.

    A later change is shown by the reading of changes as well. Other fields come and go with the audience's settings,
    without any member changing.
    """

    before: datetime
    fields: tuple[str, ...]


def of_page(run: Begun, expected: Expectation, members: Sequence[Member]) -> dict[Kind, list[str]]:
    """Return the addresses of a page that are otherwise than they are known; not where somebody was erased.

    What is known of the latter is less than Mailchimp shows, on purpose (B11).
    """
    seen = {address_of(member.address): member for member in members if member.last_changed < expected.before}
    with connection.cursor() as cursor:
        cursor.execute(
            _DRIFTED,
            {
                "tenant": run.tenant_id,
                "audience": run.audience_pk,
                "fields": list(expected.fields),
                "tags_told": TAGS_TOLD,
                "seen": as_json([_row(address, member) for address, member in seen.items()]),
            },
        )
        drifted = dict(cursor.fetchall())
    erased = nameless.marked(run.tenant_id, {address: seen[address] for address in drifted}) if drifted else set()
    found: dict[Kind, list[str]] = {}
    for address, kind in drifted.items():
        if address not in erased:
            found.setdefault(Kind(kind), []).append(address)
    return found


def note(run: Begun, found: Mapping[Kind, Sequence[str]]) -> None:
    """Add up what was found; the pages of one reading on which something was take turns from here on."""
    if not found:
        return
    told = {
        kind.value: {"members": len(addresses), "customers": _customers(run.tenant_id, addresses)}
        for kind, addresses in found.items()
    }
    known = held(run)
    known.drift = merged(known.drift or {}, told)
    known.save(update_fields=["drift"])


def held(run: Begun) -> KnownAudience:
    """Lock the audience, which comes before its members (`nexpura.sync.store`)."""
    return KnownAudience.objects.select_for_update(no_key=True).get(pk=run.audience_pk)


def take_back_noes(run: Begun, found: Mapping[Kind, Sequence[str]]) -> None:
    """Have those noes carried out that were taken for carried out while their member was mailable all the time.

    Where nobody has touched the member since the no, nobody has subscribed it again either.
    """
    addresses = [*found.get(Kind.UNKNOWN, ()), *found.get(Kind.STATUS, ())]
    if not addresses:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_knownmember AS k SET carried_out = NULL FROM customers_consentevent AS e
            WHERE k.tenant_id = %s AND k.audience_id = %s AND k.address = ANY(%s)
              AND k.status IN ('subscribed', 'pending')
              AND e.tenant_id = k.tenant_id AND e.id = k.carried_out AND e.effective_at > k.last_changed
            """,
            [run.tenant_id, run.audience_pk, addresses],
        )


def _customers(tenant_id: int, addresses: Sequence[str]) -> list[int]:
    there = Customer.objects.filter(tenant_id=tenant_id, address__any_of=list(addresses)[:LOOKED_UP])
    return list(there.order_by("id").values_list("pk", flat=True)[:CUSTOMERS_TOLD])


def _row(address: str, member: Member) -> dict[str, object]:
    return {
        "address": address,
        "status": member.status,
        "merge_fields": dict(member.merge_fields),
        "tags": member.tags,
        "last_changed": member.last_changed,
    }


_DRIFTED = """
    SELECT * FROM (
        SELECT s.address, CASE
            WHEN coalesce(k.status, '') = '' THEN 'unknown'
            WHEN k.status <> s.status THEN 'status'
            WHEN EXISTS (
                SELECT 1 FROM unnest(%(fields)s::text[]) AS f (tag)
                WHERE coalesce(k.merge_fields ->> f.tag, '') <> coalesce(s.merge_fields ->> f.tag, '')) THEN 'details'
            WHEN NOT (k.tags @> s.tags AND s.tags @> k.tags)
                AND greatest(jsonb_array_length(k.tags), jsonb_array_length(s.tags)) < %(tags_told)s THEN 'tags'
        END AS kind
        FROM jsonb_to_recordset(%(seen)s::jsonb)
            AS s (address text, status text, merge_fields jsonb, tags jsonb, last_changed timestamptz)
        LEFT JOIN sync_knownmember AS k
            ON k.tenant_id = %(tenant)s AND k.audience_id = %(audience)s AND k.address = s.address
        WHERE coalesce(k.last_changed <= s.last_changed, true)  -- a look may have shown something newer since
    ) AS compared WHERE kind IS NOT NULL ORDER BY address
"""
