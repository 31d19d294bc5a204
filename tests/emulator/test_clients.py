"""Two clients others have written take a whole tour: Mailchimp's own `mailchimp-marketing`, and `mailchimp3`.

They go through the same story, each in its own words (`clients.py`).
"""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request

import pytest

from mailchimp_emulator.serve import Running

from .calling import KEY, LIST, NOON, until
from .clients import Client, Json, MailChimp3, Marketing, md5
from .receiving import ALL_EVENTS, ALL_SOURCES, Receiver, quiet

ANN, BOB, EVE = "ann@inbox.example", "bob@inbox.example", "eve@inbox.example"
LATER = "2026-03-02T00:00:00+00:00"


@pytest.fixture(params=[Marketing, MailChimp3])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    """Both ask the environment for proxies; for this machine there is none."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found: type[Client] = request.param
    return found


@pytest.fixture
def client(emulator: Running, kind: type[Client]) -> Client:
    return kind(emulator, KEY)


def test_a_client_takes_a_whole_tour(emulator, client):
    """What one does in an audience from the first look to the last member."""
    it_looks_around(client)
    it_adds_and_changes_somebody(client)
    it_tags(client)
    it_adds_and_updates_many(client)
    it_reads_page_by_page(client)
    it_reads_what_changed(emulator, client)
    it_unsubscribes_and_subscribes_again(client)
    it_cannot_bring_back_who_left(emulator, client)
    it_archives_and_adds_again(client)
    it_deletes_permanently(client)


def it_looks_around(client: Client) -> None:
    assert client.ping() == {"health_status": "Everything's Chimpy!"}
    assert client.root()["role"] == "owner"
    assert [found["id"] for found in client.lists()["lists"]] == [LIST]
    assert client.audience()["stats"]["member_count"] == 0
    assert {field["tag"]: field["type"] for field in client.fields()["merge_fields"]} == {
        "FNAME": "text",
        "LNAME": "text",
        "ADDRESS": "address",
        "PHONE": "phone",
        "BIRTHDAY": "birthday",
    }


def it_adds_and_changes_somebody(client: Client) -> None:
    added = client.add({"email_address": ANN, "status": "subscribed", "merge_fields": {"FNAME": "Ann"}})
    again = client.refused(client.add, {"email_address": ANN, "status": "subscribed"})
    changed = client.change(ANN, {"merge_fields": {"LNAME": "Lee"}})
    put = client.put(ANN, {"email_address": ANN, "status_if_new": "pending", "merge_fields": {"FNAME": "Anna"}})
    new = client.put(BOB, {"email_address": BOB, "status_if_new": "subscribed"})
    fake = client.refused(client.add, {"email_address": "foo@bar.com", "status": "subscribed"})
    wrong = client.refused(client.change, ANN, {"merge_fields": {"BIRTHDAY": "tomorrow"}})
    nobody = client.refused(client.member, EVE)

    assert (added["id"], added["full_name"], added["timestamp_opt"]) == (md5(ANN), "Ann", NOON)
    assert again["title"] == "Member Exists"
    assert changed["full_name"] == "Ann Lee"
    assert (put["full_name"], put["status"]) == ("Anna Lee", "subscribed")
    assert (new["email_address"], new["status"]) == (BOB, "subscribed")
    assert fake["detail"] == "foo@bar.com looks fake or invalid, please enter a real email address."
    assert [error["field"] for error in wrong["errors"]] == ["BIRTHDAY"]
    assert (nobody["status"], nobody["title"]) == (404, "Resource Not Found")
    assert client.member(ANN)["merge_fields"]["FNAME"] == "Anna"


def it_tags(client: Client) -> None:
    on = {"tags": [{"name": "vip", "status": "active"}, {"name": "new", "status": "active"}]}

    assert client.set_tags(ANN, on) is None
    assert [tag["name"] for tag in client.tags(ANN)["tags"]] == ["vip", "new"]
    assert client.set_tags(ANN, {"tags": [{"name": "new", "status": "inactive"}]}) is None
    assert [tag["name"] for tag in client.member(ANN)["tags"]] == ["vip"]


def it_adds_and_updates_many(client: Client) -> None:
    many = [{"email_address": f"c{number}@inbox.example", "status": "subscribed"} for number in range(25)]
    same = {"email_address": ANN, "status_if_new": "subscribed", "merge_fields": {"FNAME": "Ann"}}

    added = client.bulk({"members": [*many, {**same, "email_address": "foo@bar.com"}]})
    there = client.bulk({"members": [same]})
    updated = client.bulk({"members": [same], "update_existing": True})

    assert (added["total_created"], added["total_updated"], added["error_count"]) == (25, 0, 1)
    assert added["errors"][0]["error_code"] == "ERROR_GENERIC"
    assert [error["error_code"] for error in there["errors"]] == ["ERROR_CONTACT_EXISTS"]
    assert [member["email_address"] for member in updated["updated_members"]] == [ANN]


def it_reads_page_by_page(client: Client) -> None:
    page = client.page(count=10, offset=20)
    usual = client.page()
    subscribed = client.page(status="subscribed", count=0)
    everybody = client.everybody(10)

    assert (len(page["members"]), page["total_items"], len(usual["members"])) == (7, 27, 10)
    assert (subscribed["members"], subscribed["total_items"]) == ([], 27)
    assert sorted(member["email_address"] for member in everybody) == sorted(
        [ANN, BOB, *(f"c{number}@inbox.example" for number in range(25))]
    )


def it_reads_what_changed(emulator: Running, client: Client) -> None:
    emulator.control("clock", {"now": LATER})
    client.change(BOB, {"merge_fields": {"FNAME": "Bob"}})

    changed = client.page(since_last_changed=NOON)

    assert [member["email_address"] for member in changed["members"]] == [BOB]


def it_unsubscribes_and_subscribes_again(client: Client) -> None:
    off = client.change(BOB, {"status": "unsubscribed"})
    counts = client.audience()["stats"]
    on = client.change(BOB, {"status": "subscribed"})

    assert (off["status"], off["unsubscribe_reason"]) == ("unsubscribed", "N/A (Unsubscribed by admin)")
    assert (counts["member_count"], counts["unsubscribe_count"]) == (26, 1)
    assert (on["status"], on["timestamp_opt"]) == ("subscribed", NOON)


def it_cannot_bring_back_who_left(emulator: Running, client: Client) -> None:
    emulator.control("member_event", {"list_id": LIST, "email": BOB, "event": "unsubscribe"})

    problem = client.refused(client.change, BOB, {"status": "subscribed"})
    asked = client.change(BOB, {"status": "pending"})
    emulator.control("member_event", {"list_id": LIST, "email": BOB, "event": "confirm"})

    assert problem["title"] == "Member In Compliance State"
    assert problem["detail"] == (
        f"{BOB} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
    )
    assert asked["status"] == "pending"
    assert client.member(BOB)["status"] == "subscribed"


def it_archives_and_adds_again(client: Client) -> None:
    assert client.archive(ANN) is None
    twice = client.refused(client.archive, ANN)
    archived = client.member(ANN)
    kept = client.put(ANN, {"email_address": ANN, "status_if_new": "subscribed"})
    again = client.add({"email_address": ANN, "status": "subscribed"})

    assert (twice["status"], twice["title"]) == (405, "Method Not Allowed")
    assert (archived["status"], kept["status"]) == ("archived", "archived")
    assert (again["status"], again["timestamp_opt"]) == ("subscribed", LATER)
    assert [tag["name"] for tag in again["tags"]] == ["vip"]


def it_deletes_permanently(client: Client) -> None:
    assert client.forget(ANN) is None
    gone = client.refused(client.member, ANN)
    again = client.refused(client.add, {"email_address": ANN, "status": "subscribed"})
    pending = client.refused(client.put, ANN, {"email_address": ANN, "status_if_new": "pending"})

    assert gone["status"] == 404
    assert [again["title"], pending["title"]] == ["Forgotten Email Not Subscribed"] * 2


def test_a_client_with_a_wrong_key_is_told_so(emulator, kind):
    stranger = kind(emulator, "0" * 32 + "-us14")
    astray = kind(emulator, KEY.replace("us14", "us6"))

    problems = [client.refused(client.root) for client in (stranger, astray)]

    assert [(problem["status"], problem["title"]) for problem in problems] == [(401, "API Key Invalid")] * 2


def test_a_client_that_is_one_too_many_is_told_to_slow_down(client, shop):
    with shop.keeping_busy(10):
        problem = client.refused(client.lists)

    assert (problem["status"], problem["title"]) == (429, "Too Many Requests")


def test_a_client_makes_changes_and_deletes_a_merge_field(client):
    made = client.add_field({"name": "Ring size", "type": "number", "tag": "RING"})
    client.add({"email_address": ANN, "status": "subscribed", "merge_fields": {"RING": "17"}})
    changed = client.change_field(made["merge_id"], {"name": "Size of ring", "tag": "SIZE"})
    kept = client.member(ANN)["merge_fields"]["SIZE"]
    twice = client.refused(client.add_field, {"name": "Again", "type": "text", "tag": "SIZE"})
    nothing = client.delete_field(made["merge_id"])

    assert (made["tag"], made["type"], made["list_id"]) == ("RING", "number", LIST)
    assert (changed["name"], changed["tag"], kept) == ("Size of ring", "SIZE", 17)
    assert twice["status"] == 400
    assert nothing is None
    assert "SIZE" not in client.member(ANN)["merge_fields"]


def test_a_client_searches_members(client):
    for address, name in ((ANN, "Ann"), (BOB, "Bob"), ("annabel@inbox.example", "Annabel")):
        client.add({"email_address": address, "status": "subscribed", "merge_fields": {"FNAME": name}})

    found = client.search("ann")
    exact = client.search(BOB)

    parts = {part: [member["email_address"] for member in found[part]["members"]] for part in found if part != "_links"}
    assert parts == {"exact_matches": [ANN], "full_search": ["annabel@inbox.example"]}
    assert exact["exact_matches"]["total_items"] == 1


def test_a_client_has_a_webhook_told_of_what_happens(emulator, client, receiver: Receiver):
    url = f"{receiver.url}&for=@shop.example"  # mailchimp3 takes no address of this machine but in such a disguise

    made = client.add_webhook({"url": url, "events": ALL_EVENTS, "sources": ALL_SOURCES})
    client.add({"email_address": ANN, "status": "subscribed"})
    emulator.control("member_event", {"list_id": LIST, "email": ANN, "event": "unsubscribe"})
    quiet(emulator)
    listed = client.webhooks()["webhooks"]
    changed = client.change_webhook(made["id"], {"events": {**ALL_EVENTS, "subscribe": False}})
    client.add({"email_address": BOB, "status": "subscribed"})
    nothing = client.delete_webhook(made["id"])
    quiet(emulator)

    assert [letter.method for letter in receiver.letters] == ["GET", "POST", "POST"]
    assert receiver.types == ["subscribe", "unsubscribe"]
    assert [hook["id"] for hook in listed] == [made["id"]]
    assert changed["events"]["subscribe"] is False
    assert nothing is None
    assert client.webhooks()["total_items"] == 0


def test_a_client_hands_in_a_batch_and_fetches_its_results(client):
    adding = json.dumps({"email_address": ANN, "status": "subscribed"})
    operations = [
        {"method": "POST", "path": f"/lists/{LIST}/members", "operation_id": "ann", "body": adding},
        {"method": "GET", "path": f"/lists/{LIST}/members/{md5(BOB)}", "operation_id": "bob"},
    ]

    begun = client.start_batch({"operations": operations})
    until(lambda: client.batch(begun["id"])["status"] == "finished")
    done = client.batch(begun["id"])
    results = {result["operation_id"]: result for result in fetched(done["response_body_url"])}
    listed = [batch["id"] for batch in client.batches()["batches"]]
    nothing = client.delete_batch(begun["id"])
    gone = client.refused(client.batch, begun["id"])

    assert begun["status"] == "pending"
    assert (done["total_operations"], done["finished_operations"], done["errored_operations"]) == (2, 2, 1)
    assert {name: result["status_code"] for name, result in results.items()} == {"ann": 200, "bob": 404}
    assert json.loads(results["ann"]["response"])["email_address"] == ANN
    assert client.member(ANN)["status"] == "subscribed"
    assert listed == [begun["id"]]
    assert (nothing, gone["status"]) == (None, 404)


def fetched(address: str) -> list[Json]:
    """The results in an archive, fetched without a key."""
    with urllib.request.urlopen(address, timeout=20) as reply:
        content = io.BytesIO(reply.read())
    with tarfile.open(fileobj=content, mode="r:gz") as archive:
        files = [archive.extractfile(member) for member in archive if member.name.endswith(".json")]
        return [result for file in files if file for result in json.load(file)]
