"""That the comparison with recordings notices what is different, and lets pass only what it says."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from . import likeness, playing, tapes
from .calling import Heard
from .tapes import TAPES, Tape

pytestmark = pytest.mark.skipif(not TAPES.is_dir(), reason=f"NO RECORDINGS: {TAPES} is not there")
ID = "0c3e7376-09a3-bb6b-f885-52533cc74ab3"


def newest(call: str, status: int) -> Tape:
    """The newest whole recording of a call that ended so."""
    found = [
        tape
        for tape in tapes.library()
        if tape.whole and tape.provenance == "recorded" and tape.status == status
        if f"{tape.method} {tape.file}" == call and tape.answer
    ]
    return max(found, key=lambda tape: tape.age)


def as_recorded(tape: Tape) -> Heard:
    """An answer in which nothing is different."""
    headers = {"x-request-id": ID, **{name.lower(): value for name, value in tape.headers.items()}}
    body = copy.deepcopy(tape.answer)
    return Heard(tape.status, headers, body | ({"instance": ID} if "instance" in body else {}))


def without(key):
    return lambda heard: heard.body.pop(key)


def with_value(key, value):
    return lambda heard: heard.body.update({key: value})


def moved_to_the_end(key):
    return lambda heard: heard.body.update({key: heard.body.pop(key)})


def header(name, value):
    return lambda heard: heard.headers.update({name: value})


@pytest.mark.parametrize(
    ("call", "status", "change", "noticed"),
    [
        ("GET members_get", 200, without("vip"), "vip: is missing"),
        ("GET members_get", 200, with_value("vip", True), "vip: True, recorded False"),
        ("GET members_get", 200, with_value("member_rating", 2.0), "member_rating: 2.0, recorded 2"),
        ("GET members_get", 200, with_value("colour", "red"), "colour: is not on the tape: 'red'"),
        ("GET members_get", 200, with_value("contact_id", "1"), "contact_id: '1' cannot stand for"),
        ("GET members_get", 200, with_value("web_id", "x"), "web_id: 'x' cannot stand for"),
        ("GET members_get", 200, with_value("ip_opt", "192.0.2.1"), "ip_opt: '192.0.2.1' cannot stand for"),
        ("GET members_get", 200, with_value("timestamp_opt", ""), "timestamp_opt: '', recorded"),
        ("GET members_get", 200, with_value("merge_fields", {}), "merge_fields.FNAME: is missing"),
        ("GET members_get", 200, with_value("_links", []), "_links: 0 items, recorded 10"),
        ("GET members_get", 200, moved_to_the_end("status"), "the body: the keys come as"),
        ("GET members_get", 200, header("vary", None), "vary: None, recorded 'Accept-Encoding'"),
        ("GET members_get", 200, header("link", None), "link: no dashboard"),
        ("GET members_get", 200, header("content-type", "text/html"), "content-type: 'text/html', recorded"),
        ("DELETE members_delete", 405, header("allow", "GET"), "allow: 'GET', recorded 'GET, PUT'"),
        ("PUT members_put", 400, without("type"), "type: is missing"),
        ("PUT members_put", 400, with_value("type", "about:blank"), "type: 'about:blank' cannot stand for"),
        ("PUT members_put", 400, with_value("instance", "1"), "instance: '1' cannot stand for"),
        (
            "PUT members_put",
            400,
            with_value("detail", "No."),
            "detail: 'No.', recorded 'Your merge fields were invalid.'",
        ),
        ("PUT members_put", 400, with_value("errors", []), "errors: 0 items, recorded 1"),
        ("PUT members_put", 400, with_value("exception", "1"), "exception: is not on the tape: '1'"),
        ("POST members_post", 400, header("vary", "Cookie"), "vary: 'Cookie' is not on the tape"),
    ],
)
def test_what_is_different_is_noticed(call, status, change, noticed):
    tape = newest(call, status)
    heard = as_recorded(tape)
    assert not likeness.differences(tape, heard)

    change(heard)

    found = likeness.differences(tape, heard)
    assert any(difference.startswith(noticed) for difference in found), found


def test_another_status_is_noticed():
    tape = newest("GET members_get", 200)
    heard = as_recorded(tape)
    heard.status = 404

    assert likeness.differences(tape, heard)


def test_an_id_that_was_made_up_once_stays_what_it_is():
    tape, names = newest("GET members_get", 200), likeness.Names()
    first, second = as_recorded(tape), as_recorded(tape)
    first.body["unique_email_id"], second.body["unique_email_id"] = "0" * 10, "1" * 10

    assert not likeness.differences(tape, first, names)
    assert not likeness.differences(tape, first, names)
    assert likeness.differences(tape, second, names)


@pytest.mark.parametrize("other", likeness.OTHERWISE, ids=lambda other: other.place)
def test_nothing_is_compared_otherwise_without_a_recording_that_needs_it(other):
    assert any(
        other.covers(tape, place, value)
        for tape in tapes.library()
        for told in (tape.answer, tape.sent if tape.from_mailchimp else None)
        for place, value in places(told)
    )


def places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a body with the keys that lead to it; results of batches unfolded."""
    yield place, value
    if isinstance(value, dict):
        for key, inner in (playing.unfolded(value) if "response" in value else value).items():
            yield from places(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for inner in value:
            yield from places(inner, place)


def test_keys_that_are_gone_are_missing_from_a_newer_recording():
    for key, name in likeness.GONE.items():
        [newer] = [tape for tape in tapes.library() if tape.id == name]
        older = [tape for tape in tapes.library() if key in tape.body and tape.path == newer.path]

        assert newer.whole
        assert key not in newer.body
        assert older
        assert all(tape.age < newer.age for tape in older)


@pytest.mark.parametrize(
    ("passed", "failed", "told"),
    [
        (3, 0, "recordings: 3 of {all} played and the same, in this run"),
        (2, 1, "recordings: 2 of {all} played and the same, 1 NOT the same, in this run"),
    ],
)
def test_how_many_were_played_is_told(passed, failed, told):
    assert tapes.summary(passed=passed, failed=failed) == told.format(all=len(tapes.library()))
