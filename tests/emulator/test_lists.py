"""Audiences: which are listed, and making one."""

import pytest

from .calling import KEY, LIST, NOON, Caller

ANN = "ann@inbox.example"
CONTACT = {
    "company": "Acme",
    "address1": "1 Example Street",
    "city": "Springfield",
    "state": "NS",
    "zip": "00000",
    "country": "US",
}
NEW = {
    "name": "New list",
    "contact": CONTACT,
    "permission_reminder": "You asked for it.",
    "email_type_option": True,
    "campaign_defaults": {"from_name": "Acme", "from_email": "hello@acme.example", "subject": "", "language": "en"},
}


@pytest.fixture
def shop(emulator):
    """An account that may make audiences, with one."""
    members = [{"email_address": ANN}, {"email_address": "gone@inbox.example", "status": "archived"}]
    account = {"may_create": True, "users": [{"keys": [KEY]}], "lists": [{"id": LIST, "members": members}]}
    emulator.reset(accounts=[account], now=NOON)
    return Caller(emulator)


def test_a_plan_without_room_refuses_another_audience_in_the_recorded_words(emulator):
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}]}])

    heard = Caller(emulator).ask("POST", "/lists", {"name": "New list"})

    assert (heard.status, heard.title) == (403, "User action not permitted")
    assert heard.body["detail"] == "User does not have access to the requested operation"


def test_what_is_missing_from_a_new_audience_is_named_in_the_recorded_words(shop):
    heard = shop.ask("POST", "/lists", {"name": "New list", "contact": {"zip": 600}})

    assert (heard.status, heard.title) == (400, "Invalid Resource")
    assert heard.body["errors"] == [
        {
            "field": "",
            "message": "Required fields were not provided: permission_reminder, email_type_option, campaign_defaults",
        },
        {"field": "contact.zip", "message": "Schema describes string, integer found instead"},
    ]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"contact": {"zip": "600"}}, ("contact", "company, address1, city, state, country")),
        ({"campaign_defaults": {}}, ("campaign_defaults", "from_name, from_email, subject, language")),
    ],
)
def test_what_is_missing_further_in_is_named_with_its_place(shop, sent, error):
    [found] = shop.ask("POST", "/lists", {**NEW, **sent}).body["errors"]

    assert (found["field"], found["message"]) == (error[0], f"Required fields were not provided: {error[1]}")


def test_a_new_audience_is_told_like_any_other_and_can_be_used(shop):
    made = shop.ask("POST", "/lists", {**NEW, "double_optin": True})

    path = f"/lists/{made.body['id']}"
    assert made.status == 200
    assert list(made.body) == list(shop.ask("GET", f"/lists/{LIST}").body)
    assert made.body == shop.ask("GET", path).body
    assert (made.body["name"], made.body["double_optin"], made.body["date_created"]) == ("New list", True, NOON)
    assert made.body["contact"] == {**CONTACT, "address2": "", "phone": ""}
    assert made.body["email_type_option"] is True
    assert made.body["stats"]["merge_field_count"] == 5
    added = shop.ask("POST", f"{path}/members", {"email_address": ANN, "status": "subscribed"})
    assert added.body["list_id"] == made.body["id"]
    assert added.body["contact_id"] != shop.member(ANN).body["contact_id"]


def test_an_audience_made_with_marketing_permissions_has_some(shop):
    made = shop.ask("POST", "/lists", {**NEW, "marketing_permissions": True}).body

    added = shop.ask("POST", f"/lists/{made['id']}/members", {"email_address": ANN, "status": "subscribed"}).body

    assert made["marketing_permissions"] is True
    assert [item["enabled"] for item in added["marketing_permissions"]] == [False, False, False]


@pytest.mark.parametrize(("may_create", "most"), [(True, -1), (False, 2)])
def test_the_constraints_tell_whether_another_audience_may_be_made(emulator, may_create, most):
    emulator.reset(accounts=[{"may_create": may_create, "users": [{"keys": [KEY]}], "lists": [{}, {}]}])

    body = Caller(emulator).ask("GET", "/lists?count=1").body

    assert body["constraints"] == {"may_create": may_create, "max_instances": most, "current_total_instances": most}
    assert (len(body["lists"]), body["total_items"]) == (1, 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Audience 1", "New list"]),
        ("sort_field=date_created&sort_dir=DESC", ["New list", "Audience 1"]),
        ("sort_field=date_created", ["Audience 1", "New list"]),
        (f"since_date_created={NOON.replace('+', '%2B')}", ["New list"]),  # later than, not at
        (f"since_date_created={NOON}", []),  # an unescaped + reads as a space
        ("before_date_created=2026-03-01T12:00:01Z", ["Audience 1"]),
        (f"email={ANN.upper()}", ["Audience 1"]),
        ("email=gone@inbox.example", []),  # archived
        ("email=nobody@inbox.example", []),
        ("since_campaign_last_sent=2000-01-01T00:00:00Z", []),  # there are no campaigns
        ("before_campaign_last_sent=2100-01-01T00:00:00Z", []),
        ("has_ecommerce_store=true", []),
        ("has_ecommerce_store=false", ["Audience 1", "New list"]),
    ],
)
def test_audiences_are_listed_by_what_was_asked_for(emulator, shop, query, found):
    emulator.control("clock", {"now": "2026-03-02T12:00:00Z"})
    shop.ask("POST", "/lists", NEW)

    body = shop.ask("GET", f"/lists?{query}").body

    assert [item["name"] for item in body["lists"]] == found
    assert body["total_items"] == len(found)


@pytest.mark.parametrize("query", ["sort_field=name", "sort_dir=UP", "since_date_created=yesterday"])
def test_a_question_about_audiences_that_makes_no_sense_is_refused(shop, query):
    assert shop.ask("GET", f"/lists?{query}").status == 400


def test_all_contacts_are_counted_only_if_asked_for(shop):
    plain = shop.ask("GET", f"/lists/{LIST}").body["stats"]
    listed = shop.ask("GET", "/lists?include_total_contacts=true").body["lists"][0]["stats"]
    single = shop.ask("GET", f"/lists/{LIST}?include_total_contacts=1").body["stats"]

    assert "total_contacts" not in plain
    assert listed["total_contacts"] == single["total_contacts"] == 2
    assert list(listed)[:2] == ["member_count", "total_contacts"]
