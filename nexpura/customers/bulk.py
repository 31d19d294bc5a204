"""Customers and events into the database by the thousand: COPY into a temporary table, one statement from there.

Row-level security allows COPY into no table of ours; and a statement with a parameter for each value of a thousand rows
takes longer to put together than to carry out. Must be called inside a transaction, at whose end the tables go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from nexpura.customers.known import Entry
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

_TABLES = """
    CREATE TEMPORARY TABLE IF NOT EXISTS bulk_customer (
        id bigint, external_id text, first_name text, last_name text, email text, phone text, tags text[], state text
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE IF NOT EXISTS bulk_event (
        id bigint, customer_id bigint, state text, claimed_at timestamptz, source text, wording_text text, address text
    ) ON COMMIT DROP;
    SET CONSTRAINTS ALL IMMEDIATE;
"""
_ADD_CUSTOMERS = """
    INSERT INTO customers_customer (tenant_id, id, external_id, first_name, last_name, email, phone, tags, note,
                                    consent_state, updated_at)
    SELECT %s, id, external_id, first_name, last_name, email, phone, coalesce(tags, '{}'), '', state, %s
    FROM bulk_customer
"""
_CHANGE_CUSTOMERS = """
    UPDATE customers_customer AS c
    SET external_id = n.external_id, first_name = n.first_name, last_name = n.last_name, email = n.email,
        phone = n.phone, tags = coalesce(n.tags, '{}'), updated_at = %s
    FROM bulk_customer AS n WHERE c.tenant_id = %s AND c.id = n.id
"""
_ADD_EVENTS = """
    INSERT INTO customers_consentevent (tenant_id, id, customer_id, state, claimed_at, source, wording_text, address,
                                        actor_kind, actor_id, actor_name)
    SELECT %s, id, customer_id, state, claimed_at, source, wording_text, address, %s, %s, %s FROM bulk_event
"""


class Event(NamedTuple):
    """A consent event about to be recorded, with the address that its customer had at that moment."""

    entry: Entry
    state: str
    claimed_at: datetime | None
    source: str
    wording: str
    address: str


def prepare() -> None:
    """Make the temporary tables, and have references checked by each statement.

    Put off to the end they would be a list of millions in the memory of the database.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)


def add_customers(tenant: Tenant, entries: Sequence[Entry], now: datetime) -> None:
    """Keep new customers; each entry is told its id.

    Their consent is written as their events will have it: the ledger's trigger then has nothing to bring along.
    """
    if not entries:
        return
    for entry, pk in zip(entries, _ids("customers_customer", len(entries)), strict=True):
        entry.pk = pk
    _copy_customers(entries)
    with connection.cursor() as cursor:
        cursor.execute(_ADD_CUSTOMERS, [tenant.pk, now])


def change_customers(tenant: Tenant, entries: Sequence[Entry], now: datetime) -> None:
    """Bring customers who are kept already to what the entries hold."""
    if not entries:
        return
    _copy_customers(entries)
    with connection.cursor() as cursor:
        cursor.execute(_CHANGE_CUSTOMERS, [now, tenant.pk])


def add_events(tenant: Tenant, actor: Actor, events: Sequence[Event]) -> None:
    """Append to the ledger, in this order; customers' consent follows by its trigger."""
    if not events:
        return
    numbered = zip(events, _ids("customers_consentevent", len(events)), strict=True)
    _copy("bulk_event", ((pk, entry.pk, *said) for (entry, *said), pk in numbered))
    with connection.cursor() as cursor:
        cursor.execute(_ADD_EVENTS, [tenant.pk, actor.kind, actor.id, actor.name])


def _copy_customers(entries: Iterable[Entry]) -> None:
    _copy(
        "bulk_customer",
        (
            (
                entry.pk,
                entry.external_id,
                entry.first_name,
                entry.last_name,
                entry.email,
                entry.phone,
                entry.tags or None,
                entry.state,
            )
            for entry in entries
        ),
    )


def _copy(table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {table}")
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _ids(table: str, count: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return [pk for (pk,) in cursor.fetchall()]
