"""`column__any_of=values`: one array parameter in place of one parameter a value, for the queries of chunks.

PostgreSQL plans both alike; building and sending hundreds of parameters costs us more than the rest of the query.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Field, ForeignKey, Lookup

from nexpura.tenants.arrays import array_of

NUMBERS = ("integer", "bigint")


@Field.register_lookup
@ForeignKey.register_lookup
class AnyOf(Lookup):
    """True where the column equals one of the values: any iterable of numbers or of texts."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        kind = "bigint" if self.lhs.output_field.rel_db_type(connection) in NUMBERS else "text"
        return f"{column} = ANY(%s::{kind}[])", (*params, array_of(self.rhs))
