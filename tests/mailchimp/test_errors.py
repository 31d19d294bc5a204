"""What Mailchimp's refusals mean, told by status and title, in any language."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexpura.mailchimp.errors import (
    AccessLost,
    MailchimpError,
    MemberRefused,
    NotFound,
    Refusal,
    TryLater,
    UnexpectedReply,
    from_response,
)

ALICE = "alice@inbox.example"
SEE_ERRORS = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."


def reply(status: int, title: str, detail: str = "", **more: Any) -> MailchimpError:
    document = {"title": title, "status": status, "detail": detail, "instance": "", **more}
    return from_response(status, {}, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("status", "title", "kind"),
    [
        (401, "API Key Invalid", AccessLost),
        (401, "API Key Missing", AccessLost),
        (403, "Forbidden", AccessLost),
        (403, "User Disabled", AccessLost),
        (403, "WrongDatacenter", AccessLost),
        (404, "Resource Not Found", NotFound),
        (408, "Request Timeout", TryLater),
        (429, "Too Many Requests", TryLater),
        (500, "InternalServerError", TryLater),
        (503, "ComplianceRelated", TryLater),
        (400, "Bad Request", MemberRefused),
        (400, "Ungültige Ressource", MemberRefused),
        (405, "Method Not Allowed", UnexpectedReply),
        (414, "Resource Nesting Too Deep", UnexpectedReply),
        (422, "RequestedFieldsInvalid", UnexpectedReply),
        (426, "Upgrade Required", UnexpectedReply),
    ],
)
def test_a_problem_is_told_by_its_status(status, title, kind):
    error = reply(status, title, f"something about {ALICE}")

    assert type(error) is kind
    assert str(error) == f"{status} {title}"
    assert error.detail == "something about the address"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UnexpectedReply),
        (400, UnexpectedReply),
        (401, AccessLost),
        (403, TryLater),
        (404, UnexpectedReply),
        (408, TryLater),
        (429, TryLater),
        (502, TryLater),
        (504, TryLater),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[]", b'"Forbidden"', b'{"title": "Forb', b"\xff"])
def test_a_reply_without_a_problem_document_comes_from_something_in_between(status, kind, body):
    error = from_response(status, {}, body)

    assert type(error) is kind
    assert str(error) == f"{status} HTTP {status}"


@pytest.mark.parametrize(
    ("title", "detail", "errors", "kind"),
    [
        ("Member Exists", f"{ALICE} ist bereits ein Listenmitglied.", [], Refusal.EXISTS),
        ("Member In Compliance State", "", [], Refusal.COMPLIANCE),
        ("Forgotten Email Not Subscribed", "", [], Refusal.FORGOTTEN),
        ("Invalid Resource", "Please provide a valid email address.", [], Refusal.INVALID_ADDRESS),
        ("Invalid Resource", f"{ALICE} looks fake or invalid, please enter …", [], Refusal.FAKE_ADDRESS),
        ("Invalid Resource", f"{ALICE} has signed up to a lot of lists very …", [], Refusal.THROTTLED_ADDRESS),
        ("Invalid Resource", f"{ALICE} is already a list member.  Use PATCH …", [], Refusal.EXISTS),
        (
            "Invalid Resource",
            f"{ALICE} is already a list member in compliance state due to unsubscribe …",
            [],
            Refusal.COMPLIANCE,
        ),
        (
            "Invalid Resource",
            "Your merge fields were invalid.",
            [("LTV", "Please enter a number")],
            Refusal.MERGE_FIELDS,
        ),
        ("Ungültige Ressource", "Ihre Felder …", [("MMERGE3", "Bitte …")], Refusal.MERGE_FIELDS),
        ("Invalid Resource", "Your merge fields were invalid.", [], Refusal.MERGE_FIELDS),
        ("Invalid Resource", SEE_ERRORS, [("merge_fields.FNAME", "Data did not …")], Refusal.MERGE_FIELDS),
        ("Invalid Resource", SEE_ERRORS, [("merge_fields", "Schema describes …")], Refusal.MERGE_FIELDS),
        ("Invalid Resource", SEE_ERRORS, [("email_address", "Bitte …")], Refusal.INVALID_ADDRESS),
        (
            "Invalid Resource",
            SEE_ERRORS,
            [("email address", f'"{ALICE}" is already in this list with …')],
            Refusal.EXISTS,
        ),
        ("Invalid Resource", SEE_ERRORS, [("", "Schema describes object, …")], Refusal.OTHER),
        ("Invalid Resource", SEE_ERRORS, [("status_if_new", "…"), ("merge_fields.X", "…")], Refusal.OTHER),
        ("Ungültige Ressource", "Etwas stimmt nicht.", [], Refusal.OTHER),
        ("Bad Request", "Your request could not be processed.", [], Refusal.OTHER),
    ],
)
def test_a_refused_address_has_a_kind(title, detail, errors, kind):
    entries = [{"field": field, "message": message} for field, message in errors]

    error = reply(400, title, detail, errors=entries)

    assert isinstance(error, MemberRefused)
    assert error.kind is kind


def test_refused_merge_fields_are_named_with_mailchimps_words():
    entries = [
        {"field": "LTV", "message": "Please enter a number"},
        {"field": "merge_fields.FNAME", "message": "Data did not match any of the schemas"},
    ]

    error = reply(400, "Invalid Resource", "Your merge fields were invalid.", errors=entries)

    assert isinstance(error, MemberRefused)
    assert error.fields == {"LTV": "Please enter a number", "FNAME": "Data did not match any of the schemas"}


@pytest.mark.parametrize("errors", [None, "…", [None], [{"field": None}], {}])
def test_a_problem_of_another_shape_is_still_a_refusal(errors):
    error = reply(400, "Invalid Resource", "…", errors=errors)

    assert isinstance(error, MemberRefused)
    assert error.kind is Refusal.OTHER


def test_a_400_that_is_not_about_one_address_is_unexpected():
    error = from_response(400, {}, b'{"title": "Bad Request", "status": 400}', about_member=False)

    assert type(error) is UnexpectedReply


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "999999999"}, 86_400.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        (
            {"Date": "Mon, 23 Nov 2026 10:00:00 GMT", "Retry-After": "Mon, 23 Nov 2026 10:00:30 GMT"},
            30.0,
        ),
        ({"Date": "Mon, 23 Nov 2026 10:00:00 GMT", "Retry-After": "Mon, 23 Nov 2026 09:00:00 GMT"}, 0.0),
    ],
)
def test_mailchimps_wish_to_be_left_alone_is_read(headers, seconds):
    error = from_response(429, headers, b"{}")

    assert isinstance(error, TryLater)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "perhaps_done"), [(429, False), (403, False), (408, True), (500, True), (502, True)]
)
def test_a_call_turned_away_at_the_door_was_not_carried_out(status, perhaps_done):
    error = from_response(status, {}, b"")

    assert isinstance(error, TryLater)
    assert error.perhaps_done is perhaps_done


def test_an_error_never_says_whom_it_is_about():
    named_in_detail = reply(400, "Invalid Resource", f"{ALICE} looks fake or invalid")
    named_in_title = reply(400, f"{ALICE} exists")

    for error in (named_in_detail, named_in_title):
        assert ALICE not in str(error)
        assert ALICE not in repr(error)
        assert ALICE not in error.detail


@pytest.mark.parametrize("status", [401, 403, 404, 400, 422, 429])
def test_mailchimps_words_are_kept_without_the_address_in_them(status):
    error = reply(status, "Any Title", f"{ALICE} is not allowed; write to <{ALICE}>.")

    assert error.detail == "The address is not allowed; write to the address"


def test_what_is_said_of_a_field_is_kept_without_the_address_in_it():
    error = reply(400, "Invalid Resource", errors=[{"field": "FNAME", "message": f"{ALICE} is no name"}])

    assert isinstance(error, MemberRefused)
    assert error.fields == {"FNAME": "The address is no name"}
