"""Up to five hundred members in one call."""

import pytest

from .calling import LIST, world

ANN, BOB = "ann@inbox.example", "bob@inbox.example"
NEW = {"email_address": "new@inbox.example", "status_if_new": "subscribed"}


def test_new_updated_and_refused_members_are_told_apart(emulator):
    shop = world(emulator, {"email_address": ANN})

    body = shop.bulk(
        {"email_address": ANN, "status_if_new": "subscribed", "merge_fields": {"FNAME": "Ann"}},
        {"email_address": "foo@bar.com", "status_if_new": "subscribed"},
        NEW,
        {"email_address": "nonsense", "status": "subscribed"},
        update_existing=True,
    ).body

    assert list(body) == [
        *("new_members", "updated_members", "errors", "total_created", "total_updated", "error_count", "_links")
    ]
    assert [member["email_address"] for member in body["new_members"]] == ["new@inbox.example"]
    assert [member["merge_fields"]["FNAME"] for member in body["updated_members"]] == ["Ann"]
    assert [error["email_address"] for error in body["errors"]] == ["foo@bar.com", "nonsense"]
    assert body["errors"][1]["error"] == "Please provide a valid email address."
    assert (body["total_created"], body["total_updated"], body["error_count"]) == (1, 1, 2)


def test_somebody_who_is_there_is_not_touched_without_update_existing(emulator):
    shop = world(emulator, {"email_address": ANN})

    body = shop.bulk({"email_address": ANN, "status": "unsubscribed"}).body

    assert body["errors"][0]["error_code"] == "ERROR_CONTACT_EXISTS"
    assert body["errors"][0]["error"] == (
        f"{ANN} is already a list member, do you want to update?"
        " please provide update_existing:true in the request body"
    )
    assert shop.member(ANN).body["status"] == "subscribed"


@pytest.mark.parametrize(
    ("status", "by", "sent", "counted", "after"),
    [
        ("unsubscribed", "user", {"status_if_new": "subscribed"}, "updated", "unsubscribed"),
        ("archived", "", {"status_if_new": "subscribed"}, "updated", "archived"),
        ("cleaned", "", {"status_if_new": "subscribed"}, "updated", "cleaned"),
        ("subscribed", "", {"status": "unsubscribed"}, "updated", "unsubscribed"),
        ("unsubscribed", "admin", {"status": "subscribed"}, "updated", "subscribed"),
        ("unsubscribed", "user", {"status": "subscribed"}, "errors", "unsubscribed"),
        ("cleaned", "", {"status": "subscribed"}, "errors", "cleaned"),
        ("archived", "", {"status": "subscribed"}, "new", "subscribed"),
    ],
)
def test_status_overwrites_and_status_if_new_does_not(emulator, status, by, sent, counted, after):
    shop = world(emulator, {"email_address": ANN, "status": status, "unsubscribed_by": by})

    body = shop.bulk({"email_address": ANN, **sent}, update_existing=True).body

    counts = {"new": body["total_created"], "updated": body["total_updated"], "errors": body["error_count"]}
    assert {name for name, count in counts.items() if count} == {counted}
    assert shop.member(ANN).body["status"] == after


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ({"email_address": BOB}, "The resource submitted could not be validated"),
        ({**NEW, "id": "x"}, "The resource submitted could not be validated"),
        ({**NEW, "unique_email_id": "abc"}, "The resource submitted could not be validated"),
        ({**NEW, "email_address": "busy@inbox.example"}, "busy@inbox.example has signed up to a lot of lists"),
        ({**NEW, "merge_fields": []}, "The resource submitted could not be validated"),
        ({"status": "subscribed"}, "The resource submitted could not be validated"),
        ({**NEW, "interests": {"abc": True}}, "Invalid interest ID: 'abc'."),
        ({**NEW, "marketing_permissions": []}, "The resource submitted could not be validated"),
    ],
)
def test_one_bad_member_is_an_error_of_its_own(shop, member, says):
    body = shop.bulk(member, {"email_address": ANN, "status": "subscribed"}).body

    assert body["errors"][0]["error"].startswith(says)
    assert body["errors"][0]["error_code"] == "ERROR_GENERIC"
    assert body["total_created"] == 1


def test_a_missing_required_field_is_named_in_the_error(emulator):
    shop = world(emulator, merge_fields=[{"tag": "MUST", "required": True}])

    error = shop.bulk(NEW).body["errors"][0]

    assert (error["error"], error["field"]) == ("Your merge fields were invalid.", "MUST")
    assert error["field_message"] == "Please enter a value"
    assert shop.bulk(NEW, query="?skip_merge_validation=true").body["total_created"] == 1


def test_one_address_twice_refuses_the_whole_call_unless_told_otherwise(shop):
    twice = [{**NEW, "merge_fields": {"FNAME": name}} for name in ("First", "Second")]
    twice[1]["email_address"] = "NEW@inbox.example"

    refused = shop.bulk(*twice)
    taken = shop.bulk(*twice, query="?skip_duplicate_check=true").body

    assert refused.status == 400
    assert [member["merge_fields"]["FNAME"] for member in taken["new_members"]] == ["First"]


def test_more_than_five_hundred_are_refused(shop):
    members = [{"email_address": f"c{number}@inbox.example", "status": "subscribed"} for number in range(501)]

    assert shop.bulk(*members).status == 400
    assert shop.bulk(*members[:500]).body["total_created"] == 500


def test_tags_are_added_or_with_sync_tags_replaced(emulator):
    shop = world(emulator, {"email_address": ANN, "tags": ["a", "b"]})
    sent = {"email_address": ANN, "status_if_new": "subscribed", "tags": ["b", "c"]}

    added = shop.bulk(sent, update_existing=True).body["updated_members"][0]
    synced = shop.bulk(sent, update_existing=True, sync_tags=True).body["updated_members"][0]

    assert [tag["name"] for tag in added["tags"]] == ["c", "a", "b"]
    assert [tag["name"] for tag in synced["tags"]] == ["c", "b"]


def test_an_unknown_property_beside_the_members_is_ignored(shop):
    assert shop.bulk(NEW, language="de").body["total_created"] == 1


@pytest.mark.parametrize("members", [None, "x", [1], {}])
def test_members_of_the_wrong_shape_refuse_the_call(shop, members):
    heard = shop.ask("POST", f"/lists/{LIST}", {"members": members})

    assert (heard.status, heard.title) == (400, "Invalid Resource")


def test_what_is_null_counts_as_not_sent(emulator):
    shop = world(emulator, {"email_address": ANN, "interests": ["aa11bb22cd"]}, interests=["aa11bb22cd"])
    sent = {"email_address": ANN, "status": None, "status_if_new": "subscribed", "tags": None, "vip": None}
    sent |= {"location": {"latitude": None}}

    body = shop.bulk({**sent, "interests": {"aa11bb22cd": None}}, update_existing=True).body

    assert body["updated_members"][0]["interests"] == {"aa11bb22cd": True}
    assert emulator.log()[-1]["writes"] == 0
