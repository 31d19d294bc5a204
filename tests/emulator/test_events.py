"""Which write means which events for webhooks: every status before, every status after."""

import pytest

from mailchimp_emulator.events import Change, of
from mailchimp_emulator.state import STATUSES

NOBODY = DELETED = None
SUBSCRIBE, UNSUBSCRIBE, CLEANED, PROFILE, UPEMAIL = "subscribe", "unsubscribe", "cleaned", "profile", "upemail"

# before, after, event; everything that is not in this table is silent
TRANSITIONS = [
    (NOBODY, "subscribed", SUBSCRIBE),
    ("unsubscribed", "subscribed", SUBSCRIBE),
    ("cleaned", "subscribed", SUBSCRIBE),
    ("pending", "subscribed", SUBSCRIBE),  # not before the click
    ("transactional", "subscribed", SUBSCRIBE),
    ("archived", "subscribed", SUBSCRIBE),
    ("subscribed", "unsubscribed", UNSUBSCRIBE),
    ("pending", "unsubscribed", UNSUBSCRIBE),
    ("transactional", "unsubscribed", UNSUBSCRIBE),
    ("subscribed", "archived", UNSUBSCRIBE),
    ("subscribed", DELETED, UNSUBSCRIBE),
    ("subscribed", "cleaned", CLEANED),
    ("unsubscribed", "cleaned", CLEANED),
    ("pending", "cleaned", CLEANED),
    ("transactional", "cleaned", CLEANED),
    ("archived", "cleaned", CLEANED),
]
ALL = [
    (before, after)
    for before in (NOBODY, *STATUSES)
    for after in (*STATUSES, DELETED)
    if (before, after) != (None,) * 2
]


@pytest.mark.parametrize(("before", "after"), ALL)
def test_a_change_of_status_is_told_by_at_most_one_event(before, after):
    expected = [event for *pair, event in TRANSITIONS if pair == [before, after]]

    assert of(Change(before, after)) == expected


EDITS = [
    # before, after, what changed, events
    ("subscribed", "subscribed", {"edited": True}, [PROFILE]),
    ("unsubscribed", "unsubscribed", {"edited": True}, [PROFILE]),
    ("cleaned", "cleaned", {"edited": True}, [PROFILE]),
    ("transactional", "transactional", {"edited": True}, [PROFILE]),
    ("pending", "pending", {"edited": True}, []),  # nobody has heard of them yet
    ("archived", "archived", {"edited": True}, []),  # they are out
    ("unsubscribed", "subscribed", {"edited": True}, [SUBSCRIBE]),  # it tells the fields already
    ("subscribed", "unsubscribed", {"edited": True}, [UNSUBSCRIBE]),
    ("subscribed", "cleaned", {"edited": True}, [CLEANED, PROFILE]),  # it does not
    ("subscribed", "pending", {"edited": True}, []),
    ("subscribed", "transactional", {"edited": True}, [PROFILE]),
    ("subscribed", "subscribed", {"old_address": "a@inbox.example"}, [UPEMAIL, PROFILE]),
    ("subscribed", "subscribed", {"old_address": "a@inbox.example", "edited": True}, [UPEMAIL, PROFILE]),
    ("unsubscribed", "subscribed", {"old_address": "a@inbox.example"}, [SUBSCRIBE, UPEMAIL, PROFILE]),
    ("pending", "pending", {"old_address": "a@inbox.example"}, []),
    ("subscribed", "archived", {"edited": True}, [UNSUBSCRIBE]),
    (NOBODY, "subscribed", {"edited": True}, [SUBSCRIBE]),
    (NOBODY, "unsubscribed", {"edited": True}, []),
    ("subscribed", "subscribed", {}, []),
]


@pytest.mark.parametrize(("before", "after", "changed", "events"), EDITS)
def test_an_edit_is_told_once_and_a_new_address_twice(before, after, changed, events):
    assert of(Change(before, after, **changed)) == events
