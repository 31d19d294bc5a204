"""Webhooks of an audience through the API, and the URL that has to answer first."""

import socket
import threading

import pytest

from mailchimp_emulator.hooks import EVENTS

from .calling import KEY, LIST, Caller, world
from .receiving import ALL_EVENTS, ALL_SOURCES, until

HOOKS = f"/lists/{LIST}/webhooks"
INVALID = "Invalid URL"
TWICE = "Sorry, you can't set up multiple WebHooks for one URL"


def refusals(heard):
    assert (heard.status, heard.title) == (400, "Invalid Resource")
    return [(error["field"], error["message"]) for error in heard.body["errors"]]


def test_a_webhook_is_made_read_changed_and_deleted(shop, receiver):
    made = receiver.added_to(shop, events={"subscribe": True, "upemail": True}, sources={"user": True, "api": False})
    path = f"{HOOKS}/{made['id']}"

    read = shop.ask("GET", path).body
    listed = shop.ask("GET", HOOKS).body
    changed = shop.ask("PATCH", path, {"events": {"upemail": False, "profile": True}, "sources": {"admin": True}}).body
    deleted = shop.ask("DELETE", path)

    assert list(read["events"]) == list(EVENTS)
    assert [name for name, on in read["events"].items() if on] == ["subscribe", "upemail"]
    assert read["sources"] == {"user": True, "admin": False, "api": False}
    assert (read["url"], read["list_id"], len(read["id"])) == (receiver.url, LIST, 10)
    assert (listed["webhooks"], listed["total_items"], listed["list_id"]) == ([read], 1, LIST)
    assert [name for name, on in changed["events"].items() if on] == ["subscribe", "profile"]
    assert changed["sources"] == {"user": True, "admin": True, "api": False}
    assert deleted.status == 204
    assert shop.ask("GET", path).title == "Resource Not Found"
    assert shop.ask("GET", HOOKS).body["webhooks"] == []


def test_the_secret_is_shown_once(shop, receiver):
    made = receiver.added_to(shop)
    path = f"{HOOKS}/{made['id']}"

    later = [shop.ask("GET", path).body, shop.ask("PATCH", path, {}).body, *shop.ask("GET", HOOKS).body["webhooks"]]

    assert made["signing_enabled"] is True
    assert len(made["signing_secret"]) >= 32
    assert [body["signing_enabled"] for body in later] == [True] * 3
    assert not any("signing_secret" in body for body in later)


def test_every_webhook_has_its_own_secret(shop, receiver):
    first = receiver.added_to(shop)
    second = receiver.added_to(shop, url=receiver.url.replace("/hook", "/other"))

    assert first["signing_secret"] != second["signing_secret"]
    assert first["id"] != second["id"]


def test_the_reply_links_to_what_can_be_done_with_a_webhook(shop, receiver):
    made = receiver.added_to(shop)

    assert list(made)[-1] == "_links"
    assert [link["rel"] for link in made["_links"]] == ["self", "parent", "update", "delete"]
    assert made["_links"][0]["href"] == f"https://us14.api.mailchimp.com/3.0{HOOKS}/{made['id']}"
    assert [link["rel"] for link in shop.ask("GET", HOOKS).body["_links"]] == ["self", "create", "parent"]


def test_a_listing_has_ten_webhooks_unless_told_otherwise(emulator, receiver):
    webhooks = [{"url": f"{receiver.url}{number}"} for number in range(12)]
    shop = world(emulator, webhooks=webhooks)

    ten = shop.ask("GET", HOOKS).body
    rest = shop.ask("GET", f"{HOOKS}?count=100&offset=10&fields=webhooks.url,total_items").body

    assert (len(ten["webhooks"]), ten["total_items"]) == (10, 12)
    assert rest == {"webhooks": webhooks[10:], "total_items": 12}


def test_the_url_is_asked_with_a_plain_get_before_it_counts(shop, receiver):
    receiver.added_to(shop)

    [asked] = receiver.letters
    assert (asked.method, asked.path, asked.raw) == ("GET", "/hook?secret=s3", b"")
    assert asked.headers["user-agent"] == "MailChimp.com WebHook Validator"
    assert "x-mailchimp-signature" not in asked.headers


@pytest.mark.parametrize("status", [204, 301, 302, 400, 403, 404, 405, 500])
def test_a_url_that_does_not_answer_200_is_refused_with_its_answer(shop, receiver, status):
    receiver.answer = status

    heard = shop.ask("POST", HOOKS, {"url": receiver.url, "events": ALL_EVENTS, "sources": ALL_SOURCES})

    message = f"We couldn't verify the URL is working. Please double check and try again. HTTP Code: {status}"
    assert refusals(heard) == [("url", message)]
    assert shop.ask("GET", HOOKS).body["total_items"] == 0


def test_a_url_where_nobody_listens_is_invalid(shop):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"

    heard = shop.ask("POST", HOOKS, {"url": url})

    assert refusals(heard) == [("url", INVALID)]


def test_a_url_that_takes_too_long_is_invalid_and_holds_nobody_else_up(emulator, receiver):
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": [{"id": LIST}]}], webhook_seconds=0.2)
    shop, answered = Caller(emulator), threading.Event()
    receiver.answer = lambda _letter: 200 if answered.wait(10) else 500
    heard = []
    asking = threading.Thread(target=lambda: heard.append(shop.ask("POST", HOOKS, {"url": receiver.url})))
    asking.start()
    until(lambda: len(receiver.letters) == 1)

    meanwhile = shop.ask("GET", "/ping")
    asking.join(10)
    answered.set()

    assert meanwhile.status == 200
    assert refusals(heard[0]) == [("url", INVALID)]


@pytest.mark.parametrize("change", [{}, {"url": "?secret=other"}, {"url": ""}, {"url": "?secret=s3#top"}])
def test_a_url_is_taken_once_whatever_its_query(shop, receiver, change):
    receiver.added_to(shop)
    base = receiver.url.partition("?")[0]
    url = base + change["url"] if change else receiver.url

    heard = shop.ask("POST", HOOKS, {"url": url, "events": ALL_EVENTS})

    assert refusals(heard) == [("url", TWICE)]


def test_two_callers_who_bring_the_same_url_at_once_get_it_once(shop, receiver):
    both = threading.Barrier(2)
    receiver.answer = lambda _letter: 200 if both.wait(10) >= 0 else 500
    heard = []
    askers = [
        threading.Thread(target=lambda: heard.append(shop.ask("POST", HOOKS, {"url": receiver.url}))) for _ in "ab"
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(10)

    assert sorted(reply.status for reply in heard) == [200, 400]
    assert shop.ask("GET", HOOKS).body["total_items"] == 1


def test_an_audience_deleted_while_the_url_is_asked_has_no_webhook(emulator, shop, receiver):
    def deletes(_letter):
        emulator.control("list_event", {"list_id": LIST, "event": "delete"})
        return 200

    receiver.answer = deletes

    assert shop.ask("POST", HOOKS, {"url": receiver.url}).title == "Resource Not Found"


def test_a_webhook_deleted_while_its_new_url_is_asked_stays_deleted(shop, receiver):
    path = f"{HOOKS}/{receiver.added_to(shop)['id']}"
    receiver.answer = lambda _letter: 200 if shop.ask("DELETE", path).status == 204 else 500

    heard = shop.ask("PATCH", path, {"url": receiver.url.replace("/hook", "/moved")})

    assert heard.title == "Resource Not Found"
    assert shop.ask("GET", HOOKS).body["webhooks"] == []


def test_another_audience_may_have_the_same_url(emulator, receiver):
    lists = [{"id": LIST, "webhooks": receiver.seeded()}, {"id": "aaaaaaaaaa"}]
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": lists}])

    heard = Caller(emulator).ask("POST", "/lists/aaaaaaaaaa/webhooks", {"url": receiver.url})

    assert heard.status == 200


def test_a_changed_url_is_asked_again_and_an_unchanged_one_is_not(shop, receiver):
    made = receiver.added_to(shop)
    path = f"{HOOKS}/{made['id']}"
    receiver.letters.clear()

    same = shop.ask("PATCH", path, {"url": receiver.url})
    asked_for_same = len(receiver.letters)
    moved = shop.ask("PATCH", path, {"url": receiver.url.replace("/hook", "/moved")})
    receiver.answer = 403
    refused = shop.ask("PATCH", path, {"url": receiver.url.replace("/hook", "/closed"), "events": {"profile": False}})

    assert (same.status, asked_for_same) == (200, 0)
    assert moved.body["url"].endswith("/moved?secret=s3")
    assert "HTTP Code: 403" in refusals(refused)[0][1]
    assert shop.ask("GET", path).body == moved.body


UNLISTED = f"Data presented is not one of the accepted values: {', '.join(EVENTS)}."
MISSHAPEN = [
    ([], "", "Schema describes object, array found instead"),
    ({"url": 7}, "url", "Schema describes string, integer found instead"),
    ({"url": None}, "url", "Schema describes string, NULL found instead"),
    ({}, "", "Required fields were not provided: url"),
    ({"url": "x", "events": []}, "events", "Schema describes object, array found instead"),
    ({"url": "x", "sources": "all"}, "sources", "Schema describes object, string found instead"),
    ({"url": "x", "events": {"profile": "yes"}}, "events.profile", "Schema describes boolean, string found instead"),
    ({"url": "x", "sources": {"api": 1}}, "sources.api", "Schema describes boolean, integer found instead"),
    ({"url": "x", "events": {"subcribe": True}}, "events.subcribe", UNLISTED),
]


@pytest.mark.parametrize(("body", "field", "message"), MISSHAPEN)
def test_a_body_of_the_wrong_shape_is_refused_field_by_field(shop, body, field, message):
    heard = shop.ask("POST", HOOKS, body)

    assert refusals(heard) == [(field, message)]


def test_the_webhooks_of_others_are_not_found(emulator, receiver):
    other = {"dc": "us15", "users": [{"keys": ["b" * 32 + "-us15"]}], "lists": [{"id": "bbbbbbbbbb"}]}
    mine = {"users": [{"keys": [KEY]}], "lists": [{"id": LIST, "webhooks": receiver.seeded(id="cccccccccc")}]}
    emulator.reset(accounts=[mine, other])
    stranger = Caller(emulator, "b" * 32 + "-us15", "us15")

    paths = (HOOKS, f"{HOOKS}/cccccccccc", "/lists/bbbbbbbbbb/webhooks/cccccccccc")

    assert [stranger.ask("GET", path).status for path in paths] == [404] * 3


OUTSIDE = [
    "http://192.0.2.1/hook",
    "https://hooks.example/hook",
    "http://localhost.example/hook",
    "http://127.0.0.1@hooks.example/hook",
    "http://hooks.example:80@192.0.2.1/hook",
    "http://0.0.0.0:{port}/hook",
    "http://127.1:{port}/hook",
    "http://2130706433:{port}/hook",
    "http://0x7f000001:{port}/hook",
    "http://[::ffff:127.0.0.1]:{port}/hook",
    "http://localhost.:{port}/hook",
    "ftp://127.0.0.1:{port}/hook",
    "file:///etc/hosts",
    "//127.0.0.1:{port}/hook",
    "http://",
    "http://127.0.0.1:{port}/a hook",
    "http://127.0.0.1:99999/hook",
    "http://[::1/hook",
    "hook",
    "",
]


@pytest.mark.parametrize("url", OUTSIDE)
def test_a_url_outside_of_this_machine_is_refused_without_a_connection(shop, receiver, watched, url):
    url = url.format(port=receiver.url.split(":")[2].split("/")[0])

    heard = shop.ask("POST", HOOKS, {"url": url, "events": ALL_EVENTS, "sources": ALL_SOURCES})

    assert refusals(heard) == [("url", INVALID)]
    assert watched() == []
    assert receiver.letters == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_a_url_of_this_machine_is_asked_there_and_nowhere_else(shop, receiver, watched, host):
    made = receiver.added_to(shop, url=receiver.url.replace("127.0.0.1", host))

    assert {entry[1][0] for entry in watched()} <= {"127.0.0.1", "::1"}
    assert watched()
    assert made["url"].startswith(f"http://{host}:")


def test_a_redirect_leads_nowhere(shop, receiver, watched):
    receiver.answer = 302

    heard = shop.ask("POST", HOOKS, {"url": receiver.url})

    assert "HTTP Code: 302" in refusals(heard)[0][1]
    assert {entry[1][0] for entry in watched()} == {"127.0.0.1"}


def test_webhooks_are_told_in_the_form_they_are_seeded_from(emulator, shop, receiver):
    made = receiver.added_to(shop)

    [told] = emulator.webhooks(LIST)
    world(emulator, webhooks=[told])

    assert told["signing_secret"] == made["signing_secret"]
    assert emulator.webhooks(LIST) == [told]
