"""Records that were merged into others: under their old id and their old number the customer is still found."""

from __future__ import annotations

from collections.abc import Iterable

from nexpura.customers.models import Customer, FormerCustomer
from nexpura.tenants.models import Tenant


def find(tenant: Tenant, pk: int) -> Customer | None:
    """Return the customer with this id, or the one whom the record with this id was merged into."""
    customer = Customer.objects.filter(tenant=tenant, pk=pk).first()
    if customer:
        return customer
    former = FormerCustomer.objects.select_related("customer").filter(tenant=tenant, former_id=pk).first()
    return former.customer if former else None


def still_lead_somewhere(tenant: Tenant, pks: Iterable[int]) -> set[int]:
    """Return those of the ids under which `find` finds a customer."""
    asked = list(pks)
    there = Customer.objects.filter(tenant=tenant, pk__in=asked).values_list("pk", flat=True)
    merged = FormerCustomer.objects.filter(tenant=tenant, former_id__in=asked).values_list("former_id", flat=True)
    return {*there, *merged}


def hold(tenant_id: int, pk: int) -> Customer:
    """Return the customer as `find` does, locked: a merge that is under way is waited for and followed.

    Raises `Customer.DoesNotExist` if there is neither a customer nor a former one.
    """
    customer = Customer.objects.filter(tenant_id=tenant_id, pk=pk).select_for_update(no_key=True).first()
    if customer:
        return customer
    former = FormerCustomer.objects.filter(tenant_id=tenant_id, former_id=pk).first()
    if former is None:
        raise Customer.DoesNotExist
    return hold(tenant_id, former.customer_id)


def by_number(tenant: Tenant, numbers: Iterable[str]) -> dict[str, int]:
    """Return whom the numbers of the till mean that records had before they were merged."""
    known = FormerCustomer.objects.filter(tenant=tenant, external_id__any_of=numbers)
    return {number: pk for number, pk in known.values_list("external_id", "customer_id") if number}
