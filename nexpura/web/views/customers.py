"""The customer book: list, one customer (Overview first), new, edit, and the consent switch."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from nexpura.audience.reasons import Reason
from nexpura.customers import former, intake, ledger, search
from nexpura.customers.models import ConsentEvent, ConsentState, Customer
from nexpura.sync import explain, renames
from nexpura.tenants.models import Tenant
from nexpura.tenants.roles import Right
from nexpura.web import access, forms
from nexpura.web.forms import ConsentForm, CustomerForm

VISITS_SHOWN = 20
A_NEW_YES_HELPS = (Reason.UNSUBSCRIBED_THERE, Reason.COMPLIANCE, Reason.WITHDRAWN, Reason.ERASED)
"""Why somebody whose yes is on record may be kept out all the same, until they say it once more."""


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The book, a page at a time; searched by the beginning of a name, address or phone number."""
    tenant = access.tenant_for(request)
    context = {
        "page": search.page(tenant, query=request.GET.get("q", ""), after=request.GET.get("after", "")),
        "started": bool(request.GET.get("after")),
        "some_shared": tenant.shared_addresses.exists(),
    }
    return render(request, "customers.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Write down a customer who has not been asked about marketing."""
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_CUSTOMERS)
    form = CustomerForm(tenant, forms.posted(request))
    if form.is_valid() and (customer := _kept(request, form)):
        messages.success(request, f"{customer.name} is in the book.")
        return redirect("customer", customer.pk)
    return render(request, "customer_form.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a customer's details; consent stays what it is."""
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_CUSTOMERS)
    customer = customer_of(tenant, pk)
    if customer.pk != pk:
        return merged_into(request, pk, customer)
    form = CustomerForm.of(customer, forms.posted(request))
    if form.is_valid() and _kept(request, form, customer):
        messages.success(request, "Saved.")
        return redirect("customer", pk)
    return render(request, "customer_form.html", {"form": form, "customer": customer})


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The Overview: who they are, what they said about marketing, and whether Mailchimp has them."""
    tenant, user = access.tenant_for(request), access.user_of(request)
    customer = customer_of(tenant, pk)
    if customer.pk != pk:
        return merged_into(request, pk, customer)
    explanation = explain.explain(tenant, customer)
    kept_out = customer.marketing_consent and explanation.reason in A_NEW_YES_HELPS
    context = {
        "customer": customer,
        "history": ledger.history(customer),
        "wording": ledger.current_wording(tenant),
        "consent_form": ConsentForm(initial={"granted": customer.marketing_consent}),
        "explanation": explanation,
        "sharing": [pk for pk in explanation.customer_ids if pk != customer.pk],
        "outvoted": kept_out and explanation.reason == Reason.WITHDRAWN,
        "may_say_again": kept_out,
        "may_erase": access.user_of(request).may(Right.ERASE_CUSTOMERS),
        "visits": customer.visits.select_related("user").order_by("-id")[:VISITS_SHOWN],
        "proposal": renames.proposal_for(tenant, customer),
        "may_merge": user.may(Right.IMPORT_CUSTOMERS),
    }
    return render(request, "customer.html", context)


@require_POST
def consent(request: HttpRequest, pk: int) -> HttpResponse:
    """Record what the customer says now. A withdrawal ("stop writing to me") needs no earlier grant."""
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_CUSTOMERS)
    if is_erased(tenant, pk):
        return _nothing_recorded(request)
    customer = customer_of(tenant, pk)
    form = ConsentForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose where the customer said so.")
        return redirect("customer", pk)
    try:
        event = _recorded(request, customer, form)
    except Customer.DoesNotExist:
        return _nothing_recorded(request)
    messages.success(request, _said(tenant, customer, event.state if event else ""))
    return redirect("customer", pk)


def _recorded(request: HttpRequest, customer: Customer, form: ConsentForm) -> ConsentEvent | None:
    """Record what the switch or a button says; None: it says nothing new."""
    on, again = form.cleaned_data["granted"], "again" in request.POST
    was_on = customer.consent_state == ConsentState.GRANTED
    if on == was_on and not again and "stop" not in request.POST:
        return None
    source = form.cleaned_data["source"]
    return ledger.record(customer, access.actor_of(request), granted=on or again, source=source, again=again)


def _nothing_recorded(request: HttpRequest) -> HttpResponse:
    messages.error(
        request,
        "This customer was erased on request meanwhile, so nothing was recorded. If they want to be in the book "
        "again, or say that nobody should write to them, write them down anew and record there what they say.",
    )
    return redirect("customers")


@require_POST
def new_address(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer what to do about the address a person gave themselves in Mailchimp: take it over, or keep the old one."""
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_CUSTOMERS)
    customer = customer_of(tenant, pk)
    taking = request.POST.get("answer") == "take over"
    answer = (renames.take_over if taking else renames.keep)(
        tenant, access.actor_of(request), customer, request.POST.get("address", "")
    )
    if isinstance(answer, renames.Refused):
        messages.error(request, answer.reason)
    elif taking:
        messages.success(request, f"The new address is in the book. {_becomes(tenant, customer)}")
    else:
        messages.success(request, f"The old address stays. {_becomes(tenant, customer)}")
    return redirect("customer", customer.pk)


def _said(tenant: Tenant, customer: Customer, state: str) -> str:
    """Say what was recorded, and what comes of it by the rules of a sync."""
    if not state:
        return "Nothing to record: that is what the book says already."
    recorded = "Marketing consent" if state == ConsentState.GRANTED else "Withdrawal"
    return f"{recorded} recorded. {_becomes(tenant, customer)}"


def _becomes(tenant: Tenant, customer: Customer) -> str:
    """Say what comes of what the book holds now, in the words of the customer's page."""
    held = former.find(tenant, customer.pk) or customer
    return f"{explain.explain(tenant, held).headline}."


def customer_of(tenant: Tenant, pk: int) -> Customer:
    """Return the customer with this id, or whom the record with this id was merged into."""
    customer = former.find(tenant, pk)
    if customer is None:
        raise Http404
    return customer


def is_erased(tenant: Tenant, pk: int) -> bool:
    """Tell whether the record with this id was erased on request."""
    return tenant.erasures.filter(customer_id=pk).exists()


def merged_into(request: HttpRequest, pk: int, customer: Customer) -> HttpResponse:
    """Lead from the page of a record that is no more to the one it was merged into."""
    saved = "; nothing was saved" if request.method == "POST" else ""
    messages.warning(request, f"Customer {pk} was merged into this one, customer {customer.pk}{saved}.")
    return redirect("customer", customer.pk)


def _kept(request: HttpRequest, form: CustomerForm, customer: Customer | None = None) -> Customer | None:
    """Return the customer as the book keeps them now; None, with the reason in the form, if it will not."""
    assert form.cleaned is not None
    actor = access.actor_of(request)
    try:
        if customer:
            return intake.edit(customer, actor, form.cleaned, again=form.wants_again)
        return intake.create(form.tenant, actor, form.cleaned, again=form.wants_again)
    except ValidationError as problems:
        form.refuse(problems)
        return None
