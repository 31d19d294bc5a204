"""Erasing a customer: the page that asks once more, and the receipts."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from nexpura.customers.models import Customer
from nexpura.sync import erasures
from nexpura.sync.models import Erasure
from nexpura.tenants.models import Tenant
from nexpura.tenants.roles import Right
from nexpura.web import access, forms, paging
from nexpura.web.forms import EraseForm


@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what goes and what stays, ask for the name once more; then erase, and show the receipt."""
    tenant = access.tenant_for(request)
    access.require(request, Right.ERASE_CUSTOMERS)
    customer = get_object_or_404(tenant.customers, pk=pk)
    form = EraseForm(customer, forms.posted(request))
    if form.is_valid() and (erasure := _erased(request, tenant, form)):
        messages.success(request, "Erased. This is the receipt.")
        return redirect("erasure", erasure.number)
    context = {"customer": customer, "form": form, "outlook": erasures.outlook(customer)}
    return render(request, "erase.html", context)


def _erased(request: HttpRequest, tenant: Tenant, form: EraseForm) -> Erasure | None:
    """Return the receipt; None, with the reason in the form, if it cannot be done just now."""
    try:
        return erasures.erase(tenant, access.actor_of(request), form.customer.pk, form.cleaned_data["member"])
    except Customer.DoesNotExist:
        raise Http404 from None
    except erasures.NotNowError:
        form.add_error(None, "Customers are being imported at this moment. Nothing was erased; try again in a minute.")
        return None


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Every receipt, newest first."""
    tenant = access.tenant_for(request)
    access.require(request, Right.ERASE_CUSTOMERS)
    page = paging.newest_first(tenant.erasures.all(), request.GET.get("before", ""))
    return render(request, "erasures.html", {"page": page})


@require_safe
def receipt(request: HttpRequest, number: int) -> HttpResponse:
    """One receipt, for the person: what was done, when and by whom, without a word that names them."""
    tenant = access.tenant_for(request)
    erasure = _receipt(request, tenant, number)
    context = {
        "erasure": erasure,
        "tenant": tenant,
        "told": erasures.told(erasure),
        "facts": erasures.facts_of_consent(erasure),
    }
    return render(request, "erasure.html", context)


@require_POST
def again(request: HttpRequest, number: int) -> HttpResponse:
    """Make a try now, and show how it went."""
    tenant = access.tenant_for(request)
    erasure = _receipt(request, tenant, number)
    erasures.try_again(erasure)
    erasure.refresh_from_db()
    if erasure.problem:
        messages.error(request, "It did not succeed yet; the reason is below.")
    return redirect("erasure", number)


@require_http_methods(["GET", "HEAD", "POST"])
def by_hand(request: HttpRequest, number: int) -> HttpResponse:
    """Show the address for once, to an owner who sees to it in Mailchimp; then note that it is done there."""
    tenant = access.tenant_for(request)
    erasure = _receipt(request, tenant, number)
    if not erasure.is_open:
        return redirect("erasure", number)
    if request.method == "POST":
        erasures.settle_by_hand(erasure, access.actor_of(request))
        messages.success(request, "Noted. The address is gone from here now.")
        return redirect("erasure", number)
    return render(request, "erasure_by_hand.html", {"erasure": erasure, "addresses": erasures.addresses_to_do(erasure)})


def _receipt(request: HttpRequest, tenant: Tenant, number: int) -> Erasure:
    access.require(request, Right.ERASE_CUSTOMERS)
    return get_object_or_404(tenant.erasures, number=number)
