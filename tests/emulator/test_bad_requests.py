"""Whatever is sent, the answer is one of Mailchimp's problem documents, and the emulator goes on as if nothing was."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from mailchimp_emulator.serve import running

from .calling import KEY, LIST, until, world
from .line import Line, at_rest, chunked, request, say

ANN = "ann@inbox.example"
MEMBERS = f"/lists/{LIST}/members"
BODY = json.dumps({"email_address": ANN, "status": "subscribed"}).encode()
KEYS = ["type", "title", "status", "detail", "instance"]
BAD, GONE = (400, "Bad Request"), (404, "Resource Not Found")


@pytest.fixture(autouse=True)
def unharmed(server):
    """Afterwards no request is open and a good one works."""
    yield
    until(lambda: at_rest(server))
    assert world(server).ask("GET", "/ping").status == 200


def assert_problem(heard, expected):
    assert (heard.status, heard.title) == expected
    assert list(heard.body)[:5] == KEYS
    assert heard.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert heard.body["instance"] == heard.headers["x-request-id"]
    assert heard.body["status"] == heard.status


NO_HTTP = {
    "the HTTP of 1991": b"GET /3.0/ping\r\n\r\n",
    "words": b"hello there\r\n\r\n",
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bytes": bytes(range(256)) * 8,
    "a null byte in the path": b"GET /3.0/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a null byte in a header": request("GET", "/ping", b"", "X-Nothing: a\0b"),
    "a space before a colon": request("GET", "/ping", b"", "X-Nothing : 1"),
    "a header without a colon": request("GET", "/ping", b"", "X-Nothing"),
    "no host": b"GET /3.0/ping HTTP/1.1\r\n\r\n",
    "a length in words": b"POST /3.0/lists HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "a length below nothing": request("POST", MEMBERS, BODY, length=-1),
    "two lengths": request("POST", MEMBERS, BODY, "Content-Length: 3"),
    "an encoding nobody knows": request("POST", MEMBERS, BODY, "Transfer-Encoding: gzip"),
    "a chunk without a size": request("POST", MEMBERS, b"zz\r\n", "Transfer-Encoding: chunked"),
    "a chunk longer than its size": request("POST", MEMBERS, b"2\r\nabcd\r\n", "Transfer-Encoding: chunked"),
    "too many headers": request("GET", "/ping", b"", *["X-Nothing: 1234567890"] * 1000),
    "a header that is too long": request("GET", "/ping", b"", f"X-Nothing: {'a' * 65_536}"),
    "a path that is too long": request("GET", f"/{'a' * 65_536}"),
    "a query that is too long": request("GET", f"/ping?{'a' * 65_536}"),
    "a path without an end": b"GET /3.0/" + b"a" * 1_000_000,
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_gets_a_problem_document_and_the_connection_ends(emulator, sent):
    [heard] = say(emulator, sent)

    assert_problem(heard, BAD)


@pytest.mark.parametrize("size", [100, 16_000, 16_500, 40_000])
def test_what_is_too_long_does_not_depend_on_how_it_comes(emulator, size):
    sent = request("GET", "/ping", b"", f"X-Nothing: {'a' * size}")

    at_once = say(emulator, sent)
    with Line(emulator) as line:
        for start in range(0, len(sent), 1000):
            line.send(sent[start : start + 1000])
        line.end()
        in_pieces = line.hear()

    assert [heard.status for heard in at_once[:1] + in_pieces[:1]] == [200, 200] if size < 16_384 else [400, 400]


HALVES = {
    "of a request line": b"GET /3.0/pi",
    "of the headers": b"GET /3.0/ping HTTP/1.1\r\nHost: x\r\nAuthor",
    "of a body": request("POST", MEMBERS, BODY[:-5], length=len(BODY)),
    "of a chunk": request("POST", MEMBERS, b"ff\r\n" + BODY, "Transfer-Encoding: chunked"),
    "of the chunks": chunked("POST", MEMBERS, BODY),
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES.keys())
def test_half_a_request_gets_a_problem_document_and_does_nothing(emulator, sent):
    [heard] = say(emulator, sent)

    assert_problem(heard, BAD)
    assert emulator.members(LIST) == []


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES.keys())
def test_who_hangs_up_in_the_middle_of_a_request_leaves_nothing_behind(emulator, sent):
    with Line(emulator) as line:
        line.send(sent)

    until(lambda: at_rest(emulator))
    assert emulator.members(LIST) == []


def test_half_a_request_and_then_silence_gets_a_problem_document():
    with running(patience=0.3) as emulator, ExitStack() as lines:
        world(emulator)
        halves = [lines.enter_context(Line(emulator)) for _ in HALVES]
        for line, sent in zip(halves, HALVES.values(), strict=True):
            line.send(sent)

        heard = [line.hear() for line in halves]

        until(lambda: at_rest(emulator))
    for [reply] in heard:
        assert_problem(reply, (408, "Request Timeout"))


def test_silence_between_requests_ends_the_connection_without_a_word_but_no_request_under_way():
    with running(patience=0.3) as emulator, Line(emulator) as silent, Line(emulator) as asked, Line(emulator) as slow:
        world(emulator)
        emulator.control("latency", [{"path": "^/lists$", "base_ms": 500}])
        asked.send(request("GET", "/ping"))
        slow.send(request("GET", "/lists"))

        heard = [line.hear() for line in (silent, asked, slow)]

    assert [[reply.status for reply in replies] for replies in heard] == [[], [200], [200]]


def test_a_request_that_comes_byte_by_byte_is_a_request(emulator):
    with Line(emulator) as line:
        for byte in request("POST", MEMBERS, BODY, "Connection: close"):
            line.send(bytes([byte]))

        [heard] = line.hear()

    assert (heard.status, heard.body["email_address"]) == (200, ANN)


def test_an_emulator_stops_though_requests_are_half_sent():
    threads = threading.active_count()
    with ExitStack() as lines:
        with running() as emulator:
            world(emulator)
            for sent in (HALVES["of the headers"], HALVES["of a body"], NO_HTTP["words"]):
                lines.enter_context(Line(emulator)).send(sent)
            until(lambda: emulator.metrics()["open_requests"] == 1)

        assert threading.active_count() == threads


def test_requests_sent_without_waiting_are_answered_in_their_order(emulator):
    more = [request("GET", path) for path in ("/ping", "/nowhere", MEMBERS)]

    heard = say(emulator, request("POST", MEMBERS, BODY) + b"".join(more) + NO_HTTP["words"])

    assert [reply.status for reply in heard] == [200, 200, 404, 200, 400]
    assert heard[3].body["total_items"] == 1
    assert_problem(heard[4], BAD)


@pytest.mark.parametrize("path", ["/nowhere", f"/us14/3.0{MEMBERS}"])
def test_rubbish_after_the_answer_ends_the_connection(emulator, path):
    sent = request("POST", MEMBERS, b"5\r\n", "Transfer-Encoding: chunked").replace(MEMBERS.encode(), b"", 1)

    with Line(emulator) as line:
        line.send(sent.replace(b"/us14/3.0", path.encode(), 1))
        until(lambda: path != "/nowhere" or line.wait() is None)
        line.send(b"12345zz\r\n")
        [heard] = line.hear()

    assert_problem(heard, GONE if path == "/nowhere" else BAD)


def test_who_ends_after_asking_still_hears_the_answer(emulator):
    emulator.control("latency", [{"base_ms": 50}])

    heard = say(emulator, request("POST", MEMBERS, BODY) + HALVES["of a request line"])

    assert [reply.status for reply in heard] == [200, 400]
    assert_problem(heard[1], BAD)


def test_a_body_longer_than_it_claims_is_a_request_and_rubbish(emulator):
    heard = say(emulator, request("POST", MEMBERS, BODY + b"!\r\n\r\n", length=len(BODY)))

    assert [reply.status for reply in heard] == [200, 400]
    assert_problem(heard[1], BAD)


@pytest.mark.parametrize("send", [request, chunked])
@pytest.mark.parametrize(("size", "status"), [(10_000_000, 200), (10_000_001, 400), (11_000_000, 400)])
def test_ten_megabytes_are_taken_and_not_a_byte_more(emulator, send, size, status):
    body = BODY + b" " * (size - len(BODY))
    end = b"0\r\n\r\n" if send is chunked else b""

    [heard] = say(emulator, send("POST", MEMBERS, body) + end)

    assert heard.status == status
    if status == 400:
        assert_problem(heard, BAD)
    assert len(emulator.members(LIST)) == (status == 200)


def test_who_asks_whether_to_go_on_is_told_to(emulator):
    head, body = request("POST", MEMBERS, b"", "Expect: 100-continue", "Connection: close", length=len(BODY)), BODY

    with Line(emulator) as line:
        line.send(head)
        until(lambda: emulator.metrics()["open_requests"] == 1)
        line.send(body)
        heard = line.hear()

    assert [reply.status for reply in heard] == [100, 200]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "BREW", "PUT"])
def test_a_method_that_is_not_offered_gets_405_and_is_told_which_are(emulator, method):
    [heard] = say(emulator, request(method, MEMBERS))

    assert (heard.status, heard.headers["allow"]) == (405, "GET, POST")
    if method == "HEAD":
        assert heard.body is None
    else:
        assert_problem(heard, (405, "Method Not Allowed"))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//us14/3.0/ping",
        "/us14//3.0/ping",
        "/us14/3.0//ping",
        "/us14/3.0/lists//members",
        f"/us14/3.0/lists/{LIST}%2F%2Fmembers",
        f"/us14/3.0/lists/{LIST}/members/a%2Fb@inbox.example",
        f"/us14/3.0/lists/{LIST}/members/%00",
        f"/us14/3.0/lists/{LIST}/members/%ff%fe",
        f"/us14/3.0/lists/{LIST}/members/%zz",
        f"/us14/3.0/lists/{LIST}/members/..%2f..%2fping",
        f"/us14/3.0/lists/{LIST}/members/{'a' * 8000}",
        "/us14/3.0/../../etc/passwd",
        "/us14/2.0/ping",
        "/us14/3.0.1/ping",
        "/nowhere",
        "/_emulator/nowhere",
        "*",
        "us14.api.mailchimp.com:443",
        "http://us14.api.mailchimp.com/nowhere",
    ],
)
def test_a_path_that_leads_nowhere_gets_a_problem_document(emulator, target):
    sent = request("POST" if target == "/" else "GET", "/").replace(b"/us14/3.0/", target.encode(), 1)

    [heard] = say(emulator, sent)

    assert_problem(heard, (405, "Method Not Allowed") if target == "/" else GONE)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Authorization: Basic ÿþ", (401, "API Key Invalid")),
        ("Authorization: Basic YW5u", (401, "API Key Missing")),  # no colon
        ("Authorization: Basic //79", (401, "API Key Invalid")),  # no UTF-8
        ("Authorization: Bearer ÿþ", (401, "API Key Invalid")),
        ("Authorization: Digest x", (401, "API Key Missing")),
        ("Authorization:", (401, "API Key Missing")),
        (f"Authorization: Bearer {KEY}\r\nX-HTTP-Method-Override: é", (405, "Method Not Allowed")),
    ],
)
def test_a_strange_header_gets_a_problem_document(emulator, header, expected):
    sent = f"POST /us14/3.0/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{header}\r\n\r\n".encode("latin-1")

    [heard] = say(emulator, sent)

    assert_problem(heard, expected)


@pytest.mark.parametrize(("depth", "status"), [(99, 200), (100, 400), (1000, 400)])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_is_nested_a_hundred_deep_at_most(emulator, depth, status, opening, closing):
    deep = opening * depth + "1" + closing * depth
    body = f'{{"email_address": "{ANN}", "status": "subscribed", "more": {deep}}}'.encode()

    [heard] = say(emulator, request("POST", MEMBERS, body))

    assert heard.status == status
    if status == 400:
        assert_problem(heard, (400, "JSON Parse Exception"))
    assert len(emulator.log()) == 1


@pytest.mark.parametrize("number", ["9" * 4000, "9" * 5000, "1e999", "-1e999", "nan", "inf", "0x10", "1_000", "٣"])
def test_a_number_no_machine_can_hold_is_no_number(emulator, number):
    shop = world(emulator, merge_fields=[{"tag": "AGE", "type": "number"}])

    heard = shop.add(ANN, merge_fields={"AGE": number})

    assert (heard.status, heard.body["errors"]) == (400, [{"field": "AGE", "message": "Please enter a number"}])
