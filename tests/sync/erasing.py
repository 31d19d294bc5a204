"""Looking for a person in every column of every table, as somebody with the whole database would."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from psycopg import sql

from nexpura.tenants.management.commands.migrate import as_owner


def tables_that_name(*words: str, tenant_id: int | None = None) -> set[str]:
    """Return the tables with a row in which one of the words stands, in whatever column, whatever the case.

    With `tenant_id` only rows of this shop count, where rows tell whose they are.
    """
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.tablename, EXISTS (SELECT 1 FROM information_schema.columns AS c WHERE c.table_schema = 'public' "
            "AND c.table_name = t.tablename AND c.column_name = 'tenant_id') FROM pg_tables AS t "
            "WHERE t.schemaname = 'public'"
        )
        tables = cursor.fetchall()
        return {
            table for table, has_tenant in tables if _names(cursor, table, words, tenant_id if has_tenant else None)
        }


def _names(cursor, table: str, words: Sequence[str], tenant_id: int | None) -> bool:
    statement = "SELECT EXISTS (SELECT 1 FROM {} AS t WHERE lower(t::text) LIKE ANY (%s)"
    statement += " AND tenant_id = %s)" if tenant_id else ")"
    given = [[f"%{word.lower()}%" for word in words], *([tenant_id] if tenant_id else [])]
    cursor.execute(sql.SQL(statement).format(sql.Identifier(table)), given)
    return bool(cursor.fetchone()[0])
