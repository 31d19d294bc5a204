"""Long lists, newest first, a page at a time: by key, so that the last page costs what the first does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)
SIZE = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows; `next` asks for those before the last of them (None: there are none)."""

    rows: tuple[Row, ...]
    next: int | None


def newest_first(rows: QuerySet[Row], before: str, size: int = SIZE) -> Page[Row]:
    """Return the newest rows, or those older than the row `before`; a cursor that is no number is ignored."""
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = tuple(rows.order_by("-pk")[: size + 1])
    return Page(found[:size], found[size - 1].pk if len(found) > size else None)
