"""`/integrations`: the Email Marketing section with the Mailchimp panel, the one place to configure it (A2)."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from nexpura.sync import choices, panel, runs
from nexpura.sync import connect as connecting
from nexpura.sync.connect import Connected, Refused
from nexpura.sync.models import SyncRun
from nexpura.sync.panel import Panel
from nexpura.tenants.roles import Right
from nexpura.web import access
from nexpura.web.forms import ConnectForm, KeyForm


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The panel. A poll of htmx gets the part that moves while a run goes on."""
    return _page(request, part="#live" if request.headers.get("HX-Request") else "")


@sensitive_post_parameters("api_key")
@require_POST
def connect(request: HttpRequest) -> HttpResponse:
    """Ask Mailchimp for the audience; on refusal the panel comes back with the reason, without the key."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    form = ConnectForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    outcome = connecting.connect(
        tenant,
        access.actor_of(request),
        key_text=form.cleaned_data["api_key"],
        audience_id=form.cleaned_data["audience_id"],
        auto_sync=form.cleaned_data["auto_sync"],
    )
    match outcome:
        case Refused():
            return _page(request, form=form, refused=outcome)
        case Connected(integration=integration):
            messages.success(request, f"Mailchimp is connected to {integration.config['audience_name']}.")
            return redirect("integrations")


@require_POST
def sync(request: HttpRequest) -> HttpResponse:
    """Start a run, or show the one that is going on."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    try:
        runs.start(tenant, access.actor_of(request))
    except runs.NotConnectedError:
        messages.error(request, "Mailchimp is not connected: connect it first.")
    return redirect("integrations")


@require_POST
def read_whole(request: HttpRequest) -> HttpResponse:
    """Start a run that reads the whole audience, unless one is under way that has begun otherwise."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    try:
        run = runs.start(tenant, access.actor_of(request), full=True)
    except runs.NotConnectedError:
        messages.error(request, "Mailchimp is not connected: connect it first.")
    else:
        if not run.full:
            messages.warning(request, "A sync is under way. Ask for the whole audience once it has ended.")
    return redirect("integrations")


@require_POST
def auto_sync(request: HttpRequest) -> HttpResponse:
    """Switch the daily sync on or off."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    on = request.POST.get("auto_sync") == "on"
    connecting.set_auto_sync(tenant, access.actor_of(request), on)
    messages.success(request, "Auto-sync is on." if on else "Auto-sync is off: sync on demand.")
    return redirect("integrations")


@sensitive_post_parameters("api_key")
@require_POST
def key(request: HttpRequest) -> HttpResponse:
    """Put in another key for the same audience."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, key_form=form)
    outcome = connecting.replace_key(tenant, access.actor_of(request), form.cleaned_data["api_key"])
    if isinstance(outcome, Refused):
        return _page(request, key_form=form, refused=outcome)
    messages.success(request, "The new key is in use.")
    return redirect("integrations")


@require_http_methods(["GET", "HEAD", "POST"])
def disconnect(request: HttpRequest) -> HttpResponse:
    """Ask once more, saying which opt-outs Mailchimp has not been told; then forget key and audience."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    if request.method == "POST":
        connecting.disconnect(tenant, access.actor_of(request))
        messages.success(request, "Mailchimp is disconnected. The key is gone; the history stays.")
        return redirect("integrations")
    state = panel.state(tenant)
    return render(request, "disconnect.html", {"panel": state}) if state.connected else redirect("integrations")


def _page(
    request: HttpRequest,
    *,
    part: str = "",
    form: ConnectForm | None = None,
    key_form: KeyForm | None = None,
    refused: Refused | None = None,
) -> HttpResponse:
    tenant = access.tenant_for(request)
    state = panel.state(tenant)
    finished = _finished(state)
    chosen = choices.of(tenant) if state.connected else None
    context: dict[str, Any] = {
        "panel": state,
        "finished": finished,
        "consenting": panel.consenting(tenant) if not finished else 0,
        "form": form or ConnectForm(),
        "key_form": key_form or KeyForm(),
        "key_form_open": key_form is not None or _wants_key(state),
        "also_elsewhere": _also_elsewhere(state),
        "refused": refused,
        "notes": chosen.notes if chosen else (),
        "double_optin": chosen is not None and chosen.double_optin,
        "may_manage": access.user_of(request).may(Right.MANAGE_INTEGRATION),
        "may_erase": access.user_of(request).may(Right.ERASE_CUSTOMERS),
    }
    return render(request, f"integrations.html{part}", context)


def _also_elsewhere(state: Panel) -> bool:
    """Tell whether another shop is connected to the same audience, to each of the two (B13)."""
    return state.integration is not None and state.connected and connecting.also_elsewhere(state.integration)


def _wants_key(state: Panel) -> bool:
    """Tell whether Mailchimp refused the key, so that the remedy is to put in another."""
    error = state.integration.error if state.integration else None
    return error is not None and error["code"] == "access_lost"


def _finished(state: Panel) -> SyncRun | None:
    """Return the newest run that is over, if it was one with the audience that is connected now."""
    run, integration = state.finished, state.integration
    if run is None or integration is None or not integration.is_connected or integration.connected_at is None:
        return None
    return run if run.queued_at >= integration.connected_at else None
