"""Failures and slowness on request."""

import http.client
import json
import time

import pytest

from .calling import LIST, Caller, world

ANN = "ann@inbox.example"


def add(shop: Caller) -> str:
    """What a client sees of an attempt to add Ann."""
    try:
        return str(shop.add(ANN).status)
    except (ConnectionResetError, http.client.RemoteDisconnected):
        return "reset"
    except http.client.IncompleteRead:
        return "cut short"
    except json.JSONDecodeError:
        return "not JSON"


@pytest.mark.parametrize(
    ("kind", "when", "seen", "written"),
    [
        ("500", "before", "500", False),
        ("500", "after", "500", True),
        ("503", "after", "503", True),
        ("429", "before", "429", False),
        ("403", "before", "403", False),
        ("502", "before", "not JSON", False),  # a page of the network's edge
        ("502", "after", "not JSON", True),
        ("reset", "before", "reset", False),
        ("reset", "after", "reset", True),
        ("hang", "before", "reset", False),
        ("hang", "after", "reset", True),
        ("truncate", "after", "cut short", True),
        ("malformed", "after", "not JSON", True),
    ],
)
def test_a_fault_strikes_before_or_after_the_write(emulator, shop, kind, when, seen, written):
    emulator.control("faults", [{"kind": kind, "when": when, "method": "POST", "times": 1, "seconds": 0.1}])

    assert add(shop) == seen

    assert bool(emulator.members(LIST)) == written
    assert emulator.log()[0]["fault"] == kind
    assert shop.ask("GET", "/ping").status == 200


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        ({"nth": 2}, [2]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 3}, [3, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 1}, [2]),
        ({"path": "nothing"}, []),
        ({"path": "^/ping$"}, [1, 2, 3, 4, 5, 6]),
        ({"method": "PUT"}, []),
        ({"probability": 0}, []),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_fault_strikes_the_requests_it_was_told_to(emulator, shop, rule, struck):
    emulator.control("faults", [{"kind": "500", **rule}])

    heard = [shop.ask("GET", "/ping").status for _ in range(6)]

    assert [number for number, status in enumerate(heard, 1) if status == 500] == struck


def test_a_fault_by_chance_falls_the_same_way_after_every_reset(emulator):
    def heard():
        shop = world(emulator)
        emulator.control("faults", [{"kind": "500", "probability": 0.5}])
        return [shop.ask("GET", "/ping").status for _ in range(12)]

    first, second = heard(), heard()

    assert first == second
    assert {200, 500} == set(first)


def test_faults_are_replaced_or_added_to(emulator, shop):
    emulator.control("faults", [{"kind": "500", "nth": 1}])
    emulator.control("faults?add=1", [{"kind": "503", "nth": 2}])
    both = [shop.ask("GET", "/ping").status for _ in range(3)]
    emulator.control("faults", [])

    assert both == [500, 503, 200]
    assert shop.ask("GET", "/ping").status == 200


def test_a_bare_429_has_no_body_and_can_name_a_time(emulator, shop):
    emulator.control("faults", [{"kind": "429", "body": False, "retry_after": 3}])

    heard = shop.ask("GET", "/ping")

    assert (heard.status, heard.body, heard.headers["retry-after"]) == (429, None, "3")


def test_latency_grows_with_the_members_and_the_first_rule_counts(emulator, shop):
    emulator.control(
        "latency",
        [{"method": "POST", "path": f"^/lists/{LIST}$", "base_ms": 100, "per_member_ms": 50}, {"base_ms": 0}],
    )
    began = time.monotonic()
    shop.ask("GET", "/ping")
    quick = time.monotonic() - began

    began = time.monotonic()
    shop.bulk(*[{"email_address": f"c{number}@inbox.example", "status": "subscribed"} for number in range(6)])

    assert time.monotonic() - began >= 0.4 > quick
