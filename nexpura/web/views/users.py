"""The people who sign in: an owner adds them, and takes or gives back their access."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from nexpura.tenants import audit
from nexpura.tenants.models import TenantUser
from nexpura.tenants.roles import Right
from nexpura.web import access, forms
from nexpura.web.forms import UserForm


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Who signs in; one more."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_USERS)
    form = UserForm(forms.posted(request))
    if form.is_valid():
        user = _add(request, form)
        messages.success(request, f"{user.email} can sign in now.")
        return redirect("users")
    return render(request, "users.html", {"form": form, "users": tenant.users.order_by("-is_active", "email")})


@transaction.atomic
def _add(request: HttpRequest, form: UserForm) -> TenantUser:
    tenant = access.tenant_for(request)
    user = TenantUser.objects.create_user(tenant=tenant, **form.cleaned_data)
    after = {"email": user.email, "role": user.role, "name": user.name}
    audit.record(tenant, access.actor_of(request), "user.created", user, after=after)
    return user


@require_POST
def active(request: HttpRequest, pk: int) -> HttpResponse:
    """Take somebody's access away, or give it back. Nobody takes their own: an owner always remains."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_USERS)
    user = get_object_or_404(tenant.users, pk=pk)
    if user.pk == access.user_of(request).pk:
        messages.error(request, "You cannot take your own access away.")
        return redirect("users")
    on = request.POST.get("active") == "on"
    with transaction.atomic():
        before, user.is_active = user.is_active, on
        user.save(update_fields=["is_active"])
        if before != on:
            action = "user.activated" if on else "user.deactivated"
            actor = access.actor_of(request)
            audit.record(tenant, actor, action, user, before={"active": before}, after={"active": on})
    messages.success(request, f"{user.email} can sign in again." if on else f"{user.email} can no longer sign in.")
    return redirect("users")
