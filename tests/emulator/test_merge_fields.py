"""Merge fields: what each type takes, and how they are made, changed and deleted."""

import pytest

from .calling import LIST, NOON, world

ANN = "ann@inbox.example"
ACCEPTED = (
    "Data presented is not one of the accepted values: text, number, address, phone, date, url, imageurl, radio,"
    " dropdown, birthday, zip."
)
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
        ("NUMBER", "1_000", "Please enter a number"),
        ("NUMBER", "٣", "Please enter a number"),
        ("NUMBER", "1e999", "Please enter a number"),
        ("NUMBER", ADDRESS, "Please enter a number"),
        ("DATE", "DecDec/MonMon/2019", "Please enter the date"),
        ("DATE", "2020-13-01", "Please enter the date"),
        ("DATE", "2021-02-29", "Please enter the date"),
        ("DATE", "1980-12-21T00:00:00+00:00", "Please enter the date"),
        ("DAY", "21/12", "Please enter a month (01-12) and a day (01-31)"),
        ("DAY", "1980-12-21", "Please enter a month (01-12) and a day (01-31)"),  # as taped
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


FIELDS_PATH = f"/lists/{LIST}/merge-fields"
KEYS = [
    *("merge_id", "tag", "name", "type", "required", "default_value", "public", "display_order", "options"),
    *("help_text", "list_id", "_links"),
]


def make(shop, **field):
    return shop.ask("POST", FIELDS_PATH, {"name": "Shoe size", "type": "text", **field})


def test_a_field_is_made_with_every_key_in_the_recorded_order(shop):
    body = make(shop, tag="SHOE", required=True, help_text="In cm").body

    assert list(body) == [*KEYS, "merge_field_limit", "total_items"]
    assert (body["merge_id"], body["tag"], body["name"], body["type"]) == (6, "SHOE", "Shoe size", "text")
    assert (body["required"], body["default_value"], body["public"], body["help_text"]) == (True, "", True, "In cm")
    assert (body["display_order"], body["options"], body["list_id"]) == (7, {"size": 25}, LIST)
    assert (body["merge_field_limit"], body["total_items"]) == (30, 6)
    assert [link["rel"] for link in body["_links"]] == ["self", "parent", "update", "delete"]


def test_a_made_field_is_there_at_once(shop):
    shop.add(ANN)

    made = make(shop, tag="SHOE").body

    assert shop.ask("GET", f"{FIELDS_PATH}/6").body == {key: made[key] for key in KEYS}
    assert shop.ask("GET", f"/lists/{LIST}").body["stats"]["merge_field_count"] == 6
    assert shop.member(ANN).body["merge_fields"]["SHOE"] == ""
    assert shop.patch(ANN, merge_fields={"SHOE": "38"}).body["merge_fields"]["SHOE"] == "38"


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ("REQUIRED_MERGE", "REQUIRED_M"),  # as seen by others
        ("shoe-size!", "SHOESIZE"),
        ("", "MMERGE6"),
        ("Größe", "GRSSE"),
        ("---", "MMERGE6"),
        (None, "MMERGE6"),
    ],
)
def test_a_tag_is_cut_to_ten_capitals_digits_and_underscores(shop, sent, made):
    assert make(shop, **({} if sent is None else {"tag": sent})).body["tag"] == made


@pytest.mark.parametrize("tag", ["FNAME", "fname", "EMAIL", "UNSUB"])
def test_a_tag_that_is_taken_or_reserved_is_refused(shop, tag):
    heard = make(shop, tag=tag)

    assert (heard.status, heard.title) == (400, "Invalid Resource")
    assert heard.body["detail"] == f'A Merge Field with the tag "{tag.upper()}" already exists for this list.'


@pytest.mark.parametrize(
    ("kind", "options", "made"),
    [
        ("text", {}, {"size": 25}),
        ("text", {"size": 40}, {"size": 40}),
        ("number", {"size": 40}, {}),
        ("date", {}, {"date_format": "MM/DD/YYYY"}),
        ("date", {"date_format": "DD/MM/YYYY"}, {"date_format": "DD/MM/YYYY"}),
        ("date", {"date_format": "YYYY-MM-DD"}, {"date_format": "MM/DD/YYYY"}),
        ("birthday", {"date_format": "DD/MM"}, {"date_format": "DD/MM"}),
        ("phone", {}, {"phone_format": "US"}),
        ("phone", {"phone_format": "International"}, {"phone_format": "none"}),
        ("address", {}, {"default_country": 164}),
        ("radio", {"choices": ["", "S"]}, {"choices": ["", "S"]}),
    ],
)
def test_a_field_has_the_options_of_its_type(shop, kind, options, made):
    assert make(shop, type=kind, options=options).body["options"] == made


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({}, [("", "Required fields were not provided: name, type")]),
        ({"name": "x", "type": "colour"}, [("type", ACCEPTED)]),
        ({"name": " ", "type": "text"}, [("name", "Please enter a value")]),
        (
            {"name": 7, "type": "text", "required": "yes", "display_order": "1"},
            [
                ("name", "Schema describes string, integer found instead"),
                ("required", "Schema describes boolean, string found instead"),
                ("display_order", "Schema describes integer, string found instead"),
            ],
        ),
        (
            {"name": "x", "type": "radio", "options": {"choices": "S"}},
            [("options.choices", "Schema describes array, string found instead")],
        ),
        ({"name": "x", "type": "radio"}, [("options.choices", "Please enter at least one choice.")]),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused(shop, sent, errors):
    heard = shop.ask("POST", FIELDS_PATH, sent)

    assert heard.status == 400
    assert [(error["field"], error["message"]) for error in heard.body["errors"]] == errors


def test_more_fields_than_the_plan_allows_are_refused(emulator):
    shop = world(emulator, merge_fields=[{"tag": "FNAME"}], merge_field_limit=2)

    first, second = make(shop), make(shop)

    assert (first.body["merge_field_limit"], first.body["total_items"]) == (2, 2)
    assert (second.status, second.title) == (400, "Merge Max Limit Exceeded")


def test_a_field_with_another_tag_keeps_what_members_have_in_it(emulator):
    shop = world(emulator, {"email_address": ANN, "merge_fields": {"PHONE": "123", "LNAME": "Lee"}})

    heard = shop.ask("PATCH", f"{FIELDS_PATH}/4", {"tag": "MOBILE", "name": "Mobile", "required": True})

    assert (heard.body["tag"], heard.body["name"], heard.body["required"]) == ("MOBILE", "Mobile", True)
    assert "merge_field_limit" not in heard.body
    assert shop.member(ANN).body["merge_fields"] == {
        "FNAME": "",
        "LNAME": "Lee",
        "ADDRESS": "",
        "MOBILE": "123",
        "BIRTHDAY": "",
    }
    assert make(shop, tag="PHONE").status == 200
    assert shop.member(ANN).body["merge_fields"]["PHONE"] == ""


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"tag": "FNAME"}, 'A Merge Field with the tag "FNAME" already exists for this list.'),
        ({"type": "text"}, "The resource submitted could not be validated."),
        (
            {"name": "Country", "type": "dropdown", "options": {"choices": ["TEST"]}},
            "This resource has not yet implemented array assignment for options.choices.",  # as taped in 2016
        ),
        ({"public": 1}, "The resource submitted could not be validated."),
    ],
)
def test_a_refused_change_leaves_the_field_as_it_was(emulator, sent, says):
    fields = [{"tag": "FNAME"}, {"tag": "SIZE", "type": "dropdown", "options": {"choices": ["S"]}}]
    shop = world(emulator, merge_fields=fields)
    before = shop.ask("GET", f"{FIELDS_PATH}/2").body

    heard = shop.ask("PATCH", f"{FIELDS_PATH}/2", {"help_text": "new", **sent})

    assert heard.status == 400
    assert heard.body["detail"].startswith(says)
    assert shop.ask("GET", f"{FIELDS_PATH}/2").body == before


def test_a_change_touches_only_what_it_names(shop):
    before = shop.ask("GET", f"{FIELDS_PATH}/4").body

    after = shop.ask("PATCH", f"{FIELDS_PATH}/4", {"tag": "phone", "options": {"phone_format": "US"}}).body

    assert after == {**before, "options": {"phone_format": "US"}}
    assert shop.add(ANN, merge_fields={"PHONE": "000"}).status == 400


def test_what_members_had_in_a_deleted_field_never_comes_back(emulator):
    shop = world(emulator, {"email_address": ANN, "merge_fields": {"FNAME": "Ann", "PHONE": "123"}})

    gone = shop.ask("DELETE", f"{FIELDS_PATH}/4")
    without = shop.member(ANN).body
    again = make(shop, tag="PHONE").body

    assert (gone.status, gone.body) == (204, None)
    assert "PHONE" not in without["merge_fields"]
    assert without["last_changed"] == NOON
    assert (again["merge_id"], shop.member(ANN).body["merge_fields"]["PHONE"]) == (6, "")
    assert emulator.members(LIST)[0]["merge_fields"] == {"FNAME": "Ann"}


def test_a_deleted_field_is_gone_for_every_call(shop):
    shop.ask("DELETE", f"{FIELDS_PATH}/1")

    for verb in ("GET", "PATCH", "DELETE"):
        assert shop.ask(verb, f"{FIELDS_PATH}/1", {}).title == "Resource Not Found"
    assert shop.ask("GET", f"/lists/{LIST}").body["stats"]["merge_field_count"] == 4
    assert shop.add(ANN, merge_fields={"FNAME": "Ann"}).body["full_name"] == ""


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("type=text", ["FNAME", "LNAME"]),
        ("type=zip", []),
        ("required=true", ["FNAME"]),
        ("required=1&type=text", ["FNAME"]),
        ("required=false", ["ADDRESS", "LNAME"]),
        ("required=maybe", ["ADDRESS", "LNAME"]),  # any other word is false
    ],
)
def test_fields_are_listed_by_type_and_whether_they_are_required(emulator, query, tags):
    fields = [{"tag": "FNAME", "required": True}, {"tag": "LNAME"}, {"tag": "ADDRESS", "type": "address"}]
    shop = world(emulator, merge_fields=fields)

    body = shop.ask("GET", f"{FIELDS_PATH}?{query}").body

    assert [field["tag"] for field in body["merge_fields"]] == tags
    assert body["total_items"] == len(tags)
