"""Many calls handed in at once: what is taken, how it runs, and where the results are."""

import io
import json
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from .calling import KEY, LIST, NOON, Caller, world

ANN, BOB = "ann@inbox.example", "bob@inbox.example"
MEMBERS = f"/lists/{LIST}/members"
OTHER = "f" * 32 + "-us14"
STATUSES = ["pending", "preprocessing", "started", "finalizing", "finished"]


def operation(method, path, body=None, **more):
    sent = {"method": method, "path": path, **more}
    return sent if body is None else {**sent, "body": body if isinstance(body, str) else json.dumps(body)}


def add(address, **more):
    return operation("POST", MEMBERS, {"email_address": address, "status": "subscribed"}, **more)


def hand_in(caller, *operations):
    """A batch that must be taken; its id."""
    heard = caller.ask("POST", "/batches", {"operations": list(operations)})
    assert heard.status == 200, heard.body
    return heard.body["id"]


def look(caller, batch_id):
    return caller.ask("GET", f"/batches/{batch_id}").body


def wait_for(caller, batch_id, status="finished"):
    """Look until the batch has this status; the deadline is only there so that a failure ends."""
    deadline = time.monotonic() + 20
    while (batch := look(caller, batch_id))["status"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return batch


def fetch(address, **headers):
    """Status and bytes of what is at the address."""
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def files_of(batch):
    """The entries of the archive, in order: name and content (None for a directory)."""
    status, packed = fetch(batch["response_body_url"])
    assert status == 200
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        return [(entry.name, archive.extractfile(entry).read() if entry.isfile() else None) for entry in archive]


def results_of(batch):
    return [line for name, content in files_of(batch) if name.endswith(".json") for line in json.loads(content)]


def run(caller, *operations):
    """Hand the operations in, wait for the end, and read the results."""
    return results_of(wait_for(caller, hand_in(caller, *operations)))


def run_one(caller, sent):
    """Status and body of one operation."""
    [line] = run(caller, sent)
    return line["status_code"], json.loads(line["response"]) if line["response"] else None


# What is taken


def test_a_new_batch_is_pending_and_knows_nothing_yet(shop):
    heard = shop.ask("POST", "/batches", {"operations": [add(ANN)]})

    assert heard.status == 200
    links = heard.body.pop("_links")
    batch_id = heard.body.pop("id")
    assert list(heard.body.items()) == [
        ("status", "pending"),
        ("total_operations", 0),
        ("finished_operations", 0),
        ("errored_operations", 0),
        ("submitted_at", NOON),
        ("completed_at", ""),
        ("response_body_url", ""),
    ]
    assert (len(batch_id), int(batch_id, 16) > 0) == (10, True)
    assert [(link["rel"], link["method"]) for link in links] == [
        ("parent", "GET"),
        ("self", "GET"),
        ("delete", "DELETE"),
    ]


@pytest.mark.parametrize(
    ("sent", "field", "message"),
    [
        ([[]], "", "Schema describes object, array found instead"),
        ({}, "", "Required fields were not provided: operations"),
        ({"operations": {}}, "operations", "Schema describes array, object found instead"),
        ({"operations": []}, "operations", "Schema describes array with at least 1 items, 0 found instead"),
        ({"operations": [[add(ANN)]]}, "operations.item:0", "Schema describes object, array found instead"),
        ({"operations": [add(ANN), []]}, "operations.item:1", "Schema describes object, array found instead"),
        ({"operations": [{"path": "/ping"}]}, "operations.item:0", "Required fields were not provided: method"),
        ({"operations": [{}]}, "operations.item:0", "Required fields were not provided: method, path"),
        (
            {"operations": [operation("get", "/ping")]},
            "operations.item:0.method",
            "Data presented is not one of the accepted values: GET, POST, PUT, PATCH, DELETE.",
        ),
        (
            {"operations": [operation("GET", 1)]},
            "operations.item:0.path",
            "Schema describes string, integer found instead",
        ),
        (
            {"operations": [operation("GET", "/lists", params="count=1")]},
            "operations.item:0.params",
            "Schema describes object, string found instead",
        ),
        (
            {"operations": [operation("GET", "/lists", params=[])]},
            "operations.item:0.params",
            "Schema describes object, array found instead",
        ),
        (
            {"operations": [add(ANN, operation_id=7)]},
            "operations.item:0.operation_id",
            "Schema describes string, integer found instead",
        ),
        (
            {"operations": [{**add(ANN), "body": [ANN]}]},
            "operations.item:0.body",
            "Schema describes string, array found instead",
        ),
        (
            {"operations": [add(ANN, headers=["x"])]},
            "operations.item:0.headers",
            "Schema describes object, array found instead",
        ),
    ],
)
def test_one_operation_of_the_wrong_shape_refuses_the_whole_batch(emulator, shop, sent, field, message):
    heard = shop.ask("POST", "/batches", sent)

    assert (heard.status, heard.title) == (400, "Invalid Resource")
    assert heard.body["errors"] == [{"field": field, "message": message}]
    assert shop.ask("GET", "/batches").body["total_items"] == 0
    assert emulator.members(LIST) == []


def test_a_batch_may_be_larger_than_other_bodies_but_not_without_end(shop):
    raw = json.dumps({"operations": [add(ANN)]}).encode()

    taken = shop.ask("POST", "/batches", raw=raw + b" " * 10_000_000)
    refused = shop.ask("POST", "/batches", raw=raw + b" " * 20_000_000)

    assert (taken.status, refused.status, refused.title) == (200, 400, "Bad Request")


def test_more_than_five_hundred_unfinished_batches_are_refused(emulator, shop):
    emulator.control("latency", [{"method": "PATCH", "base_ms": 60_000}])
    first = hand_in(shop, operation("PATCH", f"{MEMBERS}/{ANN}", {}))
    for _ in range(499):
        hand_in(shop, add(ANN))

    refused = shop.ask("POST", "/batches", {"operations": [add(ANN)]})
    shop.ask("DELETE", f"/batches/{first}")
    taken = shop.ask("POST", "/batches", {"operations": [add(ANN)]})

    assert (refused.status, refused.title) == (429, "Too Many Requests")
    assert refused.body["detail"] == (
        "You have more than 500 pending webhooks. Please wait for some to complete before adding any more batches."
    )
    assert taken.status == 200


def test_a_viewer_may_look_at_batches_and_not_make_or_end_any(emulator):
    users = [{"keys": [KEY]}, {"name": "eyes", "role": "viewer", "keys": [OTHER]}]
    emulator.reset(accounts=[{"users": users, "lists": [{"id": LIST}]}])
    batch_id = hand_in(Caller(emulator), add(ANN))
    eyes = Caller(emulator, OTHER)

    assert look(eyes, batch_id)["id"] == batch_id
    assert eyes.ask("POST", "/batches", {"operations": [add(BOB)]}).title == "Forbidden"
    assert eyes.ask("DELETE", f"/batches/{batch_id}").title == "Forbidden"


def test_the_batch_of_another_account_is_unknown(emulator):
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": [{"id": LIST}]}, {"users": [{"keys": [OTHER]}]}])
    batch_id = hand_in(Caller(emulator), add(ANN))
    stranger = Caller(emulator, OTHER)

    assert stranger.ask("GET", f"/batches/{batch_id}").title == "Resource Not Found"
    assert stranger.ask("DELETE", f"/batches/{batch_id}").title == "Resource Not Found"
    assert stranger.ask("GET", "/batches").body["batches"] == []
    assert Caller(emulator).ask("GET", "/batches/0000000000").title == "Resource Not Found"


def test_the_account_of_another_list_finds_nothing_through_a_batch_either(emulator):
    emulator.reset(accounts=[{"users": [{"keys": [KEY]}], "lists": [{"id": LIST}]}, {"users": [{"keys": [OTHER]}]}])

    status, body = run_one(Caller(emulator, OTHER), add(ANN))

    assert (status, body["title"]) == (404, "Resource Not Found")
    assert emulator.members(LIST) == []


def test_the_batches_of_the_last_seven_days_are_listed_page_by_page(emulator, shop):
    old = hand_in(shop, add(ANN))
    wait_for(shop, old)
    emulator.control("clock", {"now": "2026-03-08T12:00:00+00:00"})
    young = [hand_in(shop, add(BOB)) for _ in range(11)]

    all_of_them = shop.ask("GET", "/batches?count=20").body
    first_page = shop.ask("GET", "/batches?fields=batches.id,total_items").body
    second_page = shop.ask("GET", "/batches?offset=10&exclude_fields=batches._links").body
    emulator.control("clock", {"now": "2026-03-08T12:00:01+00:00"})
    later = shop.ask("GET", "/batches?count=20").body

    assert list(all_of_them) == ["batches", "total_items", "_links"]
    assert [batch["id"] for batch in all_of_them["batches"]] == [old, *young]
    assert first_page == {"batches": [{"id": key} for key in [old, *young[:9]]], "total_items": 12}
    assert [batch["id"] for batch in second_page["batches"]] == young[9:]
    assert [batch["id"] for batch in later["batches"]] == young


# How it runs


def test_a_batch_passes_through_its_statuses_in_order(shop):
    batch_id = hand_in(shop, *[add(f"c{number}@inbox.example") for number in range(50)])
    seen = [look(shop, batch_id)]

    while seen[-1]["status"] != "finished":
        seen.append(look(shop, batch_id))

    statuses = list(dict.fromkeys(batch["status"] for batch in seen))
    assert statuses == [status for status in STATUSES if status in statuses]
    assert all(batch["total_operations"] == (0 if batch["status"] in STATUSES[:2] else 50) for batch in seen)
    assert [batch["finished_operations"] for batch in seen] == sorted(batch["finished_operations"] for batch in seen)


def test_the_results_are_nowhere_until_the_batch_is_finished(emulator, shop):
    emulator.control("latency", [{"method": "PATCH", "base_ms": 60_000}])
    batch_id = hand_in(shop, add(ANN), operation("PATCH", f"{MEMBERS}/{ANN}", {"status": "unsubscribed"}))
    while not (batch := look(shop, batch_id))["finished_operations"]:
        time.sleep(0.005)

    assert (batch["status"], batch["total_operations"], batch["finished_operations"]) == ("started", 2, 1)
    assert (batch["completed_at"], batch["response_body_url"]) == ("", "")
    assert shop.member(ANN).body["status"] == "subscribed"


def test_finished_does_not_mean_that_anything_went_well(emulator, shop):
    shop.add(BOB)
    emulator.control("clock", {"now": "2026-03-01T12:00:05+00:00"})
    deletions = [operation("DELETE", f"{MEMBERS}/{name}") for name in ("nobody", "no one", BOB)]

    batch = wait_for(shop, hand_in(shop, *deletions, add(ANN)))

    assert (batch["total_operations"], batch["finished_operations"], batch["errored_operations"]) == (4, 4, 2)
    assert batch["completed_at"] == "2026-03-01T12:00:05+00:00"


@pytest.mark.parametrize(
    ("sent", "status", "found"),
    [
        (operation("GET", "/ping"), 200, {"health_status": "Everything's Chimpy!"}),
        (operation("GET", "ping"), 200, {"health_status": "Everything's Chimpy!"}),  # without the slash
        (operation("GET", "/ping/"), 200, {"health_status": "Everything's Chimpy!"}),
        (operation("GET", MEMBERS + "?count=1&fields=total_items"), 200, {"total_items": 2}),
        (operation("GET", MEMBERS, params={"count": 1, "fields": ["total_items"]}), 200, {"total_items": 2}),
        (operation("GET", f"{MEMBERS}/ann%40inbox.example"), 200, {"email_address": ANN}),
        (operation("GET", MEMBERS, params={"count": 1, "vip_only": True, "status": None}), 200, {"total_items": 0}),
        (operation("PATCH", f"{MEMBERS}/{ANN}", {"status": "unsubscribed"}), 200, {"status": "unsubscribed"}),
        (operation("PATCH", f"{MEMBERS}/{ANN}", "{}", headers={"X-Trace": "1"}), 200, {"status": "subscribed"}),
        (operation("DELETE", f"{MEMBERS}/{ANN}"), 204, None),
        (add(ANN), 400, {"title": "Member Exists", "instance": ""}),
        (operation("POST", "/lists/0000000000/members", {}), 404, {"title": "Resource Not Found"}),  # a wrong list
        (operation("POST", f"/3.0{MEMBERS}", "{}"), 404, {"detail": "Invalid path"}),
        (operation("GET", "https://us14.api.mailchimp.com/3.0/ping"), 404, {"detail": "Invalid path"}),
        (operation("GET", "//ping"), 404, {"detail": "Invalid path"}),
        (operation("DELETE", f"/lists/{LIST}"), 405, {"title": "Method Not Allowed"}),
        (operation("POST", MEMBERS), 400, {"title": "Invalid Resource"}),
        (operation("POST", MEMBERS, '{"email'), 400, {"title": "JSON Parse Exception"}),
        ({**add(BOB), "body": {"email_address": BOB, "status": "subscribed"}}, 400, {"title": "JSON Parse Exception"}),
        (operation("GET", "/batches"), 400, {"title": "Invalid Action"}),
        (operation("POST", "batches", {"operations": [add(BOB)]}), 400, {"title": "Invalid Action"}),
        (operation("DELETE", "/batches/0123456789"), 400, {"title": "Invalid Action"}),
    ],
)
def test_an_operation_is_answered_as_the_direct_call_would_be(emulator, sent, status, found):
    shop = world(emulator, {"email_address": ANN}, {"email_address": "cat@inbox.example"})

    heard, body = run_one(shop, sent)

    assert heard == status
    assert body == (None if found is None else {**body, **found})
    assert shop.member(BOB).status == 404


def test_params_count_for_nothing_unless_the_operation_reads(emulator):
    shop = world(emulator, merge_fields=[{"tag": "MUST", "required": True}])
    lenient = {"skip_merge_validation": "true"}

    by_params, _ = run_one(shop, {**add(ANN), "params": lenient})
    by_path, _ = run_one(shop, {**add(ANN), "path": f"{MEMBERS}?skip_merge_validation=true"})

    assert (by_params, by_path) == (400, 200)


def test_a_collection_without_count_is_paged_through_by_itself(emulator):
    fields = [{"tag": f"F{number}"} for number in range(11)]
    shop = world(emulator, generate={"count": 25, "email": "c{}@inbox.example"}, merge_fields=fields)

    batch = wait_for(
        shop,
        hand_in(
            shop,
            operation("GET", MEMBERS, operation_id="all", params={"fields": "members.email_address"}),
            operation("GET", MEMBERS, operation_id="some", params={"count": 3}),
            operation("GET", f"{MEMBERS}?offset=8", operation_id="rest"),
            operation("GET", "/lists", operation_id="lists"),
            operation("GET", f"/lists/{LIST}/merge-fields", operation_id="fields"),
        ),
    )

    results = results_of(batch)
    assert [line["operation_id"] for line in results] == ["all"] * 3 + ["some"] + ["rest"] * 2 + ["lists"] + [
        "fields"
    ] * 2
    pages = [json.loads(line["response"]).get("members", []) for line in results]
    assert [len(page) for page in pages[:6]] == [10, 10, 5, 3, 10, 7]
    everybody = [member["email_address"] for page in pages[:3] for member in page]
    assert everybody == [f"c{number}@inbox.example" for number in range(1, 26)]
    assert (batch["total_operations"], batch["finished_operations"]) == (9, 9)


def test_batches_of_an_account_run_one_after_the_other(emulator):
    accounts = [{"users": [{"keys": [KEY]}], "lists": [{"id": LIST}]}, {"users": [{"keys": [OTHER]}]}]
    emulator.reset(accounts=accounts, latency=[{"method": "PATCH", "base_ms": 60_000}])
    shop, neighbour = Caller(emulator), Caller(emulator, OTHER)
    slow = hand_in(shop, operation("PATCH", f"{MEMBERS}/{ANN}", {}))
    waiting = hand_in(shop, add(ANN))
    wait_for(shop, slow, "started")

    wait_for(neighbour, hand_in(neighbour, operation("GET", "/ping")))

    assert (look(shop, slow)["status"], look(shop, waiting)["status"]) == ("started", "pending")
    assert emulator.members(LIST) == []


def test_operations_are_none_of_the_users_ten_calls_at_once(emulator, shop):
    emulator.control("latency", [{"method": "PATCH", "base_ms": 60_000}, {"path": "^/ping$", "base_ms": 300}])
    wait_for(shop, hand_in(shop, operation("PATCH", f"{MEMBERS}/{ANN}", {})), "started")

    with ThreadPoolExecutor(10) as callers:
        heard = list(callers.map(lambda _: shop.ask("GET", "/ping").status, range(10)))

    assert heard == [200] * 10
    assert emulator.metrics()["highest_concurrency"] == 10


def test_the_log_and_the_audit_trail_tell_what_came_in_a_batch(emulator, shop):
    batch_id = hand_in(shop, add(ANN), operation("GET", f"{MEMBERS}?count=1&status=pending"))
    wait_for(shop, batch_id)

    handed_in, *_ = emulator.log()
    added, read = [row for row in emulator.log() if row["batch"]]
    found = emulator.metrics()
    [audited] = emulator.audit()

    assert (handed_in["call"], handed_in["body"], handed_in["batch"]) == ("POST /batches", {"operations": 2}, "")
    assert (added["call"], added["batch"]) == ("POST /lists/{list_id}/members", batch_id)
    assert added["body"] == {"email_address": ANN, "status": "subscribed"}
    assert (added["status"], added["writes"], added["user"], added["concurrency"]) == (200, 1, "owner", 0)
    assert (read["path"], read["query"], read["writes"]) == (MEMBERS, "count=1&status=pending", 0)
    assert (audited["event"], audited["request"]) == ("created", added["number"])
    assert (found["operations"], found["calls"]["POST /batches"]) == (2, 1)
    assert found["statuses"]["batch: POST /lists/{list_id}/members"] == {"200": 1}
    assert "POST /lists/{list_id}/members" not in found["calls"]
    assert found["requests"] == sum(count for call, count in found["calls"].items() if not call.startswith("batch: "))


def test_the_page_shows_which_requests_came_in_a_batch(emulator, shop):
    batch_id = hand_in(shop, add(ANN))
    wait_for(shop, batch_id)

    _, page = fetch(emulator.url)

    assert page.decode().count(f"in batch {batch_id}") == 1


@pytest.mark.parametrize(
    ("fault", "status", "response", "written"),
    [
        ({"kind": "500", "when": "before"}, 500, "InternalServerError", False),
        ({"kind": "503", "when": "after"}, 503, "ComplianceRelated", True),
        ({"kind": "429", "when": "before"}, 429, "Too Many Requests", False),
        ({"kind": "429", "when": "before", "body": False}, 429, "", False),
        ({"kind": "502", "when": "after"}, 502, "502 Bad Gateway", True),
        ({"kind": "reset", "when": "before"}, 200, ANN, True),  # there is no connection to cut
        ({"kind": "truncate", "when": "after"}, 200, ANN, True),
    ],
)
def test_a_fault_that_is_a_status_strikes_operations_too(emulator, shop, fault, status, response, written):
    emulator.control("faults", [{**fault, "path": "/members"}])

    batch = wait_for(shop, hand_in(shop, add(ANN)))

    [line] = results_of(batch)
    assert (line["status_code"], bool(emulator.members(LIST))) == (status, written)
    assert response in line["response"] if response else line["response"] == ""
    assert batch["errored_operations"] == (status >= 400)
    [row] = [row for row in emulator.log() if row["batch"]]
    assert (row["status"], row["fault"]) == (status, fault["kind"] if status >= 400 else None)
    assert row["body"]["email_address"] == ANN


def test_two_thousand_operations_run_while_direct_calls_go_on(emulator, shop):
    emulator.control("latency", [{"path": "/c1000@", "base_ms": 300}])
    addresses = [f"c{number}@inbox.example" for number in range(2000)]
    operations = [operation("PUT", f"{MEMBERS}/{address}", {"status": "subscribed"}) for address in addresses]
    batch_id = hand_in(shop, *[{**sent, "operation_id": sent["path"]} for sent in operations])
    direct = 0

    while (batch := look(shop, batch_id))["status"] != "finished":
        assert shop.add(f"direct{direct}@inbox.example").status == 200
        direct += 1

    assert batch["errored_operations"] == 0
    assert [line["operation_id"] for line in results_of(batch)] == [sent["path"] for sent in operations]
    members = [row["email_address"] for row in emulator.members(LIST)]
    assert len(members) == 2000 + direct
    run_at_a_stretch = members[members.index("c0@inbox.example") : members.index("c999@inbox.example")]
    assert any(address.startswith("direct") for address in run_at_a_stretch)


# How it ends


def test_a_deleted_batch_stops_and_is_gone(emulator, shop):
    emulator.control("latency", [{"method": "POST", "path": "/members", "base_ms": 10}])
    batch_id = hand_in(shop, *[add(f"c{number}@inbox.example") for number in range(500)])
    waiting, last = hand_in(shop, add(ANN)), hand_in(shop, add(BOB))
    while not look(shop, batch_id)["finished_operations"]:
        time.sleep(0.005)

    heard = [shop.ask("DELETE", f"/batches/{key}").status for key in (batch_id, waiting, waiting)]
    wait_for(shop, last)

    assert heard == [204, 204, 404]
    assert shop.ask("GET", f"/batches/{batch_id}").title == "Resource Not Found"
    assert [batch["id"] for batch in shop.ask("GET", "/batches").body["batches"]] == [last]
    assert shop.member(ANN).status == 404
    assert 1 <= len(emulator.members(LIST)) - 1 < 500


def test_a_reset_ends_a_batch_in_the_middle(emulator, shop):
    emulator.control("latency", [{"method": "POST", "path": "/members", "base_ms": 10}])
    batch_id = hand_in(shop, *[add(f"c{number}@inbox.example") for number in range(500)])
    while not look(shop, batch_id)["finished_operations"]:
        time.sleep(0.005)

    shop = world(emulator)
    [after] = run(shop, add(ANN))

    assert after["status_code"] == 200
    assert [row["email_address"] for row in emulator.members(LIST)] == [ANN]
    assert [row["path"] for row in emulator.log() if row["batch"]] == [MEMBERS]


# Where the results are


def test_the_archive_holds_more_than_json_and_the_results_in_several_files(shop):
    operations = [add(f"c{number}@inbox.example", operation_id=f"id {number}") for number in range(600)]

    files = files_of(wait_for(shop, hand_in(shop, *operations)))

    assert files[0] == (".", None)
    others = [name for name, content in files if content is not None and not name.endswith(".json")]
    assert len(others) == 1
    lines = [json.loads(content) for name, content in files if name.endswith(".json")]
    assert [len(file) == 1 for file in lines[:2]] == [True, False]
    assert len(lines) > 2
    assert [line["operation_id"] for file in lines for line in file] == [sent["operation_id"] for sent in operations]
    assert {tuple(line) for file in lines for line in file} == {("status_code", "operation_id", "response")}


def test_a_response_is_a_string_whose_slashes_are_escaped(shop):
    added, again = run(shop, add(ANN), add(ANN, operation_id="again"))

    assert (added["operation_id"], again["operation_id"]) == (None, "again")
    assert r'"href":"https:\/\/us14.api.mailchimp.com\/3.0\/lists' in added["response"]
    assert json.loads(added["response"]) == shop.member(ANN).body
    assert again["response"] == (
        '{"title":"Member Exists","status":400,'
        f'"detail":"{ANN} is already a list member. Use PUT to insert or update list members.","instance":""}}'
    )


def test_the_address_of_the_results_is_to_be_used_as_it_is(emulator, shop):
    address = wait_for(shop, hand_in(shop, add(ANN)))["response_body_url"]

    assert address.startswith(f"{emulator.url}/_archives/")
    assert "&Signature=%2B" in address  # which says something else when it is decoded


def test_the_address_of_the_results_works_for_ten_minutes_and_a_fresh_one_can_be_had(emulator, shop):
    batch_id = hand_in(shop, add(ANN))
    first = wait_for(shop, batch_id)["response_body_url"]
    emulator.control("clock", {"now": "2026-03-01T12:09:59+00:00"})
    in_time = fetch(first)[0]
    emulator.control("clock", {"now": "2026-03-01T12:10:00+00:00"})
    late = fetch(first)
    fresh = fetch(look(shop, batch_id)["response_body_url"])[0]

    assert (in_time, late[0], fresh) == (200, 403, 200)
    assert b"<Code>AccessDenied</Code>" in late[1]


def test_the_results_are_kept_for_seven_days(emulator, shop):
    batch_id = hand_in(shop, add(ANN))
    wait_for(shop, batch_id)
    emulator.control("clock", {"now": "2026-03-08T12:00:00+00:00"})
    last_address = look(shop, batch_id)["response_body_url"]
    on_the_last_day = fetch(last_address)[0]

    emulator.control("clock", {"now": "2026-03-08T12:00:01+00:00"})

    assert (on_the_last_day, fetch(last_address)[0]) == (200, 404)
    assert shop.ask("GET", f"/batches/{batch_id}").title == "Resource Not Found"


def test_who_sends_a_key_to_the_storage_is_refused(shop):
    address = wait_for(shop, hand_in(shop, add(ANN)))["response_body_url"]

    for scheme in ("Basic YTpi", f"Bearer {KEY}", "anything"):
        status, said = fetch(address, Authorization=scheme)
        assert (status, b"<Code>InvalidArgument</Code>" in said) == (400, True)
    assert fetch(address)[0] == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda address: address[:-1],
        lambda address: address.partition("?")[0],
        lambda address: address.replace("Expires=1", "Expires=2"),
        lambda address: address.replace("Expires=1", "Expires="),
        lambda address: address.replace("-response", "0-response"),
        urllib.parse.unquote,  # a client that decodes the address breaks the signature
    ],
)
def test_an_address_that_was_not_signed_like_this_is_refused(shop, spoil):
    address = wait_for(shop, hand_in(shop, add(ANN)))["response_body_url"]

    status, said = fetch(spoil(address))

    assert (status, b"<Code>SignatureDoesNotMatch</Code>" in said) == (403, True)


def test_the_results_of_a_deleted_or_forgotten_batch_cannot_be_fetched(emulator, shop):
    deleted, forgotten = (wait_for(shop, hand_in(shop, add(ANN))) for _ in range(2))
    shop.ask("DELETE", f"/batches/{deleted['id']}")
    after_delete = fetch(deleted["response_body_url"])[0]

    world(emulator)

    assert (after_delete, fetch(forgotten["response_body_url"])[0]) == (404, 403)
