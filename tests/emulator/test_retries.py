"""Deliveries that fail: tried again for 75 minutes of the emulator's clock, and then given up."""

import datetime
import inspect
import socket
import threading

import pytest

from mailchimp_emulator.background import Background
from mailchimp_emulator.deliveries import AT_ONCE

from .calling import KEY, LIST, NOON, Caller, world
from .receiving import quiet, until

ANN = "ann@inbox.example"
HOOK = "cccccccccc"
START = datetime.datetime.fromisoformat(NOON)


def reset(emulator, receiver, *people, seconds=10.0, **hook):
    audience = {"id": LIST, "members": list(people), "webhooks": receiver.seeded(id=HOOK, **hook)}
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": [audience]}], now=NOON, webhook_seconds=seconds)
    return Caller(emulator)


@pytest.fixture
def shop(emulator, receiver):
    """An audience with ann, whose webhook signs."""
    return reset(emulator, receiver, {"email_address": ANN}, signing_secret="hush")


def later(emulator, minutes):
    """Move the clock to so many minutes past noon, and let what is due happen."""
    emulator.control("clock", {"now": (START + datetime.timedelta(minutes=minutes)).isoformat()})
    quiet(emulator)


def attempts(emulator):
    """Minutes past noon, number and answer of each attempt."""
    rows = emulator.deliveries()
    minutes = [(datetime.datetime.fromisoformat(row["time"]) - START).total_seconds() / 60 for row in rows]
    return [(minute, row["attempt"], row["status"]) for minute, row in zip(minutes, rows, strict=True)]


def test_a_failed_delivery_is_tried_again_at_growing_intervals_until_it_arrives(emulator, receiver, shop):
    receiver.answer = 500
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    for minutes in (4, 5, 24, 25):
        later(emulator, minutes)
    receiver.answer = 204
    for minutes in (74, 75, 200):
        later(emulator, minutes)

    assert attempts(emulator) == [(0, 1, 500), (5, 2, 500), (25, 3, 500), (75, 4, 204)]
    assert [row["delivered"] for row in emulator.deliveries()] == [False, False, False, True]
    assert len({letter.raw for letter in receiver.posts}) == 1


def test_after_75_minutes_a_delivery_is_given_up_and_the_webhook_goes_on(emulator, receiver, shop):
    receiver.answer = 503
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    for minutes in (5, 25, 75):
        later(emulator, minutes)
    waiting = emulator.metrics()["waiting_deliveries"]

    later(emulator, 1000)
    receiver.answer = 200
    shop.happens(ANN, "signup")
    quiet(emulator)

    assert waiting == 0
    assert attempts(emulator)[-1] == (1000, 1, 200)
    assert len(receiver.posts) == 5


def test_a_retry_that_comes_after_the_75_minutes_is_the_last(emulator, receiver, shop):
    receiver.answer = 500
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    later(emulator, 80)
    later(emulator, 1000)

    assert attempts(emulator) == [(0, 1, 500), (80, 2, 500)]


def test_every_attempt_is_signed_with_the_moment_it_is_made(emulator, receiver, shop):
    receiver.answer = 500
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    later(emulator, 5)

    first, second = (letter.headers["x-mailchimp-signature"] for letter in receiver.posts)

    noon = int(START.timestamp())
    assert [first.split(",")[0], second.split(",")[0]] == [f"t={noon}", f"t={noon + 300}"]
    assert first.split(",")[1] != second.split(",")[1]


@pytest.mark.parametrize("status", [300, 302, 400, 401, 404, 409, 429, 500])
def test_anything_but_a_2xx_is_tried_again(emulator, receiver, shop, status):
    receiver.answer = status
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    [row] = emulator.deliveries()

    assert (row["status"], row["delivered"], row["error"]) == (status, False, "")
    assert emulator.metrics()["waiting_deliveries"] == 1


def test_410_disables_the_webhook_at_once(emulator, receiver, shop):
    receiver.answer = 500
    shop.happens(ANN, "profile", merge_fields={"FNAME": "Ann"})
    quiet(emulator)
    receiver.answer = 410
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    receiver.answer = 200

    shop.happens(ANN, "signup")
    later(emulator, 75)

    assert [row["status"] for row in emulator.deliveries()] == [500, 410]
    assert shop.ask("GET", f"/lists/{LIST}/webhooks/{HOOK}").status == 200
    metrics = emulator.metrics()
    assert (metrics["open_deliveries"], metrics["waiting_deliveries"]) == (0, 0)


def test_a_receiver_that_hangs_is_left_and_tried_again(emulator, receiver):
    shop = reset(emulator, receiver, {"email_address": ANN}, seconds=0.05)
    over = threading.Event()
    receiver.answer = lambda _letter: 200 if over.wait(10) else 500
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    over.set()
    receiver.answer = 200

    later(emulator, 5)

    hung, arrived = emulator.deliveries()
    assert (hung["status"], hung["error"], hung["delivered"]) == (None, "no answer within 0.05 seconds", False)
    assert (arrived["attempt"], arrived["delivered"]) == (2, True)


def test_a_receiver_that_is_not_there_yet_is_tried_again(emulator, receiver, shop):
    hooks = f"/lists/{LIST}/webhooks/{HOOK}"
    port = receiver.url.split(":")[2].split("/")[0]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"
    world(emulator, {"email_address": ANN}, webhooks=receiver.seeded(id=HOOK, url=nobody))
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    moved = shop.ask("PATCH", hooks, {"url": f"http://127.0.0.1:{port}/moved"})
    later(emulator, 5)

    assert moved.status == 200
    refused, arrived = emulator.deliveries()
    assert refused["error"]
    assert (refused["url"], arrived["url"]) == (nobody, f"http://127.0.0.1:{port}/moved")
    assert arrived["delivered"]


def test_a_webhook_outside_of_this_machine_is_never_called(emulator, receiver, watched):
    shop = reset(emulator, receiver, {"email_address": ANN}, url="https://hooks.example/mc")
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    [row] = emulator.deliveries()

    assert (row["status"], row["error"]) == (None, "hooks.example cannot be reached")
    assert watched() == []


def test_one_webhook_is_told_a_few_things_at_a_time(emulator, receiver, shop):
    let_go = threading.Event()
    receiver.answer = lambda _letter: 200 if let_go.wait(10) else 500
    people = [{"email_address": f"p{number}@inbox.example", "status": "subscribed"} for number in range(3 * AT_ONCE)]

    heard = shop.bulk(*people)
    until(lambda: len(receiver.posts) == AT_ONCE)
    open_meanwhile = emulator.metrics()["open_deliveries"]
    at_once = len(receiver.posts)
    let_go.set()
    quiet(emulator)

    assert heard.body["total_created"] == open_meanwhile == len(people)
    assert at_once == AT_ONCE
    assert len(receiver.posts) == len(people)


def test_a_webhook_that_hangs_does_not_hold_up_another(emulator, receiver):
    over = threading.Event()
    receiver.answer = lambda letter: 200 if letter.path == "/well" or over.wait(10) else 500
    there = receiver.url.partition("/hook")[0]
    hooks = [*receiver.seeded(), *receiver.seeded(url=f"{there}/well")]
    shop = world(emulator, webhooks=hooks)

    people = [{"email_address": f"p{number}@inbox.example", "status": "subscribed"} for number in range(2 * AT_ONCE)]
    shop.bulk(*people)
    until(lambda: sum(row["delivered"] for row in emulator.deliveries()) == len(people))
    over.set()
    quiet(emulator)

    assert len(receiver.posts) == 2 * len(people)


@pytest.mark.parametrize("end", ["reset", "delete the webhook", "delete the audience"])
def test_what_waits_for_its_retry_ends_with_the_world_the_webhook_and_the_audience(emulator, receiver, shop, end):
    receiver.answer = 500
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    if end == "reset":
        world(emulator)
    elif end == "delete the webhook":
        assert shop.ask("DELETE", f"/lists/{LIST}/webhooks/{HOOK}").status == 204
    else:
        emulator.control("list_event", {"list_id": LIST, "event": "delete"})
    later(emulator, 5)

    assert len(receiver.posts) == 1
    assert emulator.metrics()["waiting_deliveries"] == 0


def test_what_was_under_way_when_its_webhook_was_deleted_is_not_tried_again(emulator, receiver, shop):
    over = threading.Event()
    receiver.answer = lambda _letter: 500 if over.wait(10) else 200
    shop.happens(ANN, "unsubscribe")
    until(lambda: len(receiver.posts) == 1)

    shop.ask("DELETE", f"/lists/{LIST}/webhooks/{HOOK}")
    over.set()
    quiet(emulator)
    later(emulator, 5)

    assert attempts(emulator) == [(0, 1, 500)]


def test_a_write_that_ends_after_a_reset_tells_nobody(emulator, receiver, shop):
    emulator.control("latency", [{"method": "PATCH", "base_ms": 100}])
    writing = threading.Thread(target=lambda: shop.patch(ANN, status="unsubscribed"))
    writing.start()
    until(lambda: emulator.metrics()["open_requests"] == 1)

    world(emulator, webhooks=receiver.seeded())
    writing.join(10)
    shop.add("bob@inbox.example")
    quiet(emulator)

    assert receiver.types == ["subscribe"]


def test_nothing_begins_in_a_world_that_has_ended():
    begun = []

    async def work():
        begun.append("work")

    background = Background()
    background.stop()
    coroutine = work()
    background.start(coroutine)

    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert begun == []
