"""Arrays for PostgreSQL, written in one go."""

from __future__ import annotations

from collections.abc import Iterable


def array_of(values: Iterable[str | int]) -> str:
    """Return numbers, or texts, as the text of a PostgreSQL array, for a parameter with a cast: `%s::text[]`.

    psycopg writes a list element by element, which costs more than the rest of a query about hundreds of them.
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """
    return "{" + ",".join([str(one) if isinstance(one, int) else _quoted(one) for one in values]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
