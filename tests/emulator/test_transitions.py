"""Who may become what. A line per rule of Mailchimp's; the last word of a line is its reason."""

import pytest

from mailchimp_emulator.serve import ControlError

from .calling import NOON, Caller, world

ANN = "ann@inbox.example"
OK, COMPLIANCE, EXISTS = "ok", "Member In Compliance State", "Member Exists"

BEGINNINGS = {
    "subscribed": {"status": "subscribed"},
    "pending": {"status": "pending"},
    "transactional": {"status": "transactional"},
    "left by the merchant": {"status": "unsubscribed", "unsubscribed_by": "admin"},
    "left themselves": {"status": "unsubscribed", "unsubscribed_by": "user"},
    "under review": {"status": "unsubscribed", "unsubscribed_by": "user", "compliance": True},
    "bounced": {"status": "cleaned"},
    "archived": {"status": "archived"},
    "archived after leaving": {"status": "archived", "unsubscribed_by": "user"},
    "pending after leaving": {"status": "pending", "unsubscribed_by": "user"},
}

WRITES = [
    # who, verb, what is sent, answer, status afterwards
    ("subscribed", "PATCH", {"status": "unsubscribed"}, OK, "unsubscribed"),
    ("subscribed", "PUT", {"status_if_new": "unsubscribed"}, OK, "subscribed"),  # status_if_new is for the new
    ("subscribed", "POST", {"status": "subscribed"}, EXISTS, "subscribed"),
    ("left by the merchant", "PUT", {"status": "subscribed"}, OK, "subscribed"),  # nobody said no
    ("left by the merchant", "PATCH", {"status": "subscribed"}, OK, "subscribed"),
    ("left by the merchant", "PUT", {"status_if_new": "subscribed"}, OK, "unsubscribed"),
    ("left by the merchant", "POST", {"status": "subscribed"}, EXISTS, "unsubscribed"),
    ("left themselves", "PUT", {"status": "subscribed"}, COMPLIANCE, "unsubscribed"),
    ("left themselves", "PATCH", {"status": "subscribed"}, COMPLIANCE, "unsubscribed"),
    ("left themselves", "POST", {"status": "subscribed"}, COMPLIANCE, "unsubscribed"),
    ("left themselves", "PUT", {"status_if_new": "subscribed"}, OK, "unsubscribed"),
    ("left themselves", "PATCH", {"status": "pending"}, OK, "pending"),  # a confirmation mail asks them
    ("left themselves", "PATCH", {"merge_fields": {"FNAME": "Ann"}}, OK, "unsubscribed"),
    ("pending after leaving", "PATCH", {"status": "subscribed"}, COMPLIANCE, "pending"),  # only their click
    ("pending", "PATCH", {"status": "unsubscribed"}, OK, "unsubscribed"),
    ("under review", "PATCH", {"status": "subscribed"}, COMPLIANCE, "unsubscribed"),
    ("under review", "PATCH", {"status": "pending"}, COMPLIANCE, "unsubscribed"),
    ("bounced", "PUT", {"status": "subscribed"}, COMPLIANCE, "cleaned"),
    ("bounced", "PATCH", {"status": "pending"}, COMPLIANCE, "cleaned"),
    ("bounced", "POST", {"status": "subscribed"}, COMPLIANCE, "cleaned"),
    ("transactional", "PATCH", {"status": "subscribed"}, OK, "subscribed"),
    ("archived", "PUT", {"status_if_new": "subscribed"}, OK, "archived"),  # 200 is not a sign-up
    ("archived", "PUT", {"status": "subscribed"}, OK, "subscribed"),
    ("archived", "PATCH", {"status": "subscribed"}, OK, "subscribed"),
    ("archived", "POST", {"status": "subscribed"}, OK, "subscribed"),
    ("archived after leaving", "POST", {"status": "subscribed"}, COMPLIANCE, "archived"),
    ("archived after leaving", "PATCH", {"status": "subscribed"}, COMPLIANCE, "archived"),
]


@pytest.mark.parametrize(("who", "verb", "sent", "answer", "after"), WRITES)
def test_a_write_changes_a_status_only_where_mailchimp_would(emulator, who, verb, sent, answer, after):
    shop = world(emulator, {"email_address": ANN, **BEGINNINGS[who]})
    path = shop.members if verb == "POST" else f"{shop.members}/{ANN}"

    heard = shop.ask(verb, path, {"email_address": ANN, **sent})

    assert (OK if heard.status == 200 else heard.title) == answer
    assert shop.member(ANN).body["status"] == after


@pytest.mark.parametrize("verb", ["POST", "PUT"])
@pytest.mark.parametrize("status", ["subscribed", "unsubscribed", "pending", "transactional", "cleaned"])
def test_a_new_address_gets_the_status_asked_for(shop, verb, status):
    path = shop.members if verb == "POST" else f"{shop.members}/{ANN}"

    heard = shop.ask(verb, path, {"email_address": ANN, "status": status})

    assert (heard.status, heard.body["status"]) == (200, status)


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("subscribed", 204),
        ("transactional", 204),
        ("left themselves", 204),
        ("left by the merchant", 204),
        ("archived", 405),
        ("bounced", 405),
        ("pending", 405),
    ],
)
def test_archiving_is_refused_to_the_bounced_the_pending_and_the_archived(emulator, who, status):
    shop = world(emulator, {"email_address": ANN, "tags": ["vip"], **BEGINNINGS[who]})

    heard = shop.ask("DELETE", f"{shop.members}/{ANN}")

    assert heard.status == status
    after = shop.member(ANN).body
    assert after["tags_count"] == 1
    if status == 204:
        assert after["status"] == "archived"
    else:
        assert heard.headers["allow"] == "GET, PUT"


def test_archiving_does_not_wash_off_that_somebody_left(emulator):
    shop = world(emulator, {"email_address": ANN})
    shop.happens(ANN, "unsubscribe")
    shop.ask("DELETE", f"{shop.members}/{ANN}")

    heard = shop.add(ANN)

    assert heard.title == COMPLIANCE


def test_a_resubscribe_by_the_merchant_after_a_bounce_is_refused_however_it_is_dressed(emulator):
    shop = world(emulator, {"email_address": ANN})
    shop.happens(ANN, "hard_bounce")
    shop.patch(ANN, status="unsubscribed")

    heard = shop.patch(ANN, status="subscribed")

    assert heard.title == COMPLIANCE


def test_a_permanently_deleted_address_returns_only_by_its_own_signup(emulator):
    shop = world(emulator, {"email_address": ANN})
    assert shop.ask("POST", f"{shop.members}/{ANN}/actions/delete-permanent").status == 204
    assert shop.member(ANN).status == 404

    refused = [shop.add(ANN, status).title for status in ("subscribed", "pending", "unsubscribed")]
    shop.happens(ANN, "signup")

    assert refused == ["Forgotten Email Not Subscribed"] * 3
    assert shop.member(ANN).body["status"] == "subscribed"


def test_only_the_click_brings_back_who_left_and_was_asked_to_confirm(emulator):
    shop = world(emulator, {"email_address": ANN})
    shop.happens(ANN, "unsubscribe")
    shop.patch(ANN, status="pending")
    shop.patch(ANN, status="pending")

    shop.happens(ANN, "confirm")

    assert shop.member(ANN).body["status"] == "subscribed"
    assert list(emulator.metrics()["confirmation_mails"].values()) == [1]


def test_a_signup_on_a_double_opt_in_audience_waits_for_the_click(emulator):
    shop = world(emulator, double_optin=True)

    shop.happens(ANN, "signup")
    before = shop.member(ANN).body
    shop.happens(ANN, "confirm")

    assert (before["status"], before["timestamp_opt"]) == ("pending", "")
    assert shop.member(ANN).body["status"] == "subscribed"


def test_the_api_skips_double_opt_in_when_it_asks_for_subscribed(emulator):
    shop = world(emulator, double_optin=True)

    assert shop.add(ANN).body["status"] == "subscribed"


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        ("unsubscribe", "unsubscribed", "None given"),
        ("complaint", "unsubscribed", "Abuse complaint"),
        ("unsubscribe_admin", "unsubscribed", "N/A (Unsubscribed by admin)"),
        ("hard_bounce", "cleaned", None),
        ("archive", "archived", None),
    ],
)
def test_the_people_of_an_audience_leave_in_their_own_ways(emulator, event, status, reason):
    shop = world(emulator, {"email_address": ANN})

    shop.happens(ANN, event)

    member = shop.member(ANN).body
    assert (member["status"], member.get("unsubscribe_reason")) == (status, reason)
    assert emulator.audit()[-1]["request"] == f"member_event {event}"


def test_the_person_changes_profile_and_address(emulator):
    shop = world(emulator, {"email_address": ANN})

    shop.happens(ANN, "profile", merge_fields={"FNAME": "Anna"})
    shop.happens(ANN, "address", new_email="anna@post.example")

    assert shop.member(ANN).status == 404
    assert shop.member("anna@post.example").body["full_name"] == "Anna"


def test_resubscribing_keeps_the_first_opt_in_but_adding_again_after_archiving_renews_it(emulator):
    early = "2020-01-01T00:00:00+00:00"
    shop = world(
        emulator,
        {"email_address": ANN, "status": "archived", "timestamp_opt": early},
        {"email_address": "bob@inbox.example", "status": "archived", "timestamp_opt": early},
    )

    added = shop.add(ANN).body
    patched = Caller(emulator).patch("bob@inbox.example", status="subscribed").body

    assert added["timestamp_opt"] > early
    assert patched["timestamp_opt"] == early


def test_an_archived_member_added_as_pending_has_no_new_opt_in_before_the_click(emulator):
    early = "2020-01-01T00:00:00+00:00"
    shop = world(
        emulator, {"email_address": ANN, "status": "archived", "timestamp_opt": early, "ip_opt": "203.0.113.1"}
    )

    added = shop.add(ANN, "pending").body
    shop.happens(ANN, "confirm")

    assert (added["status"], added["timestamp_opt"], added["ip_opt"]) == ("pending", early, "203.0.113.1")
    assert shop.member(ANN).body["timestamp_opt"] > early


def test_adding_again_brings_the_tags_along(emulator):
    shop = world(emulator, {"email_address": ANN, "status": "archived", "tags": ["old"]})

    added = shop.add(ANN, tags=["new"]).body

    assert [tag["name"] for tag in added["tags"]] == ["new", "old"]


def test_adding_again_asks_for_required_fields_like_any_addition(emulator):
    must = [{"tag": "MUST", "required": True}]
    shop = world(emulator, {"email_address": ANN, "status": "archived"}, merge_fields=must)

    refused = [shop.add(ANN).body["detail"], shop.bulk({"email_address": ANN, "status": "subscribed"}).body["errors"]]
    added = shop.add(ANN, merge_fields={"MUST": "x"})

    assert refused[0] == refused[1][0]["error"] == "Your merge fields were invalid."
    assert added.status == 200


@pytest.mark.parametrize("event", ["unsubscribe", "complaint", "hard_bounce"])
def test_what_happens_twice_changes_nothing_the_second_time(emulator, event):
    shop = world(emulator, {"email_address": ANN})
    shop.happens(ANN, event)
    emulator.control("clock", {"now": "2026-03-02T00:00:00Z"})

    shop.happens(ANN, event)

    assert shop.member(ANN).body["last_changed"] == NOON


def test_after_their_own_signup_an_address_is_forgotten_no_more(emulator):
    shop = world(emulator, forgotten=[ANN])
    shop.happens(ANN, "signup")
    shop.happens(ANN, "address", new_email="anna@inbox.example")

    assert shop.add(ANN).status == 200


def test_a_person_cannot_move_to_a_permanently_deleted_address(emulator):
    shop = world(emulator, {"email_address": ANN}, forgotten=["gone@inbox.example"])

    with pytest.raises(ControlError, match="was permanently deleted"):
        shop.happens(ANN, "address", new_email="gone@inbox.example")

    assert shop.member(ANN).status == 200
