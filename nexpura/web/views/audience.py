"""What goes to the audience (fields, permissions, asking again), and what a sync would do."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from nexpura.sync import choices, preview, runs
from nexpura.tenants.roles import Right
from nexpura.web import access
from nexpura.web.forms import ChoicesForm, posted


@require_http_methods(["GET", "HEAD", "POST"])
def choose(request: HttpRequest) -> HttpResponse:
    """What fills the audience's fields, what consent means there, and whether Mailchimp may ask people to confirm."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    chosen = choices.of(tenant)
    if chosen is None:
        return redirect("integrations")
    form = ChoicesForm(chosen, posted(request))
    if form.is_bound and form.is_valid():
        choices.save(tenant, access.actor_of(request), **form.chosen)
        messages.success(request, "Saved. The next sync looks at everybody again.")
        return redirect("mailchimp-audience")
    return render(request, "audience.html", {"chosen": chosen, "form": form})


@require_safe
def look_ahead(request: HttpRequest) -> HttpResponse:
    """What the next sync would do, by the same rules, without doing it."""
    tenant = access.tenant_for(request)
    try:
        told = preview.preview(tenant, at_most=preview.AT_A_PAGE)
    except runs.NotConnectedError:
        return redirect("integrations")
    chosen = choices.of(tenant)
    context = {
        "told": told,
        "double_optin": chosen is not None and chosen.double_optin,
        "may_manage": access.user_of(request).may(Right.MANAGE_INTEGRATION),
    }
    return render(request, "preview.html", context)
