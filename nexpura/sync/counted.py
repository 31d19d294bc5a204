"""Counts for a page that may go through a million rows: of so many, as they were a moment ago.

A page is asked for again every few seconds while a sync goes on, and by everybody who looks at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache

from nexpura.tenants.models import Tenant

Count = TypeVar("Count")
MANY = 2_000
"""Rows from which on a count is kept."""
KEPT = 30
"""Seconds it is kept for."""


def lately(tenant: Tenant, name: str, count: Callable[[], Count]) -> Count:
    """Return the count of this name, not older than half a minute."""
    key = f"counted:{name}:{tenant.pk}"
    found: Count | None = cache.get(key)
    if found is None:
        found = count()
        cache.set(key, found, KEPT)
    return found
