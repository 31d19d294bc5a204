"""Settings of the business: the consent wording and the audit trail."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from nexpura.customers import former, ledger
from nexpura.tenants.roles import Right
from nexpura.web import access, forms, paging, trail
from nexpura.web.forms import WordingForm


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What can be set, as far as the person may."""
    tenant, user = access.tenant_for(request), access.user_of(request)
    context = {
        "tenant": tenant,
        "may_edit_wording": user.may(Right.EDIT_WORDING),
        "may_manage_users": user.may(Right.MANAGE_USERS),
        "may_see_audit": user.may(Right.SEE_AUDIT),
        "may_erase": user.may(Right.ERASE_CUSTOMERS),
    }
    return render(request, "settings.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def wording(request: HttpRequest) -> HttpResponse:
    """The words beside the tick box. A change is a new version; events keep the words they were given under."""
    tenant = access.tenant_for(request)
    access.require(request, Right.EDIT_WORDING)
    current = ledger.current_wording(tenant)
    form = WordingForm(forms.posted(request), initial={"text": current.text})
    if form.is_valid():
        new = ledger.new_wording(tenant, access.actor_of(request), form.cleaned_data["text"])
        messages.success(request, f"Version {new.version} is shown from now on.")
        return redirect("wording")
    versions = tenant.consent_wordings.order_by("-version")
    return render(request, "wording.html", {"form": form, "current": current, "versions": versions})


@require_safe
def audit_trail(request: HttpRequest) -> HttpResponse:
    """Who did what, when, newest first."""
    tenant = access.tenant_for(request)
    access.require(request, Right.SEE_AUDIT)
    page = paging.newest_first(tenant.audit_events.all(), request.GET.get("before", ""))
    customers = {event.subject_id for event in page.rows if event.subject_kind == "customer" and event.subject_id}
    erased = set(tenant.erasures.filter(customer_id__in=customers).values_list("customer_id", flat=True))
    erasures = [event.subject_id for event in page.rows if event.subject_kind == "erasure" and event.subject_id]
    receipts = dict(tenant.erasures.filter(pk__in=erasures).values_list("pk", "number"))
    may_erase = access.user_of(request).may(Right.ERASE_CUSTOMERS)
    told = [
        {
            "event": event,
            "action": trail.action(event),
            "subject": trail.subject(event),
            "before": trail.values(event.before),
            "after": trail.values(event.after),
            "receipt": receipts.get(event.subject_id or 0) if event.subject_kind == "erasure" else None,
        }
        for event in page.rows
    ]
    linked = former.still_lead_somewhere(tenant, customers)
    context = {"page": page, "told": told, "linked": linked, "erased": erased, "may_erase": may_erase}
    return render(request, "audit.html", context)
