"""Values of the wrong type: in every field of every writing call, and everywhere in control calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from mailchimp_emulator import routes

from .calling import KEY, LIST, NOON
from .direct import Direct
from .everything import ANN, RIGHT, everything, ids_in

Way = tuple[str | int, ...]

VALUES: dict[str, Any] = {
    "NULL": None,
    "boolean": True,
    "integer": 7,
    "double": 1.5,
    "string": "x",
    "array": [],
    "object": {},
}
NO_SCHEMA = "Data did not match any of the schemas described in anyOf."
SEVERAL = {  # the kinds that fields of more than one kind take besides, by the last name in their place
    "email_type": {"NULL"},
    "status_if_new": {"NULL"},
    "update_existing": {"NULL"},
    "sync_tags": {"NULL"},
    "latitude": {"integer", "string"},
    "longitude": {"integer", "string"},
    "body": {"object"},  # of an operation: let in, and a failure when it runs
}
FREE = ("merge_fields", "params")  # whatever is below them has its type from elsewhere
WRITING = [
    (method, template)
    for template, methods in routes.ROUTES.items()
    for method in methods
    if method in ("POST", "PUT", "PATCH") and not template.endswith("/delete-permanent")
]


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.mark.parametrize(("method", "template"), WRITING, ids=str)
def test_a_value_of_the_wrong_type_is_refused_with_its_place_and_both_types_named(emulator, method, template):
    caller = everything(emulator)
    path = template.format_map(ids_in(caller, template))
    body = body_of(template)
    people = emulator.members(LIST)

    for way, right in places(body):
        if way and way[:2] != ("members", 0):
            for kind in VALUES.keys() - takes(way, right):
                heard = caller.ask(method, path, put(body, way, VALUES[kind]))

                assert (heard.status, heard.title) == (400, "Invalid Resource"), (way, kind)
                told = [(error["field"], error["message"]) for error in heard.body["errors"]]
                left_out = kind == "NULL" and told[0][1].endswith(f"were not provided: {way[-1]}")
                assert left_out or complaint(way, right, kind) in told, (way, kind)

    assert emulator.members(LIST) == people


def test_in_bulk_a_value_of_the_wrong_type_is_an_error_of_that_member(emulator):
    caller = everything(emulator)
    person = {name: value for name, value in RIGHT["/members"].items() if name != "marketing_permissions"}

    for way, right in places(person):
        for kind in VALUES.keys() - takes(way, right) - {"NULL"} if way else ():
            heard = caller.bulk(put(person, way, VALUES[kind]))

            assert (heard.status, heard.body["error_count"]) == (200, 1), (way, kind)
            [error] = heard.body["errors"]
            assert (error["field"], error["field_message"]) == complaint(way, right, kind), (way, kind)


@pytest.mark.parametrize(("method", "template"), WRITING, ids=str)
def test_a_body_that_is_no_object_is_refused(emulator, method, template):
    caller = everything(emulator)
    path = template.format_map(ids_in(caller, template))

    for kind in VALUES.keys() - {"object"}:
        heard = caller.ask(method, path, raw=json.dumps(VALUES[kind]).encode())

        assert (heard.status, heard.title) == (400, "Invalid Resource"), kind
        assert heard.body["errors"][0]["message"] == f"Schema describes object, {kind} found instead"


def body_of(template: str) -> dict[str, Any]:
    """A body that the call takes, with every field in it."""
    found: dict[str, Any] = next(right for end, right in RIGHT.items() if template.endswith(end))
    return found


def takes(way: Way, right: Any) -> set[str]:
    """The kinds of values that belong in a place where this one is right."""
    last = next((name for name in reversed(way) if isinstance(name, str)), "")
    return {kind_of(right)} | SEVERAL.get(last, set())


def complaint(way: Way, right: Any, kind: str) -> tuple[str, str]:
    """Field and message of the error."""
    place = ".".join(f"item:{name}" if isinstance(name, int) else name for name in way)
    coordinate = way[-1] in ("latitude", "longitude")
    return place, NO_SCHEMA if coordinate else f"Schema describes {kind_of(right)}, {kind} found instead"


def kind_of(value: Any) -> str:
    return next(kind for kind, other in VALUES.items() if type(other) is type(value))


def places(value: Any, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Every place in the body, with what is there."""
    yield way, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, found in () if way and way[-1] in FREE else inner:
        yield from places(found, (*way, name))


def put(body: Any, way: Way, value: Any) -> Any:
    """A copy of the body with another value in one place."""
    if not way:
        return value
    name, *rest = way
    copy = list(body) if isinstance(body, list) else dict(body)
    copy[name] = put(body[name], tuple(rest), value)
    return copy


def _seed() -> dict[str, Any]:
    """Every key a reset knows."""
    user = {"name": "ann", "role": "owner", "login_id": "1", "keys": [KEY], "disabled": False}
    field = {
        "tag": "FNAME",
        "name": "First",
        "type": "text",
        "required": False,
        "options": {},
        "public": True,
        "default_value": "",
        "help_text": "",
    }
    member = {
        "email_address": ANN,
        "status": "subscribed",
        "merge_fields": {"FNAME": "Ann"},
        "tags": ["vip", {"name": "old", "date_added": NOON}],
        "interests": ["aaaaaaaaaa"],
        "source": "Import",
        "unsubscribed_by": "user",
        "compliance": False,
        "last_changed": NOON,
        "timestamp_opt": NOON,
        "ip_opt": "203.0.113.1",
        "language": "en",
    }
    generate = {"count": 1, "email": "c{}@inbox.example", "status": "subscribed", "merge_fields": {"FNAME": "{}"}}
    audience = {
        "id": LIST,
        "name": "Regulars",
        "double_optin": False,
        "merge_fields": [field],
        "members": [member],
        "marketing_permissions": [{"id": "x", "text": "Email"}],
        "interests": [{"id": "aaaaaaaaaa", "name": "Rings", "group": "Likes"}, "bbbbbbbbbb"],
        "merge_field_limit": 30,
        "webhooks": [
            {
                "id": "dddddddddd",
                "url": "http://127.0.0.1:1/",
                "events": {"subscribe": False},
                "sources": {"api": False},
                "signing_secret": "secret",
            }
        ],
        "forgotten": ["gone@inbox.example"],
        "generate": {**generate, "last_changed": NOON},
    }
    account = {
        "name": "Shop",
        "account_id": "a",
        "dc": "us14",
        "may_create": True,
        "users": [user],
        "lists": [audience],
        "throttled": ["busy@inbox.example"],
    }
    fault = {
        "kind": "500",
        "method": "GET",
        "path": "nowhere",
        "nth": [1],
        "every": 1,
        "probability": 0.5,
        "times": 1,
        "when": "before",
        "retry_after": 1,
        "body": False,
        "seconds": 1,
    }
    latency = {"method": "GET", "path": "nowhere", "base_ms": 0, "per_member_ms": 0, "jitter_ms": 0}
    return {"accounts": [account], "latency": [latency], "faults": [fault], "now": NOON, "webhook_seconds": 10}


EVENT = {
    "list_id": LIST,
    "email": ANN,
    "event": "profile",
    "merge_fields": {"FNAME": "Anna"},
    "new_email": ANN,
    "campaign_id": "eeeeeeeeee",
}


@pytest.mark.parametrize("way", [way for way, _ in places(_seed())], ids=lambda way: ".".join(map(str, way)) or "all")
def test_a_reset_of_the_wrong_type_anywhere_is_done_or_refused_with_a_reason(loop, way):
    for value in (*VALUES.values(), 1e300, -1, [[]], [None], {"a": 1}):
        direct = Direct(loop, {})

        told = direct.control("reset", put(_seed(), way, value))

        assert told.status == 200 or (told.status == 400 and told.body["error"])
        direct.look("metrics")
        if told.status == 200 and LIST in told.body["list_ids"]:
            direct.look("members", list_id=LIST)


@pytest.mark.parametrize("event", ["signup", "profile", "merge", "address", "unsubscribe", "confirm"])
def test_an_event_of_the_wrong_type_anywhere_happens_or_is_refused_with_a_reason(loop, event):
    for way, _ in places(EVENT):
        for value in (*VALUES.values(), 1e300, [[]], {"FNAME": None}, {"a": 1}):
            direct = Direct(loop, _seed())

            told = direct.control("member_event", put({**EVENT, "event": event}, way, value))

            assert told.status == 200 or (told.status == 400 and told.body["error"])
            direct.look("members", list_id=LIST)


@pytest.mark.parametrize("call", ["clock", "latency", "faults", "list_event", "redeliver"])
def test_other_control_calls_of_the_wrong_type_are_refused_with_a_reason(loop, call):
    for value in (*VALUES.values(), 1e300, [[]], [None], {"now": {}}, {"now": 1e300}, {"list_id": 7}, {"number": 1.5}):
        direct = Direct(loop, _seed())

        told = direct.control(call, value)

        assert told.status == 200 or (told.status == 400 and told.body["error"])
