"""What PostgreSQL knows of tables that grow by a run or an import, kept near enough for its plans to be good."""

from __future__ import annotations

from django.db import connection

EVERY = 5_000
"""Rows after which whoever writes many of them asks again."""


def take() -> None:
    """Have those tables looked at that have grown to more than three times what is known of them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nexpura_take_statistics()")
