"""The pages for requests that are refused."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from nexpura.web.access import NotYoursToDo


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say what the person's role does not include, and who may do it."""
    refusal = exception if isinstance(exception, NotYoursToDo) else None
    return render(request, "403.html", {"refusal": refusal}, status=403)


def csrf(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open for too long, or was not ours."""
    return render(request, "csrf.html", status=403)
