"""`/webhooks/mailchimp/<secret>`: where Mailchimp tells us that something changed. No session, no cookie, no page.

The URL is a secret: nothing here logs a path, and what is answered here is logged by nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from nexpura.sync import hear
from nexpura.sync.hear import Door, Outcome, State

logger = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"
ANSWERS = {
    Outcome.ACCEPTED: HTTPStatus.OK,
    Outcome.REPLAYED: HTTPStatus.OK,
    Outcome.FORGED: HTTPStatus.FORBIDDEN,
    Outcome.STALE: HTTPStatus.FORBIDDEN,
    Outcome.FOREIGN: HTTPStatus.BAD_REQUEST,
    Outcome.MALFORMED: HTTPStatus.BAD_REQUEST,
}


def _in_confidence(view: Callable[[HttpRequest, str], HTTPStatus]) -> Callable[[HttpRequest, str], HttpResponse]:
    """Answer with a status and nothing else; keep the URL out of Django's log, and of every traceback."""

    @wraps(view)
    def answer(request: HttpRequest, secret: str) -> HttpResponse:
        try:
            status = view(request, secret)
        except Exception as error:
            logger.error("a message of Mailchimp's could not be taken: %s", type(error).__name__)
            status = HTTPStatus.SERVICE_UNAVAILABLE
        response = HttpResponse(f"{status.phrase}\n", status=status, content_type="text/plain")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            response["Allow"] = "GET, HEAD, POST"
        response._has_been_logged = True  # type: ignore[attr-defined]  # Django logs the path of refusals
        return response

    return answer


@csrf_exempt
@login_not_required
@_in_confidence
def mailchimp(request: HttpRequest, secret: str) -> HTTPStatus:
    """Tell Mailchimp's validator that we are here; take its messages."""
    door = hear.door(secret)
    if door is None:
        return HTTPStatus.NOT_FOUND
    if door.state is State.GONE:
        return HTTPStatus.GONE
    if request.method in ("GET", "HEAD"):
        return HTTPStatus.OK
    if request.method != "POST":
        return HTTPStatus.METHOD_NOT_ALLOWED
    if door.state is State.NOT_YET:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return _message(request, door)


def _message(request: HttpRequest, door: Door) -> HTTPStatus:
    now = timezone.now()
    if request.content_type != FORM:
        hear.turn_away(door, now)
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    body = request.read(hear.LONGEST + 1)  # the form is read by whoever checks its bytes first
    if len(body) > hear.LONGEST:
        hear.turn_away(door, now)
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return ANSWERS[hear.hear(door, body, request.headers.get(hear.SIGNATURE_HEADER, ""), now)]
