"""The one door from a request to a tenant's rows, and what the person at it may do.

A view begins with `tenant = access.tenant_for(request)` and reaches rows through it (`tenant.customers`), so
that somebody else's row is a 404. `LoginRequiredMiddleware` has sent everybody else to the sign-in before.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect

from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant, TenantUser
from nexpura.tenants.roles import RIGHTS, Right


class NotYoursToDo(PermissionDenied):
    """The person's role lacks a right; the page says which, and who has it."""

    def __init__(self, right: Right) -> None:
        super().__init__(f"this needs the right to {right.value}")
        self.right = right
        self.roles = tuple(role.value for role, rights in RIGHTS.items() if right in rights)


def user_of(request: HttpRequest) -> TenantUser:
    """Return who is signed in; a request of nobody's is refused."""
    if not isinstance(request.user, TenantUser):
        raise PermissionDenied("nobody is signed in")
    return request.user


def tenant_for(request: HttpRequest) -> Tenant:
    """Return the business whose rows this request may reach."""
    return user_of(request).tenant


def actor_of(request: HttpRequest) -> Actor:
    """Return who is to stand in ledger and audit trail for what this request does."""
    return Actor.user(user_of(request))


def require(request: HttpRequest, right: Right) -> None:
    """Raise `NotYoursToDo` (a 403 page) unless the person's role includes `right`."""
    if not user_of(request).may(right):
        raise NotYoursToDo(right)


def at_the_door(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: times in the tenant's zone, pages of people who are signed in kept in no cache.

    A part that htmx asks for when the session is over sends the whole page to the sign-in.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        user = request.user if isinstance(request.user, TenantUser) else None
        with timezone.override(user.tenant.zone if user else None):
            response = get_response(request)
        if user:
            add_never_cache_headers(response)
        patch_vary_headers(response, ["HX-Request"])
        if request.headers.get("HX-Request") and _leads_to_the_sign_in(response):
            return HttpResponseClientRedirect(response["Location"])
        return response

    return respond


def _leads_to_the_sign_in(response: HttpResponseBase) -> bool:
    return response.status_code == 302 and response["Location"].startswith(settings.LOGIN_URL)
