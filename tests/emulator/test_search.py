"""Finding members and tags, and what a member did."""

import pytest

from .calling import KEY, LIST, NOON, Caller, world

OTHER_LIST = "2e3f4a5b6d"
ANN, BOB = "ann@inbox.example", "bob@post.example"
LATER = "2026-03-01T13:00:00+00:00"
MEMBERS = [
    {"email_address": ANN, "merge_fields": {"FNAME": "Ann", "LNAME": "Lee"}},
    {"email_address": "Bob@post.example", "status": "unsubscribed", "merge_fields": {"FNAME": "Bob", "LNAME": "Annan"}},
    {"email_address": "gone@inbox.example", "status": "archived", "merge_fields": {"FNAME": "Ann"}},
    {"email_address": "nameless@inbox.example"},
]


@pytest.fixture
def audience(emulator):
    return world(emulator, *MEMBERS)


def names(part):
    return " ".join(member["email_address"].partition("@")[0] for member in part["members"])


@pytest.mark.parametrize(
    ("query", "exact", "partial"),
    [
        ("ann@inbox.example", "ann", ""),
        ("ANN@Inbox.example", "ann", ""),
        ("bob@post.example", "Bob", ""),
        ("ann", "ann", "Bob"),  # Bob Annan; who is archived is not found
        ("ann lee", "ann", ""),
        ("LEE", "ann", ""),
        ("ann l", "", "ann"),
        ("inbox.example", "", "ann nameless"),
        ("gone@inbox.example", "", ""),
        ("nobody", "", ""),
    ],
)
def test_members_are_found_by_address_and_name(audience, query, exact, partial):
    body = audience.ask("GET", f"/search-members?query={query}").body

    assert list(body) == ["exact_matches", "full_search", "_links"]
    assert (names(body["exact_matches"]), names(body["full_search"])) == (exact, partial)
    assert body["full_search"]["total_items"] == len(partial.split())


def test_a_found_member_is_told_as_everywhere(audience):
    [member] = audience.ask("GET", f"/search-members?query={ANN}").body["exact_matches"]["members"]

    assert member == audience.member(ANN).body


@pytest.mark.parametrize("query", ["", "?query=", "?query= ", f"?list_id={LIST}"])
def test_a_search_for_nothing_is_refused(audience, query):
    heard = audience.ask("GET", f"/search-members{query}")

    assert heard.body["errors"] == [{"field": "", "message": "Required fields were not provided: query"}]


def test_the_search_goes_over_all_audiences_of_the_account_or_one(emulator):
    lists = [{"id": LIST, "members": [{"email_address": ANN}]}, {"id": OTHER_LIST, "members": [{"email_address": ANN}]}]
    strangers = {"lists": [{"id": "3f4a5b6c7e", "members": [{"email_address": ANN}]}]}
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": lists}, strangers])
    shop = Caller(emulator)

    everywhere = shop.ask("GET", f"/search-members?query={ANN}").body["exact_matches"]
    here = shop.ask("GET", f"/search-members?query={ANN}&list_id={OTHER_LIST}").body["exact_matches"]

    assert [member["list_id"] for member in everywhere["members"]] == [LIST, OTHER_LIST]
    assert [member["list_id"] for member in here["members"]] == [OTHER_LIST]
    assert shop.ask("GET", f"/search-members?query={ANN}&list_id=3f4a5b6c7e").title == "Resource Not Found"


def test_thirty_members_are_shown_and_all_are_counted(emulator):
    shop = world(emulator, generate={"count": 40, "email": "c{}@inbox.example"})

    found = shop.ask("GET", "/search-members?query=inbox&fields=full_search.total_items,full_search.members.id").body

    assert (len(found["full_search"]["members"]), found["full_search"]["total_items"]) == (30, 40)


@pytest.mark.parametrize(
    ("query", "found"),
    [("", ["vip", "VIP gold", "new"]), ("?name=vip", ["vip", "VIP gold"]), ("?name=gold", []), ("?name=n", ["new"])],
)
def test_tags_are_found_by_how_they_begin(emulator, query, found):
    shop = world(emulator, {"email_address": ANN, "tags": ["vip", "VIP gold", "new"]})
    shop.ask("POST", f"{shop.members}/{ANN}/tags", {"tags": [{"name": "vip", "status": "inactive"}]})

    body = shop.ask("GET", f"/lists/{LIST}/tag-search{query}").body

    assert list(body) == ["tags", "total_items"]
    assert [tag["name"] for tag in body["tags"]] == found
    assert body["total_items"] == len(found)


def activity(shop, address, query=""):
    return shop.ask("GET", f"{shop.members}/{address}/activity{query}").body


def test_the_activity_tells_when_a_member_left_and_bounced_the_newest_first(emulator, shop):
    shop.add(ANN)
    shop.add(BOB)
    shop.patch(ANN, status="unsubscribed")
    shop.patch(BOB, status="unsubscribed")
    shop.patch(ANN, status="subscribed", merge_fields={"FNAME": "Ann"})
    emulator.control("clock", {"now": LATER})
    shop.happens(ANN, "complaint")
    shop.happens(ANN, "hard_bounce")

    body = activity(shop, ANN)

    assert list(body) == ["activity", "email_id", "contact_id", "list_id", "total_items", "_links"]
    assert body["activity"] == [
        {"action": "bounce", "timestamp": LATER},
        {"action": "abuse", "timestamp": LATER},
        {"action": "unsub", "timestamp": NOON},
    ]
    member = shop.member(ANN).body
    assert (body["email_id"], body["contact_id"], body["list_id"]) == (member["id"], member["contact_id"], LIST)
    assert body["total_items"] == 3


def test_the_activity_follows_a_member_through_a_change_of_address(shop):
    shop.add(ANN)
    shop.patch(ANN, status="unsubscribed")
    shop.patch(ANN, email_address=BOB)
    shop.add(ANN)

    assert [event["action"] for event in activity(shop, BOB)["activity"]] == ["unsub"]
    assert activity(shop, ANN)["activity"] == []


def test_the_activity_forgets_whoever_had_the_address_before(shop):
    shop.add(ANN)
    shop.patch(ANN, status="unsubscribed")
    shop.ask("POST", f"{shop.members}/{ANN}/actions/delete-permanent")
    shop.happens(ANN, "signup")

    assert activity(shop, ANN)["total_items"] == 0


def test_the_activity_holds_fifty_events_of_the_kinds_asked_for(shop):
    shop.add(ANN)
    shop.happens(ANN, "hard_bounce")
    for _ in range(51):
        shop.happens(ANN, "signup")
        shop.happens(ANN, "unsubscribe")

    assert activity(shop, ANN)["total_items"] == 50
    assert [event["action"] for event in activity(shop, ANN, "?action=bounce,open")["activity"]] == ["bounce"]
    assert activity(shop, ANN, "?action=sneeze")["errors"][0]["field"] == "action.item:0"
    assert activity(shop, BOB)["status"] == 404
