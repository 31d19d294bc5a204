"""The control plane below /_emulator: set the world up, make things happen in it, read what happened."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mailchimp_emulator import clock, hashing, people, seeding
from mailchimp_emulator.hooks import Attempt
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.seeding import UnclearError
from mailchimp_emulator.state import Audience, Member

Control = Callable[[Emulator, Any, Request], Any]
_ROWS_A_CHUNK = 500


def routes(emulator: Emulator) -> list[Route]:
    """Every control call; a body that is not understood is a 400 that names the place and changes nothing."""
    return [Route(f"/{name}", _endpoint(emulator, run), methods=["POST"]) for name, run in _POSTS.items()] + [
        Route(f"/{name}", _endpoint(emulator, run), methods=["GET"]) for name, run in _GETS.items()
    ]


def reset(emulator: Emulator, body: Any, _request: Request) -> Any:
    state, weather = seeding.state_from(body)
    emulator.state.background.stop()
    emulator.state, emulator.weather = state, weather
    return seeding.described(emulator.state)


def set_latency(emulator: Emulator, body: Any, _request: Request) -> Any:
    emulator.weather.latencies = seeding.latencies(body)
    return {"latency": len(emulator.weather.latencies)}


def set_faults(emulator: Emulator, body: Any, request: Request) -> Any:
    """Put these faults in place of those there were; with `?add=1` beside them."""
    faults = seeding.faults(body)
    if request.query_params.get("add") == "1":
        faults = emulator.weather.faults + faults
    emulator.weather.faults = faults
    return {"faults": len(faults)}


def set_clock(emulator: Emulator, body: Any, _request: Request) -> Any:
    """Stop the clock at `now`; null lets it run again with the real time."""
    given = seeding.known(body, "clock", "now")
    if "now" not in given:
        raise UnclearError("clock.now: a moment is needed, or null for the real time")
    now = given["now"]
    emulator.state.clock.set(None if now is None else seeding.moment(now, "clock.now"))
    return {"now": clock.written(emulator.state.clock.now())}


def member_event(emulator: Emulator, body: Any, _request: Request) -> Any:
    """One event or a list of them, in order; the first that cannot happen ends the list."""
    events = body if isinstance(body, list) else [body]
    for number, event in enumerate(events):
        people.happen(emulator.state, event, f"[{number}]" if isinstance(body, list) else "member_event")
    return {"applied": len(events)}


def list_event(emulator: Emulator, body: Any, _request: Request) -> Any:
    """What the merchant does to a whole audience: delete it."""
    given = seeding.known(body, "list_event", "list_id", "event")
    seeding.choice(given.get("event"), "list_event.event", ("delete",))
    audience = _audience(emulator, given.get("list_id"), "list_event.list_id")
    emulator.state.delete_audience(audience)
    return {"deleted": audience.id}


def redeliver(emulator: Emulator, body: Any, _request: Request) -> Any:
    """Send a past delivery again byte for byte, signed anew or with the `same` signature as before."""
    given = seeding.known(body, "redeliver", "number", "signature")
    past = emulator.state.outbox.past(seeding.whole(given.get("number"), "redeliver.number"))
    if past is None:
        raise UnclearError(f"redeliver.number: no delivery {given['number']} was tried")
    if not past.hook.enabled:
        raise UnclearError("redeliver.number: its webhook is disabled or deleted")
    signature = seeding.choice(given.get("signature", "new"), "redeliver.signature", ("new", "same"))
    return {"number": emulator.state.outbox.replay(past, same_signature=signature == "same").number}


def get_log(emulator: Emulator, _body: Any, _request: Request) -> Iterable[Any]:
    return (row.told() for row in list(emulator.state.log))


def get_audit(emulator: Emulator, _body: Any, _request: Request) -> Iterable[Any]:
    rows = emulator.state.audit
    return ({**rows[place].told(), "time": clock.written(rows[place].time)} for place in range(len(rows)))


def get_deliveries(emulator: Emulator, _body: Any, _request: Request) -> Iterable[Any]:
    """Every attempt to tell a webhook something."""
    return (_attempt(attempt) for attempt in list(emulator.state.outbox.attempts))


def get_members(emulator: Emulator, _body: Any, request: Request) -> Iterable[Any]:
    audience = _audience(emulator, request.query_params.get("list_id"), "list_id")
    members = list(audience.in_order_of_arrival())
    return (_row(audience, member) for member in members)


def get_webhooks(emulator: Emulator, _body: Any, request: Request) -> Any:
    """The webhooks of an audience in the form they are seeded from, secrets and all."""
    audience = _audience(emulator, request.query_params.get("list_id"), "list_id")
    return (
        {
            "id": hook.id,
            "url": hook.url,
            "events": hook.events,
            "sources": hook.sources,
            "signing_secret": hook.secret,
        }
        for hook in list(audience.webhooks.values())
        if hook.enabled
    )


def get_metrics(emulator: Emulator, _body: Any, _request: Request) -> Any:
    state = emulator.state
    return {
        "requests": state.requests - state.operations,
        "operations": state.operations,
        "writes": state.writes,
        "calls": {call: sum(statuses.values()) for call, statuses in state.calls.items()},
        "statuses": state.calls,
        "highest_concurrency": max(state.highest_concurrency.values(), default=0),
        "highest_concurrency_of": state.highest_concurrency,
        "open_requests": sum(state.open_requests.values()),
        "open_deliveries": state.outbox.open_now(),
        "waiting_deliveries": state.outbox.waiting(),
        "confirmation_mails": {item.id: item.confirmation_mails for item in state.audiences()},
    }


def _row(audience: Audience, member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "email_address": member.email_address,
        "status": member.status,
        "merge_fields": {tag: value for tag, value in audience.tagged(member).items() if value != ""},
        "tags": [tag.name for tag, _ in member.tags],
        "unsubscribed_by": member.unsubscribed_by,
        "compliance": member.compliance,
        "last_changed": clock.written(member.last_changed),
        "timestamp_opt": clock.written(member.timestamp_opt),
        "ip_opt": member.ip_opt,
        "contact_id": hashing.contact_id(audience.id, member.web_id),
        "web_id": member.web_id,
        "source": member.source,
        "marketing_permissions": list(member.permissions),
        "interests": list(member.interests),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    delivery = attempt.delivery
    return {
        "number": delivery.number,
        "webhook_id": delivery.hook.id,
        "list_id": delivery.hook.list_id,
        "url": attempt.url,
        "type": delivery.type,
        "email": delivery.email,
        "time": clock.written(attempt.time),
        "attempt": attempt.number,
        "status": attempt.status,
        "error": attempt.error,
        "delivered": attempt.delivered,
        "body": delivery.body.decode(),
    }


def _audience(emulator: Emulator, list_id: Any, place: str) -> Audience:
    audience = emulator.state.audience(seeding.text(list_id, place))
    if audience is None:
        raise UnclearError(f"{place}: there is no audience {list_id!r}")
    return audience


def _endpoint(emulator: Emulator, run: Control) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        if not _from_here(request):
            return JSONResponse(
                {"error": "the control calls are for this machine, and not for other sites' pages"}, 403
            )
        try:
            body = orjson.loads(await request.body() or b"{}") if request.method == "POST" else None
            found = run(emulator, body, request)
        except UnclearError as unclear:
            return JSONResponse({"error": str(unclear)}, 400)
        except orjson.JSONDecodeError as error:
            return JSONResponse({"error": f"the body is not understood: {error}"}, 400)
        if isinstance(found, dict):
            return JSONResponse(found)
        return StreamingResponse(_lines(found), media_type="application/x-ndjson")

    return answer


def _from_here(request: Request) -> bool:
    """Whether a program of this machine asks, or a page of this server: another site's page must not."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    return urlsplit(f"//{host}").hostname in LOOPBACK and (origin is None or urlsplit(origin).netloc == host)


async def _lines(rows: Iterable[Any]) -> AsyncIterator[bytes]:
    """NDJSON, some hundred rows at a time."""
    remaining = iter(rows)
    while chunk := list(itertools.islice(remaining, _ROWS_A_CHUNK)):
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in chunk)


LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_POSTS: dict[str, Control] = {
    "reset": reset,
    "latency": set_latency,
    "faults": set_faults,
    "clock": set_clock,
    "member_event": member_event,
    "list_event": list_event,
    "redeliver": redeliver,
}
_GETS: dict[str, Control] = {
    "log": get_log,
    "audit": get_audit,
    "deliveries": get_deliveries,
    "members": get_members,
    "webhooks": get_webhooks,
    "metrics": get_metrics,
}
