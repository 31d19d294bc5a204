"""Setting the world up and reading what happened."""

import json
import threading

import pytest

from mailchimp_emulator.serve import ControlError, running

from .calling import KEY, LIST, NOON, Caller, world

ANN = "ann@inbox.example"


def test_an_empty_reset_gives_one_key_and_one_empty_audience(emulator):
    found = emulator.control("reset", {})

    [key], [list_id] = found["keys"], found["list_ids"]
    assert key.endswith("-us14")
    assert len(key) == 37
    assert Caller(emulator, key).ask("GET", f"/lists/{list_id}").body["stats"]["member_count"] == 0
    assert found["accounts"][0]["users"][0]["login_id"]


def test_a_reset_forgets_everything(emulator, shop):
    shop.add(ANN)
    emulator.control("faults", [{"kind": "500"}])

    world(emulator)

    assert (emulator.members(LIST), emulator.log(), emulator.audit()) == ([], [], [])
    assert shop.ask("GET", "/ping").status == 200


def test_members_are_seeded_as_written(emulator):
    person = {
        "email_address": "Ann@inbox.example",
        "status": "unsubscribed",
        "merge_fields": {"FNAME": "Ann"},
        "tags": ["vip"],
        "interests": ["aa11bb22cd"],
        "unsubscribed_by": "admin",
        "compliance": False,
        "last_changed": "2020-01-02T03:04:05+00:00",
        "timestamp_opt": "2019-01-02T03:04:05+00:00",
        "ip_opt": "203.0.113.1",
    }
    shop = world(emulator, person, forgotten=["gone@inbox.example"], interests=["aa11bb22cd", "bb22cc33de"])

    [row] = emulator.members(LIST)

    assert {name: row[name] for name in person} == person
    assert shop.add("gone@inbox.example").title == "Forgotten Email Not Subscribed"


def test_a_large_audience_is_generated(emulator):
    world(
        emulator,
        generate={"count": 3, "email": "c{}@inbox.example", "merge_fields": {"FNAME": "Customer {}"}},
    )

    rows = emulator.members(LIST)

    assert [row["email_address"] for row in rows] == ["c1@inbox.example", "c2@inbox.example", "c3@inbox.example"]
    assert rows[2]["merge_fields"] == {"FNAME": "Customer 3"}


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("reset", {"acounts": []}, "reset: unknown key 'acounts'"),
        ("reset", {"accounts": [{"lists": [{"colour": 1}]}]}, "accounts[0].lists[0]: unknown key 'colour'"),
        ("reset", {"accounts": [{"lists": [{"members": [{"status": "gone"}]}]}]}, "email_address"),
        ("reset", {"accounts": [{"users": [{"keys": ["abc-us1"]}]}]}, "ends in -us14"),
        ("reset", {"accounts": [{"users": [{"role": "god"}]}]}, "accounts[0].users[0].role: 'god' is none of"),
        ("reset", {"accounts": [{"lists": [{"merge_fields": [{"tag": "A"}, {"tag": "A"}]}]}]}, "'A' is there already"),
        (
            "reset",
            {"accounts": [{"lists": [{"interests": ["a"], "members": [{"email_address": ANN, "interests": ["b"]}]}]}]},
            "'b' is none of a",
        ),
        ("reset", {"accounts": []}, "at least one"),
        ("reset", {"now": "soon"}, "now: 'soon' is no moment"),
        ("faults", [{"kind": "418"}], "faults[0].kind"),
        ("faults", [{"kind": "500", "when": "during"}], "faults[0].when"),
        ("faults", {"kind": "500"}, "faults: a list is needed"),
        ("latency", [{"path": "("}], "latency[0].path: not a regular expression"),
        ("latency", [{"base_ms": "slow"}], "latency[0].base_ms"),
        ("member_event", {"list_id": "x", "email": ANN, "event": "unsubscribe"}, "there is no audience 'x'"),
        ("member_event", {"list_id": LIST, "email": ANN, "event": "unsubscribe"}, "no member of"),
        ("member_event", {"list_id": LIST, "email": ANN, "event": "sneeze"}, "'sneeze' is none of"),
        ("list_event", {"list_id": LIST, "event": "paint"}, "list_event.event"),
        ("clock", {}, "clock.now"),
    ],
)
def test_a_control_call_that_is_not_understood_says_where(emulator, path, body, named):
    with pytest.raises(ControlError) as refusal:
        emulator.control(path, body)

    assert named in json.loads(str(refusal.value))["error"]


def test_a_refused_reset_leaves_the_world_as_it_was(emulator, shop):
    shop.add(ANN)

    with pytest.raises(ControlError):
        emulator.control("reset", {"accounts": [{"dc": "nowhere"}]})

    assert len(emulator.members(LIST)) == 1


def test_the_clock_stands_still_until_it_is_set(emulator, shop):
    first = shop.add(ANN).body["last_changed"]

    emulator.control("clock", {"now": "2026-03-02T00:00:00Z"})
    second = shop.patch(ANN, status="unsubscribed").body["last_changed"]
    real = emulator.control("clock", {"now": None})["now"]

    assert (first, second) == (NOON, "2026-03-02T00:00:00+00:00")
    assert real not in (first, second)


def test_the_log_tells_every_request(emulator, shop):
    shop.add(ANN)
    shop.member("nobody@inbox.example")

    added, looked = emulator.log()

    assert (added["method"], added["path"], added["status"], added["writes"]) == ("POST", shop.members, 200, 1)
    assert (added["user"], added["concurrency"], added["fault"]) == ("owner", 1, None)
    assert added["body"] == {"email_address": ANN, "status": "subscribed"}
    assert (looked["status"], looked["writes"]) == (404, 0)
    assert KEY not in json.dumps([added, looked])


def test_the_audit_tells_every_change_of_a_member(emulator, shop):
    shop.add(ANN, merge_fields={"FNAME": "Ann"})
    shop.put(ANN, merge_fields={"FNAME": "Anna"}, status="unsubscribed", email_address="anna@inbox.example")

    rows = [(row["event"], row["field"], row["old"], row["new"], row["request"]) for row in emulator.audit()]

    assert rows == [
        ("created", "", None, {"status": "subscribed", "merge_fields": {"FNAME": "Ann"}, "tags": []}, 1),
        ("field", "FNAME", "Ann", "Anna", 2),
        ("status", "status", "subscribed", "unsubscribed", 2),
        ("address", "email_address", ANN, "anna@inbox.example", 2),
    ]


def test_the_metrics_count_calls(emulator, shop):
    shop.add(ANN)
    shop.add(ANN)

    found = emulator.metrics()

    assert found["calls"] == {"POST /lists/{list_id}/members": 2}
    assert found["statuses"] == {"POST /lists/{list_id}/members": {"200": 1, "400": 1}}
    assert (found["requests"], found["writes"], found["highest_concurrency"]) == (2, 1, 1)


def test_a_deleted_audience_is_not_found_any_more(emulator, shop):
    emulator.control("list_event", {"list_id": LIST, "event": "delete"})

    heard = shop.ask("GET", f"/lists/{LIST}")

    assert (heard.status, heard.title) == (404, "Resource Not Found")
    assert shop.add(ANN).status == 404


def test_a_list_of_events_happens_in_order(emulator, shop):
    shop.add(ANN)
    events = [{"list_id": LIST, "email": ANN, "event": event} for event in ("unsubscribe", "signup", "hard_bounce")]

    assert emulator.control("member_event", events) == {"applied": 3}

    assert shop.member(ANN).body["status"] == "cleaned"


def test_an_emulator_stops_at_once_though_somebody_hangs():
    with running({"faults": [{"kind": "hang"}]}) as emulator:
        key = emulator.control("reset", {"faults": [{"kind": "hang"}]})["keys"][0]
        connection = Caller(emulator, key)
        hung = threading.Thread(target=_ignore, args=(connection,))
        hung.start()
        while emulator.metrics()["open_requests"] == 0:
            hung.join(0.01)
    hung.join(10)

    assert not hung.is_alive()


def _ignore(caller: Caller) -> None:
    with pytest.raises((ConnectionError, OSError)):
        caller.ask("GET", "/ping")
