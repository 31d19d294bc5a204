"""The customer list: by name, a page at a time, searched by the beginning of a name, address or phone number.

Only ranges on stored, normalised columns are asked for: they use an index at any size and under row-level
security, which `LIKE` and `lower()` do not. Each range is asked for by itself, no further than the page reaches: of
several joined by OR the database reads everything that matches, or the whole book in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from nexpura.audience.address import address_of
from nexpura.audience.fold import fold
from nexpura.customers import normalise
from nexpura.customers.models import Customer
from nexpura.tenants.models import Tenant

LONGEST_QUERY = 200
ORDER = ("last_key", "first_key", "id")


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
    book = Customer.objects.filter(tenant=tenant).order_by(*ORDER)
    last = _customer_at(tenant, after)
    if last:
        book = book.filter(_after(last))
    customers = _found(book, _ranges(tenant, query), size + 1) if query else tuple(book[: size + 1])
    more = len(customers) > size
    return Page(customers[:size], next=str(customers[size - 1].pk) if more else "", query=query)


def _found(book: QuerySet[Customer], ranges: Sequence[Q], size: int) -> tuple[Customer, ...]:
    """Return the first customers of the book, in its order, who are in any of the ranges."""
    first, *others = (book.filter(one).values_list(*ORDER)[:size] for one in ranges)
    found = sorted({*first.union(*others, all=True)} if others else first)[:size]
    customers = book.in_bulk([pk for *_, pk in found])
    return tuple(customers[pk] for *_, pk in found if pk in customers)


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


def _ranges(tenant: Tenant, query: str) -> list[Q]:
    """Return what may be meant by the query, each a range of one or two columns."""
    if "@" in query:
        return [begins("address", address_of(query))]
    key = fold(query)
    found = [begins("last_key", key), begins("first_key", key), begins("address", address_of(query))]
    split = key.split(" ")
    for place in range(1, len(split)):
        one, other = " ".join(split[:place]), " ".join(split[place:])
        found += [begins("first_key", one) & begins("last_key", other)]
        found += [begins("last_key", one) & begins("first_key", other)]
    return found + [begins("phone", prefix) for prefix in _phone_prefixes(tenant, query)]


def _phone_prefixes(tenant: Tenant, query: str) -> list[str]:
    if not any(letter.isdigit() for letter in query):
        return []
    prefixes = {query, normalise.phone_prefix(query, tenant.country)}
    prefixes.add(normalise.phone_as_kept(query, tenant.country) or "")
    return sorted(prefixes - {""})


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
