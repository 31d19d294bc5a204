"""Who is let in, how many at once, and what a senseless request gets."""

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from .calling import KEY, LIST, Caller, until, world

DOCS = "https://mailchimp.com/developer/marketing/docs/errors/"
OTHER = "ffffffffffffffffffffffffffffffff-us14"


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "query", "answer"),
    [
        (basic(f"anybody:{KEY}"), "", 200),
        ({"Authorization": f"Bearer {KEY}"}, "", 200),
        ({"Authorization": f"apikey {KEY}"}, "", 200),  # as taped in 2016
        ({"X-Nothing": "1"}, f"?apikey={KEY}", 200),  # the old way
        (basic(f"anybody:{KEY}"), "?apikey=another-us14", "API Key Invalid"),
        ({"X-Nothing": "1"}, "", "API Key Missing"),
        (basic("anybody:"), "", "API Key Missing"),
        (basic("anybody:nonsense-us14"), "", "API Key Invalid"),
        ({"Authorization": "Basic ???"}, "", "API Key Invalid"),
        ({"Authorization": f"Bearer {KEY[:-5]}"}, "", "API Key Invalid"),  # cut short
    ],
)
def test_a_key_opens_the_door_and_nothing_else_does(shop, headers, query, answer):
    heard = shop.ask("GET", f"/ping{query}", headers=headers)

    assert (heard.status if heard.status == 200 else heard.title) == answer
    if heard.status != 200:
        assert (heard.status, heard.body["type"]) == (401, DOCS)


def test_a_key_is_unknown_at_another_data_centre(shop):
    heard = shop.ask("GET", "/ping", dc="us6")

    assert heard.title == "API Key Invalid"
    assert heard.body["detail"] == ("Your API key may be invalid, or you've attempted to access the wrong datacenter.")


def test_the_api_is_also_there_without_a_data_centre_in_the_path(shop):
    heard = shop.send("GET", "/3.0/", None, shop.credentials())

    assert (heard.status, heard.body["role"]) == (200, "owner")


def test_a_disabled_user_is_turned_away_and_a_viewer_may_only_look(emulator):
    users = [{"name": "gone", "keys": [OTHER], "disabled": True}, {"name": "eyes", "role": "viewer", "keys": [KEY]}]
    emulator.reset(accounts=[{"users": users, "lists": [{"id": LIST}]}])

    gone = Caller(emulator, OTHER).ask("GET", "/ping")
    eyes = Caller(emulator)

    assert (gone.status, gone.title) == (403, "User Disabled")
    assert eyes.ask("GET", f"/lists/{LIST}").status == 200
    assert eyes.add("ann@inbox.example").title == "Forbidden"


def test_the_login_host_tells_whose_a_token_is(emulator, shop):
    told = shop.send("GET", "/oauth2/metadata", None, {"Authorization": f"OAuth {KEY}"})
    refused = shop.send("GET", "/oauth2/metadata", None, {"Authorization": f"OAuth {OTHER}"})

    assert (told.body["dc"], told.body["api_endpoint"]) == ("us14", "https://us14.api.mailchimp.com")
    assert (refused.status, refused.body) == (401, {"error": "invalid_token"})


def test_the_audience_of_another_account_is_unknown(emulator):
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}]}, {"lists": [{"id": LIST}]}])

    assert Caller(emulator).ask("GET", f"/lists/{LIST}").title == "Resource Not Found"


def test_the_eleventh_request_at_once_is_refused(emulator, shop):
    emulator.control("latency", [{"base_ms": 600}])

    with ThreadPoolExecutor(11) as callers:
        heard = list(callers.map(lambda _: shop.ask("GET", "/ping"), range(11)))

    refused = [reply for reply in heard if reply.status == 429]
    assert len(refused) == 1
    assert refused[0].title == "Too Many Requests"
    assert refused[0].body["detail"] == "You have exceeded the limit of 10 simultaneous connections."
    assert emulator.metrics()["highest_concurrency"] == 11


def test_the_limit_is_per_user_and_not_per_key(emulator):
    emulator.reset(
        accounts=[{"users": [{"keys": [KEY, OTHER]}, {"name": "second", "keys": ["a" * 32 + "-us14"]}]}],
        latency=[{"base_ms": 600}],
    )
    keys = [KEY] * 6 + [OTHER] * 5 + ["a" * 32 + "-us14"] * 5

    with ThreadPoolExecutor(16) as callers:
        heard = list(callers.map(lambda key: Caller(emulator, key).ask("GET", "/ping").status, keys))

    assert heard.count(429) == 1
    assert set(heard[11:]) == {200}


def test_a_request_counts_until_it_is_done_even_if_the_caller_hung_up(emulator, shop):
    emulator.control("latency", [{"method": "POST", "base_ms": 500}])
    body = json.dumps({"email_address": "ann@inbox.example", "status": "subscribed"})
    with socket.create_connection(("127.0.0.1", emulator.port)) as impatient:
        impatient.sendall(
            f"POST /us14/3.0{shop.members} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        until(lambda: emulator.metrics()["open_requests"] == 1)

    still_open = emulator.metrics()["open_requests"]
    until(lambda: emulator.metrics()["open_requests"] == 0)

    assert still_open == 1
    assert shop.member("ann@inbox.example").status == 200


@pytest.mark.parametrize(
    ("method", "path", "raw", "status", "title"),
    [
        ("POST", f"/lists/{LIST}/members", b'{"email', 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b"title=Days&type=x", 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b"\xff\xfe", 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b'{"a": NaN}', 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b'{"a": 1e999}', 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b'{"a": "\\ud800"}', 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b"[" * 100_000, 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b"9" * 5000, 400, "JSON Parse Exception"),
        ("POST", f"/lists/{LIST}/members", b'"text"', 400, "Invalid Resource"),
        ("POST", f"/lists/{LIST}/members", b"", 400, "Invalid Resource"),
        ("POST", f"/lists/{LIST}/members", b" " * 10_000_001, 400, "Bad Request"),
        ("GET", "/1234", None, 404, "Resource Not Found"),
        ("GET", "/lists//members", None, 404, "Resource Not Found"),
        ("GET", f"/lists/{LIST}/nothing", None, 404, "Resource Not Found"),
        ("GET", "/lists/0000000000", None, 404, "Resource Not Found"),
        ("GET", f"/lists/{LIST}/members/%00%ff", None, 404, "Resource Not Found"),
        ("GET", "/a/b/c/d/e/f/g/h", None, 414, "Resource Nesting Too Deep"),
        ("GET", "/a/b/c/d/e/f/g", None, 404, "Resource Not Found"),
        ("PUT", f"/lists/{LIST}/members", b"{}", 405, "Method Not Allowed"),
        ("DELETE", f"/lists/{LIST}", None, 405, "Method Not Allowed"),
        ("BREW", "/lists", None, 405, "Method Not Allowed"),
    ],
)
def test_a_senseless_request_gets_a_problem_document(shop, method, path, raw, status, title):
    heard = shop.ask(method, path, raw=raw)

    assert (heard.status, heard.title) == (status, title)
    assert list(heard.body)[:5] == ["type", "title", "status", "detail", "instance"]


def test_the_allow_header_names_what_can_be_done(shop):
    assert shop.ask("PUT", shop.members, {}).headers["allow"] == "GET, POST"
    assert shop.ask("GET", "/1234").body["detail"] == "Invalid path"


def test_half_a_request_leaves_nothing_behind(emulator, shop):
    with socket.create_connection(("127.0.0.1", emulator.port)) as line:
        line.sendall(
            f"POST /us14/3.0{shop.members} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            'Content-Length: 100\r\n\r\n{"email'.encode()
        )
        until(lambda: emulator.metrics()["open_requests"] == 1)
    until(lambda: emulator.metrics()["open_requests"] == 0)

    assert emulator.members(LIST) == []
    assert emulator.log()[-1]["status"] is None


def test_the_override_header_works_on_post_only(shop):
    shop.add("ann@inbox.example")
    key = {**basic(f"x:{KEY}"), "X-HTTP-Method-Override": "PATCH"}
    path = f"{shop.members}/ann@inbox.example"

    changed = shop.ask("POST", path, {"status": "unsubscribed"}, headers=key)
    refused = shop.ask("PUT", path, {"status": "subscribed"}, headers=key)

    assert changed.body["status"] == "unsubscribed"
    assert (refused.status, refused.title) == (422, "InvalidMethodOverride")


@pytest.mark.parametrize(
    ("name", "status", "title"),
    [
        ("BadRequest", 400, "Bad Request"),
        ("InvalidAction", 400, "Invalid Action"),
        ("InvalidResource", 400, "Invalid Resource"),
        ("JSONParseError", 400, "JSON Parse Exception"),
        ("APIKeyMissing", 401, "API Key Missing"),
        ("APIKeyInvalid", 401, "API Key Invalid"),
        ("Forbidden", 403, "Forbidden"),
        ("UserDisabled", 403, "User Disabled"),
        ("WrongDatacenter", 403, "WrongDatacenter"),
        ("ResourceNotFound", 404, "Resource Not Found"),
        ("MethodNotAllowed", 405, "Method Not Allowed"),
        ("ResourceNestingTooDeep", 414, "Resource Nesting Too Deep"),
        ("InvalidMethodOverride", 422, "InvalidMethodOverride"),
        ("RequestedFieldsInvalid", 422, "RequestedFieldsInvalid"),
        ("TooManyRequests", 429, "Too Many Requests"),
        ("InternalServerError", 500, "InternalServerError"),
        ("ComplianceRelated", 503, "ComplianceRelated"),
        ("NoSuchError", 400, "Bad Request"),
        ("", 400, "Bad Request"),
    ],
)
def test_a_caller_may_ask_for_an_error_and_then_nothing_else_is_done(emulator, shop, name, status, title):
    headers = {**basic(f"x:{KEY}"), "X-Trigger-Error": name}

    heard = shop.ask("POST", shop.members, {"email_address": "a@b.example", "status": "subscribed"}, headers=headers)

    assert (heard.status, heard.title) == (status, title)
    assert emulator.members(LIST) == []


def test_an_error_asked_for_without_a_key_is_not_given(shop):
    assert shop.ask("GET", "/ping", headers={"X-Trigger-Error": "BadRequest"}).title == "API Key Missing"


def test_many_writers_at_once_never_make_an_address_a_member_twice(emulator):
    shop = world(emulator)
    body = {"email_address": "ann@inbox.example", "status": "subscribed"}

    with ThreadPoolExecutor(8) as callers:
        heard = list(callers.map(lambda _: shop.ask("POST", shop.members, body).status, range(24)))

    assert sorted(heard) == [200] + [400] * 23
    assert len(emulator.members(LIST)) == 1
