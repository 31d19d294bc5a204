"""The customer list: by name, a page at a time, searched by the beginning of a name, address or phone number.

Only ranges on stored, normalised columns are asked for: they use an index at any size and under row-level
security, which `LIKE` and `lower()` do not.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from nexpura.audience.address import address_of
from nexpura.audience.fold import fold
from nexpura.customers import normalise
from nexpura.customers.models import Customer
from nexpura.tenants.models import Tenant

LONGEST_QUERY = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Some customers in the order of their names; `next` asks for those after them (blank: there are none)."""

    customers: tuple[Customer, ...]
    next: str = ""
    query: str = ""


def page(tenant: Tenant, *, query: str = "", after: str = "", size: int = 50) -> Page:
    """Return the customers whom `query` finds, those after the cursor `after` only.

    A cursor names the last customer of the page before, never a name or an address, as cursors end up in logs.
    One that is not of this tenant's book gives the first page.
    """
    query = _tidy(query)
    found = Customer.objects.filter(tenant=tenant).order_by("last_key", "first_key", "id")
    if query:
        found = found.filter(_matches(tenant, query))
    last = _customer_at(tenant, after)
    if last:
        found = found.filter(_after(last))
    customers = tuple(found[: size + 1])
    more = len(customers) > size
    return Page(customers[:size], next=str(customers[size - 1].pk) if more else "", query=query)


def _tidy(query: str) -> str:
    """Return what can be looked for: no NUL, no half characters, one blank between words."""
    readable = query[:LONGEST_QUERY].encode(errors="ignore").decode().replace("\0", "")
    return " ".join(readable.split())


def _customer_at(tenant: Tenant, cursor: str) -> Customer | None:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        return None
    return Customer.objects.filter(tenant=tenant, pk=int(cursor)).first()


def _after(last: Customer) -> Q:
    """Everything behind one customer in the order of the list; the first condition is what the index uses."""
    same_last = Q(last_key=last.last_key)
    same_name = same_last & Q(first_key=last.first_key)
    return Q(last_key__gte=last.last_key) & (
        Q(last_key__gt=last.last_key) | (same_last & Q(first_key__gt=last.first_key)) | (same_name & Q(pk__gt=last.pk))
    )


def _matches(tenant: Tenant, query: str) -> Q:
    if "@" in query:
        return begins("address", address_of(query))
    key = fold(query)
    found = begins("last_key", key) | begins("first_key", key) | begins("address", address_of(query))
    split = key.split(" ")
    for place in range(1, len(split)):
        one, other = " ".join(split[:place]), " ".join(split[place:])
        found |= begins("first_key", one) & begins("last_key", other)
        found |= begins("last_key", one) & begins("first_key", other)
    return found | _phone_matches(tenant, query)


def _phone_matches(tenant: Tenant, query: str) -> Q:
    if not any(letter.isdigit() for letter in query):
        return Q()
    prefixes = {query, normalise.phone_prefix(query, tenant.country)}
    prefixes.add(normalise.phone_as_kept(query, tenant.country) or "")
    found = Q()
    for prefix in sorted(prefixes - {""}):
        found |= begins("phone", prefix)
    return found


def begins(column: str, prefix: str) -> Q:
    """Say "`column` begins with `prefix`" as a range, for a column sorted by code points."""
    found = Q((f"{column}__gte", prefix))
    end = _behind(prefix)
    return found & Q((f"{column}__lt", end)) if end else found


def _behind(prefix: str) -> str:
    """Return the smallest text behind everything that begins with `prefix`; blank if there is none."""
    while prefix and ord(prefix[-1]) == 0x10FFFF:
        prefix = prefix[:-1]
    if not prefix:
        return ""
    following = ord(prefix[-1]) + 1
    surrogates = 0xD800 <= following <= 0xDFFF
    return prefix[:-1] + chr(0xE000 if surrogates else following)
