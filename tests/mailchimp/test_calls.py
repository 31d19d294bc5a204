"""What may be asked about a member: no call but the undoing of an opt-out can subscribe an existing one."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import Call

AUDIENCE = "a1b2c3d4e5"
ALICE = "Alice@Inbox.example"
ALICES_PATH = "/lists/a1b2c3d4e5/members/d523ea4d66817b69c9a7be9c39e28e7e"
NAMES = {"FNAME": "Alice"}
GRANTED_AT = datetime(2026, 3, 1, 9, 30, tzinfo=timezone(timedelta(hours=11)))

EVERY_WAY: dict[str, list[Call]] = {
    "upsert": [
        calls.upsert(AUDIENCE, ALICE, merge_fields=NAMES),
        calls.upsert(AUDIENCE, ALICE, merge_fields=NAMES, status_if_new="subscribed"),
        calls.upsert(
            AUDIENCE,
            ALICE,
            merge_fields=NAMES,
            status_if_new="pending",
            timestamp_opt=GRANTED_AT,
            ip_opt="192.0.2.1",
            tags=["VIP"],
        ),
    ],
    "update_fields": [calls.update_fields(AUDIENCE, ALICE, NAMES)],
    "unsubscribe": [calls.unsubscribe(AUDIENCE, ALICE)],
    "resubscribe": [
        calls.resubscribe(AUDIENCE, ALICE),
        calls.resubscribe(AUDIENCE, ALICE, as_pending=True, merge_fields=NAMES),
    ],
    "rename": [
        calls.rename(AUDIENCE, ALICE, "alice@new.example"),
        calls.rename(AUDIENCE, ALICE, "a@b.example", merge_fields=NAMES),
    ],
    "retag": [calls.retag(AUDIENCE, ALICE, add=["VIP"], remove=["old"])],
    "forget": [calls.forget(AUDIENCE, ALICE)],
    "get_member": [calls.get_member(AUDIENCE, ALICE)],
}


def _constructors() -> dict[str, Callable[..., Call]]:
    public = {name: made for name, made in inspect.getmembers(calls, inspect.isfunction) if name[0] != "_"}
    return {name: made for name, made in public.items() if typing.get_type_hints(made).get("return") is Call}


def test_the_table_above_knows_every_call_there_is():
    assert set(EVERY_WAY) == set(_constructors())


def test_no_call_but_resubscribe_carries_a_status_of_subscribed():
    subscribing = {
        name
        for name, made in EVERY_WAY.items()
        for call in made
        if (call.body or {}).get("status") in ("subscribed", "pending")
    }

    assert subscribing == {"resubscribe"}


def test_only_the_opt_out_and_its_undoing_carry_a_status_at_all():
    with_status = {name for name, made in EVERY_WAY.items() for call in made if "status" in (call.body or {})}

    assert with_status == {"unsubscribe", "resubscribe"}


def test_only_resubscribe_and_rename_are_not_to_be_repeated_blindly():
    once_only = {name for name, made in EVERY_WAY.items() for call in made if not call.repeatable}

    assert once_only == {"resubscribe", "rename"}


@pytest.mark.parametrize("call", [call for made in EVERY_WAY.values() for call in made])
def test_every_call_goes_to_the_member_and_does_not_show_whom_it_is_about(call):
    assert call.path.removesuffix("/tags").removesuffix("/actions/delete-permanent") == ALICES_PATH
    assert call.about == ALICE
    assert "alice" not in repr(call).lower()
    assert call.path not in repr(call)


def test_capitals_make_no_other_member():
    assert calls.get_member(AUDIENCE, ALICE).path == calls.get_member(AUDIENCE, ALICE.lower()).path


def test_an_add_carries_the_evidence_of_the_grant():
    call = EVERY_WAY["upsert"][2]

    assert call.method == "PUT"
    assert call.body == {
        "email_address": ALICE,
        "status_if_new": "pending",
        "merge_fields": NAMES,
        "timestamp_opt": "2026-02-28T22:30:00Z",
        "ip_opt": "192.0.2.1",
        "tags": ["VIP"],
    }


def test_what_is_not_given_is_left_out():
    call = calls.upsert(AUDIENCE, ALICE, merge_fields={})

    assert call.body == {"email_address": ALICE}


def test_an_opt_out_is_not_held_up_by_a_required_field():
    call = calls.unsubscribe(AUDIENCE, ALICE)

    assert (call.method, call.body) == ("PATCH", {"status": "unsubscribed"})
    assert call.query == {"skip_merge_validation": "true"}


def test_forgetting_somebody_says_nothing_about_them_but_which_member_it_is():
    call = calls.forget(AUDIENCE, ALICE)

    assert (call.method, call.path) == ("POST", f"{ALICES_PATH}/actions/delete-permanent")
    assert (call.body, call.repeatable, call.tells_member) == (None, True, False)


def test_resubscribing_can_ask_the_person_to_confirm():
    assert calls.resubscribe(AUDIENCE, ALICE).body == {"status": "subscribed"}
    assert calls.resubscribe(AUDIENCE, ALICE, as_pending=True).body == {"status": "pending"}


@pytest.mark.parametrize("typed", ["../x", "a/b", "a?b", "..", "a b", "a#b", "é"])
def test_an_audience_id_cannot_reach_beyond_its_place_in_the_path(typed):
    path = calls.audience_path(typed)

    assert path.startswith("/lists/")
    assert not set("/?#. ") & set(path.removeprefix("/lists/"))
    assert path.isascii()


def test_a_moment_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        calls.written(datetime(2026, 3, 1))


def test_a_moment_is_written_without_a_plus_sign():
    assert calls.written(GRANTED_AT) == "2026-02-28T22:30:00Z"
    assert calls.written(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00Z"


# --- many members in one call ----------------------------------------------------------------------------------


def test_a_bulk_call_never_carries_a_status_and_names_one_for_new_members():
    members = [calls.upserted(f"c{n}@inbox.example", merge_fields=NAMES, status_if_new="pending") for n in range(3)]

    call = calls.bulk(AUDIENCE, members, update_existing=False)

    assert call.path == f"/lists/{AUDIENCE}"
    assert call.body["update_existing"] is False
    assert all("status" not in one and one["status_if_new"] == "pending" for one in call.body["members"])


@pytest.mark.parametrize(("update_existing", "repeatable"), [(True, True), (False, False)])
def test_a_bulk_call_that_adds_is_not_repeated_blindly(update_existing, repeatable):
    member = calls.upserted(ALICE, merge_fields={}, status_if_new="subscribed")

    assert calls.bulk(AUDIENCE, [member], update_existing=update_existing).repeatable is repeatable


@pytest.mark.parametrize(
    "members",
    [
        [calls.upserted(f"c{n}@inbox.example", merge_fields={}, status_if_new="subscribed") for n in range(501)],
        [calls.upserted(one, merge_fields={}, status_if_new="subscribed") for one in (ALICE, ALICE.upper())],
        [calls.upserted(ALICE, merge_fields={})],
    ],
    ids=["too many", "somebody twice", "no status for a new one"],
)
def test_a_bulk_call_that_mailchimp_would_not_carry_out_as_meant_is_not_made(members):
    with pytest.raises(ValueError, match="bulk call"):
        calls.bulk(AUDIENCE, members, update_existing=False)


def test_a_bulk_call_tells_nobody_whom_it_is_about():
    call = calls.bulk(
        AUDIENCE, [calls.upserted(ALICE, merge_fields=NAMES, status_if_new="subscribed")], update_existing=True
    )

    assert ALICE not in repr(call)
