"""Listings: pages, filters, order, chosen fields."""

import pytest

from .calling import LIST, world

MEMBERS = [
    {"email_address": f"{name}@inbox.example", "status": status, "last_changed": f"2026-02-{day:02}T00:00:00+00:00"}
    for name, status, day in [
        ("ann", "subscribed", 4),
        ("bob", "unsubscribed", 2),
        ("cid", "subscribed", 3),
        ("dot", "archived", 5),
        ("eve", "cleaned", 1),
    ]
]


@pytest.fixture
def audience(emulator):
    return world(emulator, *MEMBERS)


def names(heard):
    return " ".join(member["email_address"].partition("@")[0] for member in heard.body["members"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "ann bob cid eve"),  # archived members are shown only when asked for
        ("status=archived", "dot"),
        ("status=subscribed", "ann cid"),
        ("sort_field=last_changed", "eve bob cid ann"),
        ("sort_field=last_changed&sort_dir=DESC", "ann cid bob eve"),
        ("since_last_changed=2026-02-02T00:00:00Z", "ann cid"),  # later than, not at
        ("since_last_changed=2026-02-01T23:59:59.999Z", "ann bob cid"),
        ("since_last_changed=2026-02-02T00:00:00%2B00:00", "ann cid"),
        ("since_last_changed=2026-02-02T00:00:00+00:00", ""),  # an unescaped + reads as a space
        ("since_last_changed=2026-02-02 00:00:00", "ann cid"),
        ("before_last_changed=2026-02-02T00:00:00Z", "eve"),
        ("since_last_changed=2026-02-01T00:00:00Z&before_last_changed=2026-02-04T00:00:00Z", "bob cid"),
        ("unsubscribed_since=2026-02-01T00:00:00Z&status=unsubscribed", "bob"),
        ("unsubscribed_since=2026-02-02T00:00:00Z&status=unsubscribed", ""),
        ("since_last_campaign=true&status=subscribed", "ann cid"),  # there are no campaigns: since ever
        ("since_last_campaign=maybe", "ann bob cid eve"),  # any other word is false
        ("vip_only=false", "ann bob cid eve"),
        ("vip_only=1", ""),
        ("count=2", "ann bob"),
        ("count=2&offset=2", "cid eve"),
        ("count=0", ""),
        ("offset=99", ""),
    ],
)
def test_a_listing_shows_who_was_asked_for(audience, query, expected):
    assert names(audience.ask("GET", f"{audience.members}?{query}")) == expected


def test_total_items_counts_all_and_not_the_page(audience):
    body = audience.ask("GET", f"{audience.members}?count=1&offset=99").body

    assert (body["members"], body["total_items"], body["list_id"]) == ([], 4, LIST)


def test_a_page_holds_ten_unless_told_and_never_more_than_a_thousand(emulator):
    shop = world(emulator, generate={"count": 1100, "email": "c{}@inbox.example"})

    sizes = [
        len(shop.ask("GET", f"{shop.members}?fields=members.id{count}").body["members"])
        for count in ("", "&count=1000", "&count=3000")
    ]

    assert sizes == [10, 1000, 1000]


def test_a_change_moves_a_member_to_the_end_of_the_order_of_changes(audience):
    audience.patch("eve@inbox.example", merge_fields={"FNAME": "Eve"})

    heard = audience.ask("GET", f"{audience.members}?sort_field=last_changed")

    assert names(heard) == "bob cid ann eve"


def test_fields_and_exclude_fields_cut_the_reply(audience):
    chosen = audience.ask("GET", f"{audience.members}?count=1&fields=total_items,members.status,members.stats").body
    without = audience.ask("GET", f"{audience.members}?count=1&exclude_fields=members._links,_links,list_id").body
    top_level = audience.ask("GET", f"{audience.members}?count=1&exclude_fields=email_address").body

    assert chosen == {
        "members": [{"status": "subscribed", "stats": {"avg_open_rate": 0, "avg_click_rate": 0}}],
        "total_items": 4,
    }
    assert list(without) == ["members", "total_items"]
    assert "_links" not in without["members"][0]
    assert "email_address" in top_level["members"][0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("fields=nope", 422),
        ("fields=members.nope", 422),
        ("fields=members.status.nope", 422),
        ("fields=members.location.nope", 422),
        ("fields=members.id,members.unsubscribe_reason", 200),  # only some members have it
        ("fields=members.merge_fields.NOPE", 200),  # a tag is data
        ("fields=members&exclude_fields=_links", 422),
        ("status=nope", 400),
        ("count=-1", 400),
        ("count=ten", 400),
        ("since_last_changed=yesterday", 400),
        ("sort_dir=UP", 400),
        ("unsubscribed_since=yesterday&status=unsubscribed", 400),
        ("unsubscribed_since=2026-01-01T00:00:00Z&status=subscribed", 400),
        ("unsubscribed_since=2026-01-01T00:00:00Z", 400),
        ("since_last_campaign=true", 400),
        ("interest_ids=abc", 400),
        ("interest_category_id=c&interest_ids=abc&interest_match=any", 400),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(audience, query, status):
    assert audience.ask("GET", f"{audience.members}?{query}").status == status


def test_the_root_names_account_user_and_subscribers(audience):
    body = audience.ask("GET", "/").body

    assert list(body)[:3] == ["account_id", "login_id", "account_name"]
    assert (body["role"], body["total_subscribers"]) == ("owner", 2)
    assert audience.ask("GET", "/ping").body == {"health_status": "Everything's Chimpy!"}


def test_an_audience_tells_its_counts(audience):
    body = audience.ask("GET", f"/lists/{LIST}").body
    listed = audience.ask("GET", "/lists").body

    stats = body["stats"]
    assert (stats["member_count"], stats["unsubscribe_count"], stats["cleaned_count"]) == (2, 1, 1)
    assert stats["merge_field_count"] == 5
    assert listed["lists"] == [body]
    assert list(listed) == ["lists", "total_items", "constraints", "_links"]


@pytest.mark.parametrize("field", ["unsubscribe_reason", "marketing_permissions", "interests"])
def test_a_field_that_only_some_members_have_may_be_asked_for(audience, field):
    heard = audience.ask("GET", f"{audience.members}/ann@inbox.example?fields=id,{field}")

    assert list(heard.body) == ["id"]


def test_a_later_change_does_not_move_the_moment_somebody_left(emulator, audience):
    audience.patch("ann@inbox.example", status="unsubscribed")
    emulator.control("clock", {"now": "2026-04-01T00:00:00Z"})
    audience.patch("ann@inbox.example", merge_fields={"FNAME": "Ann"})

    query = "status=unsubscribed&unsubscribed_since"

    assert names(audience.ask("GET", f"{audience.members}?{query}=2026-02-28T00:00:00Z")) == "ann"
    assert names(audience.ask("GET", f"{audience.members}?{query}=2026-03-31T00:00:00Z")) == ""


@pytest.mark.parametrize(
    ("match", "found"), [("any", "ann bob"), ("all", "ann"), ("none", "cid"), ("any&status=unsubscribed", "bob")]
)
def test_members_are_listed_by_their_interests(emulator, match, found):
    members = [
        {"email_address": "ann@inbox.example", "interests": ["aa11bb22cd", "bb22cc33de"]},
        {"email_address": "bob@inbox.example", "interests": ["aa11bb22cd"], "status": "unsubscribed"},
        {"email_address": "cid@inbox.example", "interests": ["cc33dd44ef"]},
    ]
    shop = world(emulator, *members, interests=["aa11bb22cd", "bb22cc33de", "cc33dd44ef"])

    query = f"interest_category_id=x&interest_ids=aa11bb22cd,bb22cc33de&interest_match={match}"

    assert names(shop.ask("GET", f"{shop.members}?{query}")) == found
