"""The page at /: to watch, and to play the people of an audience."""

import http.client
from urllib.parse import urlencode

import pytest

from .calling import KEY, LIST, world

ANN = "ann@inbox.example"


class Visitor:
    def __init__(self, emulator):
        self.port = emulator.port

    def visit(self, path):
        return self._ask("GET", path)

    def press(self, action, headers=None, **fields):
        return self._ask("POST", action, urlencode(fields), headers or {})

    def _ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text


@pytest.fixture
def visitor(emulator):
    return Visitor(emulator)


def test_the_front_page_shows_audiences_keys_and_the_last_requests(emulator, visitor):
    shop = world(emulator, {"email_address": ANN}, name="Spring <news>")
    shop.member(ANN)

    status, text = visitor.visit("/")

    assert status == 200
    assert "Spring &lt;news&gt;" in text
    assert KEY in text
    assert f"GET {shop.members}/{ANN}" in text


def test_members_are_searched_and_paged(emulator, visitor):
    world(emulator, generate={"count": 60, "email": "c{}@inbox.example"})

    first = visitor.visit(f"/audiences/{LIST}")[1]
    second = visitor.visit(f"/audiences/{LIST}?page=2")[1]
    found = visitor.visit(f"/audiences/{LIST}?q=C59")[1]

    assert "c50@inbox.example" in first
    assert "c51@inbox.example" not in first
    assert "c51@inbox.example" in second
    assert "Next" in first
    assert "Next" not in second
    assert "c59@inbox.example" in found
    assert "c58@inbox.example" not in found


def test_members_are_shown_by_status(emulator, visitor):
    world(emulator, {"email_address": ANN, "status": "unsubscribed"}, {"email_address": "bea@inbox.example"})

    _, text = visitor.visit(f"/audiences/{LIST}?status=unsubscribed")

    assert ANN in text
    assert "bea@inbox.example" not in text
    assert "subscribed (1)" in text


def test_the_page_tells_who_changed_what(emulator, visitor):
    shop = world(emulator, {"email_address": ANN, "merge_fields": {"FNAME": "An"}})
    shop.patch(ANN, merge_fields={"FNAME": "Ann <3"})
    shop.happens(ANN, "unsubscribe")

    _, text = visitor.visit(f"/audiences/{LIST}")

    changes = text[text.index("Last changes") :]
    assert changes.index(">unsubscribed<") < changes.index("Ann &lt;3")
    assert ">unsubscribe<" in changes
    assert ">request 1<" in changes


@pytest.mark.parametrize(
    ("status", "event", "after"),
    [
        ("subscribed", "unsubscribe", "unsubscribed"),
        ("subscribed", "complaint", "unsubscribed"),
        ("subscribed", "hard_bounce", "cleaned"),
        ("subscribed", "archive", "archived"),
        ("pending", "confirm", "subscribed"),
        ("unsubscribed", "signup", "subscribed"),
    ],
)
def test_a_button_lets_the_person_act(emulator, visitor, status, event, after):
    shop = world(emulator, {"email_address": ANN, "status": status})
    assert f'value="{event}"' in visitor.visit(f"/audiences/{LIST}")[1]

    sent, _ = visitor.press(f"/audiences/{LIST}/event", email=ANN, event=event)

    assert sent == 303
    assert shop.member(ANN).body["status"] == after


def test_an_audience_is_deleted_by_a_button(emulator, visitor):
    shop = world(emulator)

    visitor.press(f"/audiences/{LIST}/delete")

    assert shop.ask("GET", f"/lists/{LIST}").status == 404
    assert visitor.visit(f"/audiences/{LIST}")[0] == 404


def test_a_form_of_another_site_is_refused(emulator, visitor):
    world(emulator)

    status, _ = visitor.press(f"/audiences/{LIST}/delete", headers={"Origin": "https://elsewhere.example"})

    assert status == 403
    assert visitor.visit(f"/audiences/{LIST}")[0] == 200


def test_an_impossible_event_is_explained(visitor):
    status, _ = visitor.press(f"/audiences/{LIST}/event", email=ANN, event="unsubscribe")
    text = visitor.visit(f"/audiences/{LIST}?said=Not+done.")[1]

    assert status == 303
    assert 'role="status">Not done.' in text
