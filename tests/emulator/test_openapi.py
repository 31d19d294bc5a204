"""Every reply that any of these tests hears is held against Mailchimp's description; here: that this notices things."""

import json

import pytest

from mailchimp_emulator import routes

from . import openapi
from .calling import LIST, world
from .openapi import CONTRADICTIONS, DESCRIBED_ELSEWHERE, DESCRIPTION, MAILCHIMP

pytestmark = pytest.mark.skipif(
    not DESCRIPTION.exists(), reason=f"NO DESCRIPTION: {DESCRIPTION} is not there, so no reply was held against it"
)
OK = {"content-type": "application/json; charset=utf-8"}
REFUSED = {"content-type": "application/problem+json; charset=utf-8"}
FIELD = {"merge_id": 1, "tag": "FNAME", "name": "First", "type": "text", "required": False, "options": {"size": 25}}
PROBLEM = {"type": "about", "title": "Forbidden", "status": 403, "detail": "No.", "instance": "0"}


def without(document, key):
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    ("status", "headers", "body", "noticed"),
    [
        (200, OK, FIELD, []),
        (200, OK, FIELD | {"merge_id": "1"}, ["merge_id: type"]),
        (200, OK, FIELD | {"type": "colour"}, ["type: enum"]),
        (200, OK, FIELD | {"colour": "red"}, ["colour: unknown key"]),
        (200, OK, FIELD | {"options": {"sizes": 25}}, ["options.sizes: unknown key"]),
        (200, OK, FIELD | {"_links": [{"rel": "self", "method": "BREW"}]}, ["_links.method: enum"]),
        (200, OK, [], ["(the body): type"]),
        (200, OK, None, ["(the body): type"]),
        (200, REFUSED, FIELD, ["the content type is application/problem+json; charset=utf-8"]),
        (204, OK, None, []),
        (204, OK, FIELD, ["(the body): no body is described"]),
        (403, REFUSED, PROBLEM, []),
        (403, OK, PROBLEM, ["the content type is application/json; charset=utf-8"]),
        (403, REFUSED, without(PROBLEM, "type"), ["type: required"]),
        (400, REFUSED, without(PROBLEM, "type") | {"title": "Member Exists"}, []),  # as recorded
        (400, REFUSED, without(PROBLEM, "type") | {"title": "Invalid Resource"}, ["type: required"]),
        (403, REFUSED, without(PROBLEM, "instance"), ["instance: required"]),
        (403, REFUSED, PROBLEM | {"exception": "1"}, ["exception: unknown key"]),
        (400, REFUSED, PROBLEM | {"errors": [{"field": "FNAME", "text": "No."}]}, ["errors.text: unknown key"]),
        (403, REFUSED, None, ["(the body): type"]),
    ],
)
def test_a_broken_reply_is_noticed(status, headers, body, noticed):
    method = "DELETE" if status == 204 else "GET"

    found = openapi.faults_of_reply(method, f"/lists/{LIST}/merge-fields/1", status, headers, body)

    assert [str(fault) for fault in found] == noticed


@pytest.mark.parametrize(
    ("moment", "noticed"),
    [
        ("2026-03-01T12:00:00+00:00", []),
        ("2026-03-01T12:00:00Z", ["last_changed: format date-time"]),
        ("2026-03-01 12:00:00", ["last_changed: format date-time"]),
        ("", ["last_changed: format date-time"]),
    ],
)
def test_a_moment_has_to_be_written_as_mailchimp_writes_it(moment, noticed):
    found = openapi.faults_of_reply("GET", f"/lists/{LIST}/members/x", 200, OK, {"last_changed": moment})

    assert [str(fault) for fault in found] == noticed


def test_what_was_not_asked_for_need_not_be_there():
    assert not list(openapi.faults_of_reply("GET", "/lists?fields=total_items", 200, OK, {"total_items": 1}))
    assert list(openapi.faults_of_reply("GET", "/lists?count=1", 200, OK, {"total_items": 1}))


def test_a_caller_does_not_take_a_reply_that_is_not_described(emulator, monkeypatch):
    monkeypatch.setitem(openapi.description().schemas, "ProblemDetailDocument", {"type": "string"})
    openapi.validator.cache_clear()

    with pytest.raises(AssertionError, match="is not as described"):
        world(emulator).member("nobody@inbox.example")

    openapi.validator.cache_clear()


def test_every_call_of_the_emulator_is_described_or_named_as_not_described():
    served = {
        openapi.nameless(f"{method} {template}") for template, methods in routes.ROUTES.items() for method in methods
    }

    not_described = served - {openapi.nameless(call) for call in openapi.description().operations}

    assert not_described == {openapi.nameless(call) for call in DESCRIBED_ELSEWHERE}


@pytest.mark.parametrize("known", CONTRADICTIONS, ids=lambda known: f"{known.calls}: {known.place} {known.rule}")
def test_what_contradicts_the_description_was_seen_at_mailchimp(known):
    if known.source.startswith("API.md: "):
        assert known.source.removeprefix("API.md: ") in (MAILCHIMP / "API.md").read_text()
        return
    [tape] = [
        tape
        for file in (MAILCHIMP / "recordings").glob("*.json")
        for tape in json.loads(file.read_text())
        if tape["id"] == known.source
    ]
    asked, answered = tape["request"], tape["response"]
    call = openapi.description().call_of(asked["method"], asked["path"])

    seen = list(openapi.description().faults(call, answered["status"], answered["body"]))

    call = openapi.problem(answered["body"]) if answered["status"] >= 400 else call
    assert any(known.covers(call, fault) for fault in seen)
