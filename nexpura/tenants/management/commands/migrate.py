"""`nexpura migrate`: bring the database to the shape of this version, as its owner."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connection

APPEND_ONLY = ("customers_consentevent", "tenants_auditevent")
"""Tables whose rows the run-time role may add and read, and nothing else.

An erasure is the exception: the owner's function `nexpura_erase_evidence` takes one person out of them.
"""
MAY_CHANGE = {"customers_consentevent": ("customer_id",)}
"""Columns of them that it may change: an event goes over to the record that its customer's was merged into."""
NEVER_DELETED = ("sync_erasure", "tenants_erasedidentity")
"""Tables whose rows the run-time role may change, but not delete: receipts, and the hashes of who was erased."""


class Command(DjangoMigrate):
    """Django's own, run under `NEXPURA_MIGRATE_DATABASE_URL`, followed by the grants of the run-time role."""

    help = "Bring the database to the shape of this version (as its owner)."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.OWNER_DATABASE["USER"]:
            raise CommandError("NEXPURA_MIGRATE_DATABASE_URL is not set; it names the role that owns the tables")
        run_time_role = connection.settings_dict["USER"]
        with as_owner():
            super().handle(*args, **options)
            call_command("createcachetable", verbosity=0)
            grant(run_time_role)


class as_owner:  # noqa: N801  # reads as a phrase where it is used
    """Within this block the default connection is the owner's."""

    def __enter__(self) -> None:
        self._run_time = {key: connection.settings_dict[key] for key in settings.OWNER_DATABASE}
        connection.close()
        connection.settings_dict.update(settings.OWNER_DATABASE)

    def __exit__(self, *error: object) -> None:
        connection.close()
        connection.settings_dict.update(self._run_time)


def grant(role: str) -> None:
    """Let the run-time role do its work and no more: no table is its own, evidence is append-only to it."""
    from psycopg import sql

    name = sql.Identifier(role)
    statements = [
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(name),
        sql.SQL("GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {}").format(name),
        sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {}").format(name),
        *(sql.SQL("REVOKE UPDATE, DELETE ON {} FROM {}").format(sql.Identifier(table), name) for table in APPEND_ONLY),
        *(
            sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table), name
            )
            for table, columns in MAY_CHANGE.items()
        ),
        *(sql.SQL("REVOKE DELETE ON {} FROM {}").format(sql.Identifier(table), name) for table in NEVER_DELETED),
    ]
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
