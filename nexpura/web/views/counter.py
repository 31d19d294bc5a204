"""Where customers are met: intake, and the walk-in sale at the till. Each with the tick box, off by default."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from nexpura.customers import former, ledger, search, visits
from nexpura.customers import intake as customer_intake
from nexpura.customers.models import ConsentSource, Customer
from nexpura.tenants.models import Tenant
from nexpura.tenants.roles import Right
from nexpura.web import access, forms
from nexpura.web.forms import IntakeForm, SaleForm, VisitForm
from nexpura.web.views.customers import customer_of, is_erased

FOUND_SHOWN = 8
F = TypeVar("F", bound=VisitForm)


@require_http_methods(["GET", "HEAD", "POST"])
def intake(request: HttpRequest) -> HttpResponse:
    """A customer leaves something with the shop."""
    form, is_kept = _filled_in(request, IntakeForm, _keep_intake)
    if is_kept:
        return redirect("customer", form.customer.pk) if form.customer else redirect("intake")
    return _page(request, "intake.html", form)


@require_http_methods(["GET", "HEAD", "POST"])
def pos(request: HttpRequest) -> HttpResponse:
    """A walk-in sale, to a customer or to nobody in particular."""
    form, is_kept = _filled_in(request, SaleForm, _keep_sale)
    return redirect("pos") if is_kept else _page(request, "pos.html", form)


def _filled_in(request: HttpRequest, form_class: type[F], keep: Callable[[HttpRequest, F], bool]) -> tuple[F, bool]:
    """Return the form, and whether what it says is written down now.

    If the chosen customer was erased meanwhile, it is a form about nobody yet, with all that was typed.
    """
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_CUSTOMERS)
    try:
        form = form_class(tenant, forms.posted(request), customer=_chosen(request, tenant))
        return form, form.is_valid() and keep(request, form)
    except Customer.DoesNotExist:
        return form_class(tenant, forms.posted(request), is_erased=True), False


def _chosen(request: HttpRequest, tenant: Tenant) -> Customer | None:
    """Return the customer of the book whom the form is about; somebody else's is a 404.

    Raises `Customer.DoesNotExist` if a form that was filled in is about somebody erased.
    """
    asked = request.POST if request.method == "POST" else request.GET
    if not asked.get("customer"):
        return None
    pk = int(asked["customer"]) if re.fullmatch("[0-9]{1,18}", asked["customer"]) else 0
    if request.method == "POST" and is_erased(tenant, pk):
        raise Customer.DoesNotExist
    return customer_of(tenant, pk)


def _page(request: HttpRequest, template: str, form: VisitForm) -> HttpResponse:
    tenant = form.tenant
    query = request.GET.get("q", "").strip()
    context = {
        "form": form,
        "query": query,
        "found": search.page(tenant, query=query, size=FOUND_SHOWN).customers if query else (),
        "wording": ledger.current_wording(tenant),
    }
    if request.headers.get("HX-Request") and request.method == "GET":
        template += "#found"
    return render(request, template, context)


def _keep_intake(request: HttpRequest, form: IntakeForm) -> bool:
    actor = access.actor_of(request)
    try:
        with transaction.atomic():
            customer = _customer_of(request, form)
            assert customer is not None
            visits.intake(form.tenant, actor, access.user_of(request), customer, form.cleaned_data["description"])
            consent = _record_consent(request, form, customer, ConsentSource.INTAKE)
    except ValidationError as problems:
        form.refuse(problems)
        return False
    form.customer = customer
    messages.success(request, f"Intake written down for {customer.name}.{_heard(consent)}")
    return True


def _keep_sale(request: HttpRequest, form: SaleForm) -> bool:
    try:
        with transaction.atomic():
            customer = _customer_of(request, form)
            visit = visits.sale(
                form.tenant,
                access.actor_of(request),
                access.user_of(request),
                description=form.cleaned_data["description"],
                amount=form.cleaned_data["amount"],
                customer=customer,
            )
            consent = _record_consent(request, form, customer, ConsentSource.POS)
    except ValidationError as problems:
        form.refuse(problems)
        return False
    buyer = f" to {customer.name}" if customer else ""
    messages.success(request, f"Sale of {visit.amount}{buyer} written down.{_heard(consent)}")
    return True


def _customer_of(request: HttpRequest, form: VisitForm) -> Customer | None:
    """Return the customer the form is about, kept now if they are new; None for a nameless sale.

    One of the book is held, so that a merge of their record at this moment does not leave the visit without them.
    Raises `Customer.DoesNotExist` if they were erased at this moment.
    """
    if form.customer:
        return former.hold(form.tenant.pk, form.customer.pk)
    if form.cleaned is None:
        return None
    return customer_intake.create(form.tenant, access.actor_of(request), form.cleaned, again=form.wants_again)


def _record_consent(request: HttpRequest, form: VisitForm, customer: Customer | None, source: ConsentSource) -> bool:
    """Record a ticked box, if it says something new. No IP address: the device is the shop's, not the customer's."""
    if not (form.has_consent and customer):
        return False
    return ledger.record(customer, access.actor_of(request), granted=True, source=source) is not None


def _heard(consent: bool) -> str:
    return " Marketing consent recorded." if consent else ""
