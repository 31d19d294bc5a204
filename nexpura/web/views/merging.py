"""Two records for one person: addresses that several customers hold, and one record made of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from nexpura.customers import merging
from nexpura.customers.models import Customer
from nexpura.sync import merge as sync_merge
from nexpura.sync import shared as sharing
from nexpura.sync.merge import ConsentAfter
from nexpura.tenants.models import Tenant
from nexpura.tenants.roles import Right
from nexpura.web import access, paging
from nexpura.web.views.customers import customer_of, merged_into

ADDRESSES_SHOWN = 25
LABELS = {"first_name": "First name", "last_name": "Last name", "email": "E-mail", "phone": "Phone"}


@require_safe
def shared(request: HttpRequest) -> HttpResponse:
    """Addresses that two or more customers hold, the newest first, each with its customers side by side."""
    tenant = access.tenant_for(request)
    page = paging.newest_first(tenant.shared_addresses.all(), request.GET.get("before", ""), size=ADDRESSES_SHOWN)
    return _side_by_side(request, tenant, [row.address for row in page.rows], {"page": page})


@require_safe
def shared_with(request: HttpRequest, pk: int) -> HttpResponse:
    """One customer beside the others who hold their address."""
    tenant = access.tenant_for(request)
    customer = customer_of(tenant, pk)
    return _side_by_side(request, tenant, [customer.address] if customer.address else [], {"customer": customer})


def _side_by_side(request: HttpRequest, tenant: Tenant, addresses: list[str], context: dict[str, Any]) -> HttpResponse:
    context |= {
        "shared": sharing.side_by_side(tenant, addresses),
        "may_merge": access.user_of(request).may(Right.IMPORT_CUSTOMERS),
    }
    return render(request, "shared.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def merge(request: HttpRequest, pk: int, other: int) -> HttpResponse:
    """Make one record of two: customer `pk` stays, `other` goes. Shows what will be, then does it."""
    tenant = access.tenant_for(request)
    access.require(request, Right.IMPORT_CUSTOMERS)
    kept, gone = customer_of(tenant, pk), customer_of(tenant, other)
    if kept.pk == gone.pk:
        return _already_one(request, kept, pk, other)
    if (kept.pk, gone.pk) != (pk, other):
        return redirect("customer-merge", kept.pk, gone.pk)
    chosen = _chosen(request, kept, gone)
    if request.method == "POST":
        answer = sync_merge.merge(
            tenant,
            access.actor_of(request),
            kept_id=pk,
            other_id=other,
            from_other=chosen,
            seen_as=request.POST.get("seen", ""),
        )
        if isinstance(answer, merging.Merged):
            messages.success(request, f"Customer {other} was merged into this one. Both histories are below.")
            return redirect("customer", pk)
        messages.error(request, answer.reason)
        if answer.reason == merging.GONE:
            return redirect("customers-shared")
    return render(request, "merge.html", _told(kept, gone, chosen))


def _already_one(request: HttpRequest, customer: Customer, pk: int, other: int) -> HttpResponse:
    if pk != other:
        return merged_into(request, other if customer.pk == pk else pk, customer)
    messages.error(request, merging.SAME)
    return redirect("customer", customer.pk)


def _chosen(request: HttpRequest, kept: Customer, other: Customer) -> frozenset[str]:
    """Return the fields that are to be as the other record has them, as far as there is a choice."""
    names = merging.differing(kept, other)
    return frozenset(name for name in names if request.POST.get(name) == str(other.pk))


@dataclass(frozen=True, slots=True)
class Choice:
    """One field of which there are two values; `from_other` tells which of them is chosen."""

    name: str
    label: str
    kept: str
    other: str
    from_other: bool


def _told(kept: Customer, other: Customer, chosen: frozenset[str]) -> dict[str, Any]:
    fields = merging.united(kept, other, chosen)
    choices = merging.differing(kept, other)
    return {
        "kept": kept,
        "other": other,
        "seen": merging.seen(kept, other),
        "choices": [
            Choice(name, LABELS[name], getattr(kept, name), getattr(other, name), name in chosen) for name in choices
        ],
        "settled": [(label, fields[name]) for name, label in LABELS.items() if name not in choices],
        "fields": fields,
        "former_number": other.external_id if other.external_id != fields["external_id"] else "",
        "consents": _consents(kept, other),
    }


def _consents(kept: Customer, other: Customer) -> list[ConsentAfter]:
    """Return what comes of consent: once if that is the same whichever e-mail address is chosen."""
    emails = dict.fromkeys(email for email in (kept.email, other.email) if email) or {"": None}
    told = [sync_merge.consent_after(kept, other, email) for email in emails]
    answers = {(one.state, one.at, one.recorded_on) for one in told}
    return told if len(answers) > 1 else told[:1]
