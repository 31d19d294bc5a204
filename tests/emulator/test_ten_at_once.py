"""Ten requests at once per user, counted exactly whatever becomes of them."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from .calling import KEY, LIST, until, world
from .line import Line, at_rest, request

MEMBERS = f"/lists/{LIST}/members"
OTHER_KEY = "f" * 32 + "-us14"
FAULTS = [
    ("429", "before"),
    ("403", "after"),
    ("500", "before"),
    ("500", "after"),
    ("502", "after"),
    ("503", "before"),
    ("reset", "before"),
    ("reset", "after"),
    ("hang", "before"),
    ("hang", "after"),
    ("truncate", "after"),
    ("malformed", "after"),
]


def half(number: int) -> tuple[bytes, bytes]:
    """A request that adds somebody, in two pieces. The first is enough to be counted."""
    body = json.dumps({"email_address": f"c{number}@inbox.example", "status": "subscribed"}).encode()
    sent = request("POST", MEMBERS, body, "Connection: close")
    return sent[:-5], sent[-5:]


def begin_ten(emulator, lines: ExitStack) -> list[Line]:
    """Ten connections, each with half a request."""
    ten = [lines.enter_context(Line(emulator)) for _ in range(10)]
    for number, line in enumerate(ten):
        line.send(half(number)[0])
    until(lambda: emulator.metrics()["open_requests"] == 10)
    return ten


def end_ten(emulator, ten: list[Line]) -> None:
    """The other half of each, and what comes of it."""
    for number, line in enumerate(ten):
        line.send(half(number)[1])
    for line in ten:
        line.drain()
    until(lambda: at_rest(emulator))


@pytest.mark.parametrize(("kind", "when"), FAULTS)
def test_after_every_kind_of_fault_there_is_room_for_ten_again(emulator, shop, kind, when):
    emulator.control("faults", [{"kind": kind, "when": when, "method": "POST", "seconds": 0.05, "times": 10}])

    with ExitStack() as lines:
        end_ten(emulator, begin_ten(emulator, lines))
        struck = [row["fault"] for row in emulator.log()]
        ten = begin_ten(emulator, lines)
        eleventh = shop.ask("GET", "/ping")
        end_ten(emulator, ten)

    assert struck == [kind] * 10
    assert (eleventh.status, eleventh.title) == (429, "Too Many Requests")
    assert emulator.metrics()["highest_concurrency"] == 11
    assert shop.ask("GET", "/ping").status == 200
    assert len(emulator.members(LIST)) == 10


@pytest.mark.parametrize("hang_up", [Line.close, Line.cut])
@pytest.mark.parametrize(("kind", "when"), [fault for fault in FAULTS if not fault[0].isdigit()])
def test_who_hangs_up_before_a_fault_strikes_is_counted_until_it_has(emulator, shop, kind, when, hang_up):
    emulator.control("latency", [{"method": "POST", "base_ms": 60}])
    emulator.control("faults", [{"kind": kind, "when": when, "method": "POST", "seconds": 0.06}])

    with ExitStack() as lines:
        ten = begin_ten(emulator, lines)
        for number, line in enumerate(ten):
            line.send(half(number)[1])
        until(lambda: all(row["body"] for row in emulator.log()))
        for line in ten:
            hang_up(line)
    until(lambda: at_rest(emulator))

    assert emulator.metrics()["highest_concurrency"] == 10
    assert [row["fault"] for row in emulator.log()] == [kind] * 10
    assert shop.ask("GET", "/ping").status == 200


def test_a_reset_of_the_world_does_not_mix_up_the_counts(emulator):
    with ExitStack() as lines:
        ten = begin_ten(emulator, lines)
        world(emulator)
        before = emulator.metrics()["open_requests"]
        end_ten(emulator, ten)
        begin_ten(emulator, lines)

    until(lambda: at_rest(emulator))
    assert before == 0
    assert emulator.members(LIST) == []  # they wrote into the world they came to


def test_refused_requests_count_too_while_they_are_open(emulator, shop):
    with ExitStack() as lines:
        ten = begin_ten(emulator, lines)
        eleventh, twelfth = (lines.enter_context(Line(emulator)) for _ in range(2))
        eleventh.send(half(11)[0])
        until(lambda: emulator.metrics()["open_requests"] == 11)
        ten.pop().send(half(9)[1])
        until(lambda: emulator.metrics()["open_requests"] == 10)
        twelfth.send(half(12)[0] + half(12)[1])
        [refused] = twelfth.hear()

    assert refused.status == 429


def test_strangers_and_other_users_do_not_take_a_users_places(emulator):
    users = [{"name": "ann", "keys": [KEY]}, {"name": "bob", "keys": [OTHER_KEY]}]
    emulator.reset(accounts=[{"dc": "us14", "users": users, "lists": [{"id": LIST}]}])
    sent, rest = half(0)

    with ExitStack() as lines:
        for key in [OTHER_KEY] * 10 + ["0" * 32 + "-us14"] * 5:
            lines.enter_context(Line(emulator)).send(sent.replace(KEY.encode(), key.encode()))
        until(lambda: emulator.metrics()["open_requests"] == 15)
        ann = lines.enter_context(Line(emulator))
        ann.send(sent + rest)
        [heard] = ann.hear()

    assert heard.status == 200
    until(lambda: at_rest(emulator))
