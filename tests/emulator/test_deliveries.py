"""What webhooks are told, to whom, and how."""

import hashlib
import hmac
import json
import re

import pytest

from .calling import KEY, LIST, Caller, world
from .receiving import ALL_EVENTS, ALL_SOURCES, quiet, until

ANN, BOB = "ann@inbox.example", "bob@inbox.example"
FROM_API = {"user": False, "admin": False, "api": True}
ADDRESS = {"addr1": "1 High St", "addr2": "", "city": "Perth", "state": "WA", "zip": "6000", "country": "AU"}


@pytest.fixture
def told(emulator, receiver):
    """The forms that come out when something happens in a world of these members."""

    def happens(event, *members, only=None, **audience):
        shop = world(emulator, *members, webhooks=receiver.seeded(**(only or {})), **audience)
        event(shop)
        quiet(emulator)
        assert all(row["delivered"] for row in emulator.deliveries())
        return sorted((letter.form for letter in receiver.posts), key=lambda form: form["type"])

    return happens


def by_api(verb, **body):
    return lambda shop: shop.ask(verb, f"{shop.members}/{ANN}", body or None)


def by_event(event, **more):
    return lambda shop: shop.happens(ANN, event, **more)


def in_bulk(**member):
    return lambda shop: shop.bulk({"email_address": ANN, **member}, update_existing=True)


HERE = {"email_address": ANN}
GONE = {"email_address": ANN, "status": "unsubscribed", "unsubscribed_by": "admin"}
WAITS = {"email_address": ANN, "status": "pending"}
EVENTS = [
    # who is there, what happens, the door it comes through, what is told (with action or reason)
    (None, by_api("PUT", email_address=ANN, status_if_new="subscribed"), "api", ["subscribe"]),
    (None, in_bulk(status="subscribed"), "api", ["subscribe"]),
    (None, by_event("signup"), "user", ["subscribe"]),
    (None, by_api("PUT", email_address=ANN, status_if_new="pending"), "api", []),
    (None, by_api("PUT", email_address=ANN, status_if_new="unsubscribed"), "api", []),
    (WAITS, by_event("confirm"), "user", ["subscribe"]),
    (GONE, by_api("PATCH", status="subscribed"), "api", ["subscribe"]),
    (GONE, in_bulk(status="subscribed", merge_fields={"FNAME": "Ann"}), "api", ["subscribe"]),
    (GONE, by_event("signup", merge_fields={"FNAME": "Ann"}), "user", ["subscribe"]),
    (HERE, by_api("PATCH", status="unsubscribed"), "api", ["unsubscribe unsub manual"]),
    (HERE, in_bulk(status="unsubscribed"), "api", ["unsubscribe unsub manual"]),
    (HERE, by_event("unsubscribe"), "user", ["unsubscribe unsub manual"]),
    (HERE, by_event("unsubscribe_admin"), "admin", ["unsubscribe unsub manual"]),
    (HERE, by_event("complaint"), "user", ["unsubscribe unsub abuse"]),
    (HERE, by_api("DELETE"), "api", ["unsubscribe delete manual"]),
    (HERE, by_event("archive"), "admin", ["unsubscribe delete manual"]),
    (HERE, by_event("delete_permanent"), "admin", ["unsubscribe delete manual"]),
    (GONE, by_event("archive"), "admin", []),
    (HERE, by_event("hard_bounce"), "user", ["cleaned hard"]),
    (HERE, by_api("PATCH", status="cleaned"), "api", ["cleaned hard"]),
    (HERE, by_api("PATCH", merge_fields={"FNAME": "Ann"}), "api", ["profile"]),
    (HERE, in_bulk(status="subscribed", merge_fields={"FNAME": "Ann"}, tags=["vip"]), "api", ["profile"]),
    (HERE, by_event("profile", merge_fields={"FNAME": "Ann"}), "user", ["profile"]),
    (HERE, by_event("merge", merge_fields={"FNAME": "Ann"}), "admin", ["profile"]),
    (HERE, by_api("PATCH", vip=True), "api", ["profile"]),
    (HERE, by_event("address", new_email=BOB), "user", ["profile", "upemail"]),
    (HERE, by_api("PUT", email_address=BOB), "api", ["profile", "upemail"]),
    (HERE, by_api("PATCH", status="subscribed", merge_fields={"FNAME": ""}), "api", []),  # nothing changed
    (HERE, in_bulk(status="subscribed"), "api", []),
    (HERE, in_bulk(status="subscribed", tags=["vip"]), "api", []),
    (GONE, by_event("unsubscribe"), "user", []),  # they were not subscribed any more
    (HERE, by_api("PATCH", status="subscribed", merge_fields={"FNAME": 7, "LNAME": {}}), "api", []),  # refused
]


def told_of(form):
    return " ".join(form[key] for key in ("type", "data[action]", "data[reason]") if key in form)


@pytest.mark.parametrize(("who", "event", "source", "events"), EVENTS)
def test_what_happens_to_a_member_is_told(told, who, event, source, events):
    forms = told(event, *([who] if who else []), only={"sources": {source: True}})

    assert [told_of(form) for form in forms] == events


@pytest.mark.parametrize("source", ["user", "admin", "api"])
def test_only_what_comes_through_the_doors_a_webhook_watches_is_told(told, source):
    def all_three(shop):
        shop.happens(ANN, "profile", merge_fields={"FNAME": "by the user"})
        shop.happens(ANN, "merge", merge_fields={"FNAME": "by the admin"})
        shop.patch(ANN, merge_fields={"FNAME": "by the api"})

    forms = told(all_three, HERE, only={"sources": {source: True}})

    assert [form["data[merges][FNAME]"] for form in forms] == [f"by the {source}"]


def test_ones_own_writes_do_not_echo_when_the_api_is_no_source(told):
    def both(shop):
        shop.add(BOB)
        shop.patch(ANN, status="unsubscribed")
        shop.happens(BOB, "unsubscribe")

    forms = told(both, HERE, only={"sources": {"user": True, "admin": True, "api": False}})

    assert [(form["type"], form["data[email]"]) for form in forms] == [("unsubscribe", BOB)]


@pytest.mark.parametrize("wanted", ["upemail", "profile"])
def test_only_the_events_a_webhook_asked_for_are_told(told, wanted):
    forms = told(by_event("address", new_email=BOB), HERE, only={"events": {wanted: True}})

    assert [form["type"] for form in forms] == [wanted]


def test_a_bulk_call_is_told_member_by_member(told):
    people = [f"p{number}@inbox.example" for number in range(30)]

    forms = told(lambda shop: shop.bulk(*({"email_address": person, "status": "subscribed"} for person in people)))

    assert sorted(form["data[email]"] for form in forms) == sorted(people)


def test_the_operations_of_a_batch_are_told_as_calls_are(emulator, receiver):
    shop = world(emulator, HERE, webhooks=receiver.seeded(sources={"api": True}))
    sent = {"method": "PATCH", "path": f"{shop.members}/{ANN}", "body": json.dumps({"status": "unsubscribed"})}

    shop.ask("POST", "/batches", {"operations": [sent]})
    until(lambda: len(receiver.posts) == 1)

    assert told_of(receiver.posts[0].form) == "unsubscribe unsub manual"


def test_subscribe_and_profile_tell_the_person_in_strings(told):
    fields = [
        {"tag": tag, "type": kind} for tag, kind in {"FNAME": "text", "ADDRESS": "address", "LTV": "number"}.items()
    ]
    merges = {"FNAME": "Zoë & Co", "ADDRESS": ADDRESS, "LTV": 12.5}

    def joins(shop):
        shop.add(ANN, merge_fields=merges, ip_opt="203.0.113.7", ip_signup="203.0.113.8")

    [form] = told(joins, merge_fields=fields)

    assert list(form) == [
        "type",
        "fired_at",
        *(f"data[{name}]" for name in ("id", "email", "email_type", "ip_opt", "ip_signup", "web_id")),
        *(f"data[merges][{tag}]" for tag in ("EMAIL", "FNAME")),
        *(f"data[merges][ADDRESS][{part}]" for part in ADDRESS),
        "data[merges][LTV]",
        "data[list_id]",
    ]
    assert (form["type"], form["fired_at"], form["data[list_id]"]) == ("subscribe", "2026-03-01 12:00:00", LIST)
    assert (form["data[merges][FNAME]"], form["data[merges][LTV]"]) == ("Zoë & Co", "12.5")
    assert form["data[merges][ADDRESS][city]"] == "Perth"
    assert (form["data[ip_opt]"], form["data[ip_signup]"]) == ("203.0.113.7", "203.0.113.8")


def test_a_person_is_named_by_the_id_of_the_address_and_not_by_its_hash(emulator, receiver):
    shop = world(emulator, HERE, webhooks=receiver.seeded())
    member = shop.patch(ANN, merge_fields={"FNAME": "Ann"}).body
    quiet(emulator)

    [letter] = receiver.posts

    assert letter.form["data[id]"] == member["unique_email_id"] != member["id"]
    assert letter.form["data[web_id]"] == str(member["web_id"])


def test_fields_without_a_value_are_told_as_empty(told):
    [form] = told(by_event("unsubscribe"), HERE)

    assert form["data[merges][ADDRESS]"] == form["data[merges][PHONE]"] == ""
    assert "data[ip_opt]" not in form
    assert "data[campaign_id]" not in form


def test_interests_are_told_by_name_and_where_the_contact_is_described_by_group_too(told):
    interests = [
        {"id": "aa11bb22cd", "name": "Rings", "group": "Likes"},
        {"id": "bb22cc33de", "name": "Pearls", "group": "Likes"},
        {"id": "cc33dd44ef", "name": "Post", "group": "Reached by"},
    ]
    person = {**HERE, "interests": ["aa11bb22cd", "cc33dd44ef"]}

    def chooses_and_leaves(shop):
        shop.patch(ANN, interests={"bb22cc33de": True, "cc33dd44ef": False})
        shop.patch(ANN, status="unsubscribed")

    profile, unsubscribe = told(chooses_and_leaves, person, interests=interests)

    assert profile["data[merges][INTERESTS]"] == unsubscribe["data[merges][INTERESTS]"] == "Rings, Pearls"
    groupings = {name: value for name, value in profile.items() if "[GROUPINGS]" in name and "id]" not in name}
    assert groupings == {
        "data[merges][GROUPINGS][0][name]": "Likes",
        "data[merges][GROUPINGS][0][groups]": "Rings, Pearls",
        "data[merges][GROUPINGS][1][name]": "Reached by",
        "data[merges][GROUPINGS][1][groups]": "",
    }
    assert re.fullmatch("[0-9]{5}", profile["data[merges][GROUPINGS][0][id]"])
    assert re.fullmatch("[0-9a-f]{10}", profile["data[merges][GROUPINGS][0][unique_id]"])
    assert not any("GROUPINGS" in name for name in unsubscribe)


def test_a_new_address_is_told_with_the_old_one(told):
    profile, upemail = told(by_event("address", new_email=BOB), HERE)

    assert list(upemail) == [
        "type",
        "fired_at",
        *(f"data[{key}]" for key in ("new_id", "new_email", "old_email", "list_id")),
    ]
    assert (upemail["data[new_email]"], upemail["data[old_email]"]) == (BOB, ANN)
    assert (profile["data[email]"], profile["data[merges][EMAIL]"]) == (BOB, BOB)
    assert profile["data[id]"] == upemail["data[new_id]"]
    assert profile["fired_at"] == upemail["fired_at"]


def test_a_bounce_names_a_campaign(told):
    [form] = told(by_event("hard_bounce"), HERE)

    assert list(form) == [
        "type",
        "fired_at",
        *(f"data[{key}]" for key in ("campaign_id", "reason", "email", "list_id")),
    ]
    assert re.fullmatch("[0-9a-f]{10}", form["data[campaign_id]"])


def test_a_delivery_is_a_form_from_mailchimp(emulator, receiver):
    shop = world(emulator, HERE, webhooks=receiver.seeded())
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    [letter] = receiver.posts

    assert letter.path == "/hook?secret=s3"
    assert letter.headers["content-type"] == "application/x-www-form-urlencoded"
    assert letter.headers["user-agent"] == "MailChimp.com"
    assert letter.raw.startswith(
        b"type=unsubscribe&fired_at=2026-03-01+12%3A00%3A00&data%5Baction%5D=unsub&data%5Breason%5D=manual"
    )


def test_a_delivery_is_signed_over_its_bytes_with_the_secret_of_the_creation(emulator, shop, receiver):
    secret = receiver.added_to(shop)["signing_secret"]
    shop.add(ANN, merge_fields={"FNAME": "Ann é&="})
    quiet(emulator)

    [letter] = receiver.posts

    when, given = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", letter.headers["x-mailchimp-signature"]).groups()
    assert int(when) == 1_772_366_400  # noon of the emulator
    assert given == hmac.new(secret.encode(), f"{when}.".encode() + letter.raw, hashlib.sha256).hexdigest()


def test_a_webhook_from_before_there_were_signatures_is_not_signed(emulator, receiver):
    shop = world(emulator, HERE, webhooks=receiver.seeded(id="cccccccccc"))
    shop.happens(ANN, "unsubscribe")
    quiet(emulator)

    assert "x-mailchimp-signature" not in receiver.posts[0].headers
    assert shop.ask("GET", f"/lists/{LIST}/webhooks/cccccccccc").body["signing_enabled"] is False


def test_every_webhook_of_the_audience_is_told_and_none_of_another(emulator, receiver):
    there = receiver.url.partition("?")[0]
    hooks = [{"url": f"{there}/{name}", "events": ALL_EVENTS, "sources": ALL_SOURCES} for name in "ab"]
    elsewhere = [{"url": f"{there}/c", "events": ALL_EVENTS, "sources": ALL_SOURCES}]
    lists = [{"id": LIST, "webhooks": hooks}, {"id": "aaaaaaaaaa", "webhooks": elsewhere}]
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": lists}])

    Caller(emulator).add(ANN)
    quiet(emulator)

    assert sorted(letter.path for letter in receiver.posts) == ["/hook/a", "/hook/b"]
