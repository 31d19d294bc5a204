"""Looking for a person in every column of every table, as somebody with the whole database would."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from psycopg import sql

from nexpura.tenants.management.commands.migrate import as_owner


def tables_that_name(*words: str) -> set[str]:
    """Return the tables with a row in which one of the words stands, in whatever column, whatever the case."""
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {table for (table,) in cursor.fetchall() if _names(cursor, table, words)}


def _names(cursor, table: str, words: Sequence[str]) -> bool:
    statement = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} AS t WHERE lower(t::text) LIKE ANY (%s))")
    cursor.execute(statement.format(sql.Identifier(table)), [[f"%{word.lower()}%" for word in words]])
    return bool(cursor.fetchone()[0])
