"""Reading what Mailchimp tells."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nexpura.mailchimp.member import NEVER, Account, Audience, Member, MergeField, subscriber_hash

ALICE = {
    "id": "f00d",
    "email_address": "Alice@inbox.example",
    "contact_id": "c0ffee",
    "status": "unsubscribed",
    "unsubscribe_reason": "N/A (Unsubscribed by admin)",
    "merge_fields": {"FNAME": "Alice", "LTV": 15.5, "ADDRESS": {"addr1": "1 Road"}},
    "timestamp_opt": "2021-11-23T22:51:56+00:00",
    "last_changed": "2021-11-23T22:51:58+00:00",
    "tags": [{"id": 1, "name": "VIP"}, {"id": 2, "name": "Local"}],
}


@pytest.mark.parametrize("address", ["alice@inbox.example", "ALICE@Inbox.Example"])
def test_the_hash_is_of_the_address_in_lower_case(address):
    assert subscriber_hash(address) == "d523ea4d66817b69c9a7be9c39e28e7e"


def test_a_member_is_read_whole():
    member = Member.from_json(ALICE)

    assert member == Member(
        id="f00d",
        address="Alice@inbox.example",
        status="unsubscribed",
        merge_fields={"FNAME": "Alice", "LTV": 15.5, "ADDRESS": {"addr1": "1 Road"}},
        contact_id="c0ffee",
        last_changed=datetime(2021, 11, 23, 22, 51, 58, tzinfo=UTC),
        timestamp_opt=datetime(2021, 11, 23, 22, 51, 56, tzinfo=UTC),
        unsubscribe_reason="N/A (Unsubscribed by admin)",
        tags=("VIP", "Local"),
    )


def test_a_member_of_an_old_reply_is_read_too():
    old = {
        "id": "f00d",
        "email_address": "a@inbox.example",
        "status": "subscribed",
        "merge_fields": [],
        "last_changed": "2015-07-07 11:24:31",
        "timestamp_opt": "",
    }

    member = Member.from_json(old)

    assert member.last_changed == datetime(2015, 7, 7, 11, 24, 31, tzinfo=UTC)
    assert (member.merge_fields, member.contact_id, member.tags) == ({}, "", ())
    assert (member.timestamp_opt, member.unsubscribe_reason) == (None, None)


def test_a_member_that_never_changed_has_an_early_moment():
    assert Member.from_json({**ALICE, "last_changed": ""}).last_changed == NEVER


@pytest.mark.parametrize(
    "document",
    [
        {},
        {**ALICE, "status": None},
        {**ALICE, "email_address": 5},
        {**ALICE, "last_changed": "yesterday"},
        {**ALICE, "tags": ["VIP"]},
        {**ALICE, "merge_fields": "none"},
    ],
)
def test_a_document_of_another_shape_is_refused(document):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Member.from_json(document)


def test_a_member_does_not_show_who_it_is():
    shown = repr(Member.from_json(ALICE))

    assert "inbox.example" not in shown
    assert "f00d" not in shown
    assert "Alice" not in shown


def test_an_audience_is_read_with_its_counts():
    document = {
        "id": "a1",
        "name": "Regulars",
        "double_optin": True,
        "marketing_permissions": False,
        "stats": {"member_count": 3, "unsubscribe_count": 2, "cleaned_count": 1},
    }

    assert Audience.from_json(document) == Audience("a1", "Regulars", True, False, 3, 2, 1)


def test_an_account_that_does_not_name_its_user_is_counted_as_one():
    named = Account.from_json({"account_id": "e41e", "login_id": 100000003, "account_name": "Acme", "role": "owner"})
    unnamed = Account.from_json({"account_id": "e41e", "total_subscribers": 2})

    assert named == Account("e41e", "100000003", "Acme", "owner", 0)
    assert unnamed == Account("e41e", "e41e", "", "", 2)


def test_a_merge_field_is_read_with_its_options():
    document = {"tag": "PHONE", "type": "phone", "required": True, "options": {"phone_format": "US"}, "name": "Phone"}

    assert MergeField.from_json(document) == MergeField("PHONE", "phone", True, {"phone_format": "US"}, "Phone")
