"""Reading what webhooks were told, and telling it once more."""

import http.client
import json

import pytest

from mailchimp_emulator.serve import ControlError

from .calling import LIST, NOON, Caller, world
from .receiving import quiet

ANN = "ann@inbox.example"
HOOK = "cccccccccc"


@pytest.fixture
def shop(emulator, receiver) -> Caller:
    """An audience with ann, whose webhook signs."""
    return world(emulator, {"email_address": ANN}, webhooks=receiver.seeded(id=HOOK, signing_secret="hush"))


def test_a_past_delivery_is_sent_again_as_it_was(emulator, receiver, shop):
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    [row] = emulator.deliveries()
    emulator.control("clock", {"now": "2026-03-01T13:00:00Z"})

    for signature in ("same", "new"):
        emulator.control("redeliver", {"number": row["number"], "signature": signature})
        quiet(emulator)

    first, same, new = receiver.posts
    assert first.raw == same.raw == new.raw
    signed = [letter.headers["x-mailchimp-signature"] for letter in receiver.posts]
    assert signed[0] == signed[1] != signed[2]
    assert len({row["number"] for row in emulator.deliveries()}) == 3


def test_a_replay_that_fails_is_not_tried_again(emulator, receiver, shop):
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    receiver.answer = 500

    emulator.control("redeliver", {"number": 1})
    quiet(emulator)

    assert emulator.metrics()["waiting_deliveries"] == 0


def test_only_what_was_sent_can_be_sent_again(emulator, receiver, shop):
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)
    shop.ask("DELETE", f"/lists/{LIST}/webhooks/{HOOK}")

    said = []
    for number in (7, 1):
        with pytest.raises(ControlError) as refusal:
            emulator.control("redeliver", {"number": number})
        said.append(json.loads(str(refusal.value))["error"])

    assert said == [
        "redeliver.number: no delivery 7 was tried",
        "redeliver.number: its webhook is disabled or deleted",
    ]


def test_the_deliveries_are_told_row_by_row(emulator, receiver, shop):
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    [row] = emulator.deliveries()

    assert row == {
        "number": 1,
        "webhook_id": HOOK,
        "list_id": LIST,
        "url": receiver.url,
        "type": "unsubscribe",
        "email": ANN,
        "time": NOON,
        "attempt": 1,
        "status": 200,
        "error": "",
        "delivered": True,
        "body": receiver.posts[0].raw.decode(),
    }


def test_deliveries_come_in_lines_of_json(emulator):
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=20)
    connection.request("GET", "/_emulator/deliveries")
    reply = connection.getresponse()

    assert (reply.read(), reply.headers["content-type"]) == (b"", "application/x-ndjson")
    connection.close()
