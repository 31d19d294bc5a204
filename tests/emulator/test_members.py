"""Adding, updating, renaming and tagging one member."""

import hashlib

import pytest

from .calling import LIST, NOON, world

ANN, BOB = "ann@inbox.example", "bob@inbox.example"
LATER = "2026-03-01T13:00:00+00:00"
KEYS = [
    *("id", "email_address", "unique_email_id", "contact_id", "full_name", "web_id", "email_type", "status"),
    *("consents_to_one_to_one_messaging", "sms_phone_number", "sms_subscription_status"),
    *("sms_subscription_last_updated", "merge_fields", "stats", "ip_signup", "timestamp_signup", "ip_opt"),
    *("timestamp_opt", "member_rating", "last_changed", "language", "vip", "email_client", "location", "source"),
    *("tags_count", "tags", "list_id", "_links"),
]


def test_a_new_member_has_every_field_in_the_recorded_order(shop):
    body = shop.add(ANN, merge_fields={"FNAME": "Ann", "LNAME": "Lee"}).body

    assert list(body) == KEYS
    assert body["id"] == hashlib.md5(ANN.encode()).hexdigest()
    assert body["full_name"] == "Ann Lee"
    assert body["merge_fields"] == {"FNAME": "Ann", "LNAME": "Lee", "ADDRESS": "", "PHONE": "", "BIRTHDAY": ""}
    assert (body["timestamp_opt"], body["timestamp_signup"], body["last_changed"]) == (NOON, "", NOON)
    assert [link["rel"] for link in body["_links"]][:3] == ["self", "parent", "update"]


def test_the_headers_are_the_recorded_ones(shop):
    added = shop.add(ANN)
    refused = shop.add(ANN)

    assert added.headers["content-type"] == "application/json; charset=utf-8"
    assert added.headers["link"].startswith(
        '<https://us14.api.mailchimp.com/schema/3.0/Lists/Members/Instance.json>; rel="describedBy", <https://us14.admin'
    )
    assert added.headers["date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    assert refused.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert refused.body["instance"] == refused.headers["x-request-id"]


def test_a_member_is_found_by_hash_in_any_case_by_address_and_by_contact_id(shop):
    body = shop.add(ANN).body

    for key in (body["id"], body["id"].upper(), ANN, ANN.upper(), body["contact_id"]):
        assert shop.member(key).body["web_id"] == body["web_id"]
    assert shop.member("0" * 32).status == 404


def test_addresses_that_differ_in_case_are_one_member(shop):
    shop.add(ANN)

    assert shop.add("Ann@Inbox.example").title == "Member Exists"


def test_an_update_keeps_what_it_does_not_name_and_clears_what_is_empty(shop):
    shop.add(ANN, merge_fields={"FNAME": "Ann", "LNAME": "Lee", "PHONE": "123"})

    body = shop.put(ANN, merge_fields={"LNAME": "Law", "PHONE": "", "NOPE": "x"}).body

    assert body["merge_fields"] == {"FNAME": "Ann", "LNAME": "Law", "ADDRESS": "", "PHONE": "", "BIRTHDAY": ""}


def test_a_write_that_changes_nothing_does_not_move_last_changed(emulator, shop):
    shop.add(ANN, merge_fields={"FNAME": "Ann"})
    emulator.control("clock", {"now": LATER})

    same = shop.put(ANN, status="subscribed", merge_fields={"FNAME": "Ann"})
    other = shop.put(ANN, merge_fields={"FNAME": "Anna"})

    assert same.body["last_changed"] == NOON
    assert other.body["last_changed"] == LATER
    assert [row["writes"] for row in emulator.log()] == [1, 0, 1]


def test_a_refused_write_changes_nothing(emulator):
    shop = world(emulator, {"email_address": ANN}, merge_fields=[{"tag": "FNAME"}, {"tag": "AGE", "type": "number"}])

    heard = shop.put(ANN, status="unsubscribed", merge_fields={"FNAME": "Ann", "AGE": "old"})

    assert heard.body["errors"] == [{"field": "AGE", "message": "Please enter a number"}]
    assert shop.member(ANN).body["status"] == "subscribed"
    assert emulator.audit() == []


@pytest.mark.parametrize("verb", ["PUT", "PATCH"])
def test_another_free_address_renames_the_member(emulator, verb):
    shop = world(emulator, {"email_address": ANN, "tags": ["vip"], "merge_fields": {"FNAME": "Ann"}})
    before = shop.member(ANN).body
    emulator.control("clock", {"now": LATER})

    after = shop.ask(verb, f"{shop.members}/{before['id']}", {"email_address": BOB}).body

    for key in ("web_id", "contact_id", "tags", "merge_fields", "timestamp_opt"):
        assert after[key] == before[key]
    for key in ("id", "unique_email_id", "last_changed"):
        assert after[key] != before[key]
    assert shop.member(ANN).status == 404


def test_a_rename_onto_somebody_else_is_refused_in_the_words_of_the_verb(emulator):
    shop = world(emulator, {"email_address": ANN}, {"email_address": BOB})

    put, patch = shop.put(ANN, email_address=BOB), shop.patch(ANN, email_address=BOB)

    assert put.body["errors"] == [
        {"field": "email address", "message": f'"{BOB}" is already in this list with a status of "subscribed".'}
    ]
    assert patch.title == "Member Exists"
    assert "type" not in patch.body


def test_a_rename_cannot_carry_off_somebody_who_left(emulator):
    shop = world(emulator, {"email_address": ANN, "status": "unsubscribed", "unsubscribed_by": "user"})

    assert shop.patch(ANN, email_address=BOB).title == "Member In Compliance State"


def test_put_to_an_unknown_hash_takes_the_address_of_the_body(shop):
    body = shop.put("0" * 32, email_address=ANN, status_if_new="subscribed").body

    assert body["email_address"] == ANN
    assert shop.put("1" * 32, email_address=ANN, status_if_new="subscribed").title == "Member Exists"


def test_put_of_a_new_address_without_any_status_is_refused(shop):
    assert shop.put(ANN, email_address=ANN).body["errors"][0]["message"].endswith("status_if_new")


def test_patch_never_creates(shop):
    assert shop.patch(ANN, status="subscribed").status == 404


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("AAAAA", "Please provide a valid email address."),
        ("name@", "Please provide a valid email address."),
        ("a@b@inbox.example", "Please provide a valid email address."),
        ("ann@inbox.example.", "Please provide a valid email address."),
        ("a,b@inbox.example", "Please provide a valid email address."),
        (" ann@inbox.example", "Please provide a valid email address."),
        ("änn@inbox.example", "Please provide a valid email address."),
        (f"{'a' * 300}@inbox.example", "Please provide a valid email address."),
        ("foo@example.com", "looks fake or invalid, please enter a real email address."),
        ("foo@bar.com", "looks fake or invalid, please enter a real email address."),
        ("TEST@test.com", "looks fake or invalid, please enter a real email address."),
        ("sample@email.tst", "looks fake or invalid, please enter a real email address."),
        ("busy@inbox.example", "we're not allowing more signups for now"),
    ],
)
def test_bad_fake_and_throttled_addresses_are_refused(shop, address, says):
    heard = shop.add(address)

    assert (heard.status, heard.title) == (400, "Invalid Resource")
    assert heard.body["detail"].endswith(says)


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        (None, [("", "Schema describes object, NULL found instead")]),
        ([], [("", "Schema describes object, array found instead")]),
        (
            {"email_address": None, "status": "subscribed"},
            [
                ("", "Required fields were not provided: email_address"),
                ("email_address", "Schema describes string, NULL found instead"),
            ],
        ),
        (
            {"email_address": ANN, "status": "subscribed", "merge_fields": []},
            [("merge_fields", "Schema describes object, array found instead")],
        ),
        (
            {"email_address": ANN, "status": "subscribed", "merge_fields": {"FNAME": None, "LNAME": True}},
            [
                ("merge_fields.FNAME", "Data did not match any of the schemas described in anyOf."),
                ("merge_fields.LNAME", "Data did not match any of the schemas described in anyOf."),
            ],
        ),
        (
            {"email_address": 7, "status": "subscribed"},
            [("email_address", "Schema describes string, integer found instead")],
        ),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_field_by_field(shop, sent, errors):
    heard = shop.ask("POST", shop.members, sent)

    assert heard.status == 400
    assert [(error["field"], error["message"]) for error in heard.body["errors"]] == errors


def test_archived_cannot_be_written(shop):
    assert shop.add(ANN, "archived").status == 400


def test_tags_are_added_and_removed_only_by_name(emulator, shop):
    shop.add(ANN, tags=["old"])
    emulator.control("clock", {"now": LATER})
    path = f"{shop.members}/{ANN}/tags"

    first = shop.ask("POST", path, {"tags": [{"name": "new", "status": "active"}], "is_syncing": True})
    nothing = shop.ask("POST", path, {"tags": [{"name": "absent", "status": "inactive"}]})

    body = shop.member(ANN).body
    assert (first.status, nothing.status, first.body) == (204, 204, None)
    assert [tag["name"] for tag in body["tags"]] == ["new", "old"]
    assert (body["tags_count"], body["last_changed"]) == (2, LATER)
    assert shop.ask("GET", path).body["tags"][0]["date_added"] == LATER


def test_an_empty_or_idle_tag_call_does_not_move_last_changed(emulator, shop):
    shop.add(ANN, tags=["vip"])
    emulator.control("clock", {"now": LATER})

    shop.ask("POST", f"{shop.members}/{ANN}/tags", {"tags": []})
    shop.ask("POST", f"{shop.members}/{ANN}/tags", {"tags": [{"name": "vip", "status": "active"}]})

    assert shop.member(ANN).body["last_changed"] == NOON


def test_of_several_words_about_one_tag_the_last_counts(shop):
    shop.add(ANN, tags=["held"])
    words = [("held", "inactive"), ("held", "active"), ("absent", "active"), ("absent", "inactive")]

    shop.ask("POST", f"{shop.members}/{ANN}/tags", {"tags": [{"name": name, "status": word} for name, word in words]})

    assert [tag["name"] for tag in shop.member(ANN).body["tags"]] == ["held"]


def test_tags_of_an_unknown_member_are_404(shop):
    assert shop.ask("POST", f"{shop.members}/{ANN}/tags", {"tags": []}).status == 404


def test_marketing_permissions_show_only_where_the_audience_asks_for_them(emulator, shop):
    assert "marketing_permissions" not in shop.add(ANN).body
    shop = world(emulator, {"email_address": ANN}, marketing_permissions=[{"id": "86c096bc01", "text": "Email"}])

    body = shop.patch(ANN, marketing_permissions=[{"marketing_permission_id": "86c096bc01", "enabled": True}]).body

    assert body["marketing_permissions"] == [
        {"marketing_permission_id": "86c096bc01", "text": "Email", "enabled": True}
    ]
    assert shop.ask("GET", f"/lists/{LIST}").body["marketing_permissions"] is True


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH"])
def test_marketing_permissions_are_a_list_of_known_ids(emulator, verb):
    shop = world(emulator, {"email_address": ANN}, marketing_permissions=[{"id": "86c096bc01", "text": "Email"}])
    path = shop.members if verb == "POST" else f"{shop.members}/{ANN}"
    person = {"email_address": BOB if verb == "POST" else ANN, "status": "subscribed"}
    permission = {"marketing_permission_id": "0000000000", "enabled": True}

    unknown = shop.ask(verb, path, {**person, "marketing_permissions": [permission]})
    no_list = shop.ask(verb, path, {**person, "marketing_permissions": permission})
    nothing = shop.ask(verb, path, {**person, "marketing_permissions": []})

    assert (unknown.status, unknown.body["detail"]) == (400, "Invalid marketing permission ID: '0000000000'.")
    assert no_list.body["errors"] == [
        {"field": "marketing_permissions", "message": "Schema describes array, object found instead"}  # as taped
    ]
    assert nothing.status == 200


def test_a_permission_once_given_stays_until_it_is_taken_back(emulator):
    permissions = [{"id": "86c096bc01", "text": "Email"}, {"id": "97d1a7cd12", "text": "Post"}]
    shop = world(emulator, {"email_address": ANN}, marketing_permissions=permissions)

    def write(key, enabled):
        sent = [{"marketing_permission_id": key, "enabled": enabled}]
        body = shop.put(ANN, marketing_permissions=sent).body
        return [item["enabled"] for item in body["marketing_permissions"]]

    assert write("97d1a7cd12", True) == [False, True]
    assert write("86c096bc01", True) == [True, True]
    assert write("97d1a7cd12", False) == [True, False]


def test_interests_are_told_between_merge_fields_and_stats_where_the_audience_has_any(emulator):
    shop = world(emulator, interests=["aa11bb22cd", "bb22cc33de"])

    added = shop.add(ANN, interests={"bb22cc33de": True}).body
    changed = shop.patch(ANN, interests={"aa11bb22cd": True}).body
    taken_back = shop.put(ANN, interests={"bb22cc33de": False}).body

    place = KEYS.index("stats")
    assert list(added) == [*KEYS[:place], "interests", *KEYS[place:]]
    assert added["interests"] == {"aa11bb22cd": False, "bb22cc33de": True}
    assert changed["interests"] == {"aa11bb22cd": True, "bb22cc33de": True}
    assert taken_back["interests"] == {"aa11bb22cd": True, "bb22cc33de": False}


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH"])
def test_an_unknown_interest_refuses_the_whole_write(emulator, shop, verb):
    shop.add(ANN)
    path = shop.members if verb == "POST" else f"{shop.members}/{ANN}"
    body = {"email_address": BOB if verb == "POST" else ANN, "status": "subscribed", "merge_fields": {"FNAME": "A"}}

    heard = shop.ask(verb, path, {**body, "interests": {"abc": True}})
    empty = shop.ask(verb, path, {**body, "interests": {}})

    assert (heard.status, heard.body["detail"]) == (400, "Invalid interest ID: 'abc'.")
    assert [row["writes"] for row in emulator.log()] == [1, 0, 1]
    assert empty.status == 200


def test_the_place_of_a_member_is_kept(shop):
    added = shop.add(ANN, location={"latitude": 52.5, "longitude": "13.25"}).body
    changed = shop.patch(ANN, location={"latitude": -1}).body

    assert [added["location"][name] for name in ("latitude", "longitude", "timezone")] == [52.5, 13.25, ""]
    assert [changed["location"][name] for name in ("latitude", "longitude")] == [-1, 13.25]


@pytest.mark.parametrize(
    ("name", "sent", "taken"),
    [
        ("timestamp_opt", "2020-01-02 03:04:05", True),
        ("timestamp_opt", "2020-01-02T03:04:05Z", True),
        ("timestamp_signup", "2020-01-02T05:04:05+02:00", True),
        ("timestamp_signup", "", True),
        ("timestamp_opt", "2020-01-02", False),
        ("timestamp_opt", "2020-01-02T03:04:05", False),  # neither of the two documented forms
        ("timestamp_opt", "2020-01-02T03:04:05.000Z", False),
        ("timestamp_opt", "2020-02-30 03:04:05", False),
        ("ip_opt", "2001:db8::1", True),
        ("ip_signup", "300.1.2.3", False),
        ("location", {"latitude": "north"}, False),
        ("location", [1, 2], False),
        ("interests", {"abc": "yes"}, False),
        ("tags", [""], False),
        ("vip", "true", False),
    ],
)
def test_a_field_of_a_member_has_its_own_form(shop, name, sent, taken):
    heard = shop.add(ANN, **{name: sent})

    assert heard.status == (200 if taken else 400)
    if name.startswith("timestamp") and sent and taken:
        assert heard.body[name] == "2020-01-02T03:04:05+00:00"
    if not taken:
        assert heard.body["errors"][0]["field"].startswith(name)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, ""),
        ({"tags": {}}, "tags"),
        ({"tags": ["vip"]}, "tags.item:0"),
        ({"tags": [{"name": "vip"}]}, "tags.item:0.status"),
        ({"tags": [{"name": " ", "status": "active"}]}, "tags.item:0.name"),
        ({"tags": [{"name": "vip", "status": "on"}]}, "tags.item:0.status"),
        ({"tags": [], "is_syncing": "yes"}, "is_syncing"),
    ],
)
def test_a_tag_call_of_the_wrong_shape_is_refused(shop, sent, field):
    shop.add(ANN)

    heard = shop.ask("POST", f"{shop.members}/{ANN}/tags", sent)

    assert (heard.status, heard.body["errors"][0]["field"]) == (400, field)
    assert shop.member(ANN).body["tags_count"] == 0
