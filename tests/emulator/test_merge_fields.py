"""What each type of merge field takes."""

import pytest

from .calling import LIST, world

ANN = "ann@inbox.example"
ADDRESS = {"addr1": "1 Example Street", "city": "Springfield", "state": "NS", "zip": "00000"}
FIELDS = [
    {"tag": "TEXT"},
    {"tag": "NUMBER", "type": "number"},
    {"tag": "DATE", "type": "date"},
    {"tag": "DAY", "type": "birthday"},
    {"tag": "ZIP", "type": "zip"},
    {"tag": "URL", "type": "url"},
    {"tag": "FREE", "type": "phone", "options": {"phone_format": "none"}},
    {"tag": "US", "type": "phone", "options": {"phone_format": "US"}},
    {"tag": "SIZE", "type": "dropdown", "options": {"choices": ["S", "M"]}},
    {"tag": "ADDRESS", "type": "address"},
]


@pytest.fixture
def member(emulator):
    return world(emulator, {"email_address": ANN}, merge_fields=FIELDS)


@pytest.mark.parametrize(
    ("tag", "sent", "stored"),
    [
        ("TEXT", "Zoë", "Zoë"),
        ("TEXT", 7, "7"),
        ("TEXT", "é" * 200, "é" * 127),  # cut at 255 bytes, never in the middle of a letter
        ("NUMBER", 15.5, 15.5),
        ("NUMBER", "100", 100),
        ("NUMBER", "", ""),
        ("DATE", "1980-12-21", "1980-12-21"),
        ("DATE", "1980/12/21", "1980-12-21"),
        ("DATE", "21-12-1980", "1980-12-21"),
        ("DATE", "12/21/1980", "1980-12-21"),
        ("DAY", "12/21", "12/21"),
        ("ZIP", "04101", "04101"),
        ("URL", "https://shop.example/x", "https://shop.example/x"),
        ("FREE", "000", "000"),
        ("FREE", "+5583999999999", "+5583999999999"),
        ("US", "404-555-1212", "404-555-1212"),
        ("SIZE", "M", "M"),
        ("ADDRESS", ADDRESS, {**ADDRESS, "addr2": "", "country": ""}),
        ("ADDRESS", "", ""),
    ],
)
def test_a_value_of_the_right_kind_is_stored_as_recorded(member, tag, sent, stored):
    heard = member.patch(ANN, merge_fields={tag: sent})

    assert heard.body["merge_fields"][tag] == stored


@pytest.mark.parametrize(
    ("tag", "sent", "message"),
    [
        ("NUMBER", "AAAAA", "Please enter a number"),
        ("DATE", "DecDec/MonMon/2019", "Please enter the date"),
        ("DATE", "2020-13-01", "Please enter the date"),
        ("DAY", "21/12", "Please enter a month (01-12) and a day (01-31)"),
        ("ZIP", "ABC", "Please enter a zip code (5 digits)"),
        ("URL", "shop", "Please enter a valid URL"),
        ("US", "+14045551212", "Please enter a valid phone number (###-###-####)"),
        ("US", "000", "Please enter a valid phone number (###-###-####)"),
        ("SIZE", "XL", "Value must be one of: S, M (not XL)"),
        ("ADDRESS", {"addr1": "1 Example Street"}, "Please enter a complete address"),
        ("ADDRESS", "1 Example Street", "Please enter a complete address"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_the_field_named(member, tag, sent, message):
    heard = member.patch(ANN, merge_fields={tag: sent})

    assert heard.body["detail"] == "Your merge fields were invalid."
    assert heard.body["errors"] == [{"field": tag, "message": message}]


@pytest.mark.parametrize(
    ("verb", "sent", "status"),
    [
        ("POST", {}, 400),
        ("POST", {"merge_fields": {"MUST": "x"}}, 200),
        ("PUT", {"merge_fields": {"FNAME": "Ann"}}, 400),
        ("PATCH", {"merge_fields": {"FNAME": "Ann"}}, 400),
        ("PATCH", {"status": "unsubscribed"}, 200),  # a write without merge fields is not asked for them
    ],
)
def test_a_required_field_must_have_a_value(emulator, verb, sent, status):
    shop = world(emulator, {"email_address": ANN}, merge_fields=[{"tag": "FNAME"}, {"tag": "MUST", "required": True}])
    address = "new@inbox.example" if verb == "POST" else ANN
    path = shop.members if verb == "POST" else f"{shop.members}/{ANN}"
    body = {"email_address": address, "status": "subscribed", **sent}

    heard = shop.ask(verb, path, body)
    lifted = shop.ask(verb, f"{path}?skip_merge_validation=true", body)

    assert heard.status == status
    if status == 400:
        assert heard.body["errors"] == [{"field": "MUST", "message": "Please enter a value"}]
        assert lifted.status == 200


def test_the_fields_are_listed_by_tag_ten_at_a_time(shop):
    path = f"/lists/{LIST}/merge-fields"

    body = shop.ask("GET", path).body
    one = shop.ask("GET", f"{path}/1").body

    assert [field["tag"] for field in body["merge_fields"]] == ["ADDRESS", "BIRTHDAY", "FNAME", "LNAME", "PHONE"]
    assert body["total_items"] == 5
    assert (one["tag"], one["options"], one["display_order"]) == ("FNAME", {"size": 25}, 2)
    assert len(shop.ask("GET", f"{path}?count=2&offset=1").body["merge_fields"]) == 2
    assert shop.ask("GET", f"{path}/99").status == 404
