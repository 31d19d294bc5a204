"""Set-based writes of known members."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection

from nexpura.audience.member import KnownMember
from nexpura.sync.store import nameless
from nexpura.sync.store.records import as_json, known_to_columns

_COLUMNS = {
    "status": "text",
    "merge_fields": "jsonb",
    "last_changed": "timestamptz",
    "status_since": "timestamptz",
    "contact_id": "text",
    "tags": "jsonb",
    "our_tags": "jsonb",
    "added_by_us": "bool",
    "made_for": "bigint",
    "asked_for": "bigint",
    "renamed_to": "text",
    "move_refused": "bool",
    "opt_out": "jsonb",
    "carried_out": "bigint",
    "rewritten": "jsonb",
    "refusal": "jsonb",
}
_TAKEN = ", ".join("coalesce(f.customer_id, s.made_for)" if name == "made_for" else f"s.{name}" for name in _COLUMNS)
"""What was decided for a customer whose record was merged into another meanwhile is of the one who stays."""
_PUT = f"""
    INSERT INTO sync_knownmember (tenant_id, audience_id, address, {", ".join(_COLUMNS)})
    SELECT %s, %s, s.address, {_TAKEN}
    FROM jsonb_to_recordset(%s::jsonb)
        AS s (address text, {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())})
    LEFT JOIN customers_formercustomer AS f ON f.tenant_id = %s AND f.former_id = s.made_for
    ORDER BY s.address
    ON CONFLICT (tenant_id, audience_id, address) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
"""  # noqa: S608 - names and types stand above


def put(tenant_id: int, audience_pk: int, members: Mapping[str, KnownMember]) -> None:
    """Write what is now known of these addresses."""
    if not members:
        return
    kept = nameless.known(tenant_id, members)
    rows = [{"address": address, **known_to_columns(member)} for address, member in kept.items()]
    with connection.cursor() as cursor:
        cursor.execute(_PUT, [tenant_id, audience_pk, as_json(rows), tenant_id])
