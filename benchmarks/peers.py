"""How others bring a book into an audience, against the same emulator: their way is measured, not their code.

one_by_one          the official client in a loop: one PUT a person; with one thread, or with ten
five_hundred        500 a call, one call after the other, statuses overwritten: what the fastest do
looked_at_first     a GET of each person's status, then 500 a call: what the safest of the fast do
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mailchimp_marketing import Client

from benchmarks.world import AUDIENCE, KEY

BULK = 500


def people(first: int, count: int) -> Iterator[dict[str, object]]:
    for number in range(first, first + count):
        fields = {"FNAME": f"First{number}", "LNAME": f"Last{number}"}
        yield {"email_address": f"p{number}@inbox.example", "merge_fields": fields}


def one_by_one(url: str, whom: Sequence[dict[str, object]], threads: int) -> float:
    """Return the seconds it takes."""
    clients = [_client(url) for _ in range(threads)]

    def put(job: tuple[int, dict[str, object]]) -> None:
        number, person = job
        clients[number % threads].lists.set_list_member(
            AUDIENCE, _hash(person), {**person, "status_if_new": "subscribed"}
        )

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, enumerate(whom)))
    return time.monotonic() - began


def five_hundred(url: str, whom: Sequence[dict[str, object]]) -> float:
    """Return the seconds it takes."""
    client = _client(url)
    began = time.monotonic()
    for start in range(0, len(whom), BULK):
        members = [{**person, "status": "subscribed"} for person in whom[start : start + BULK]]
        client.lists.batch_list_members(AUDIENCE, {"members": members, "update_existing": True})
    return time.monotonic() - began


def looked_at_first(url: str, whom: Sequence[dict[str, object]]) -> float:
    """Return the seconds it takes."""
    client = _client(url)
    began = time.monotonic()
    for start in range(0, len(whom), BULK):
        members = []
        for person in whom[start : start + BULK]:
            if _status(client, person) in ("", "subscribed"):
                members.append({**person, "status": "subscribed"})
        client.lists.batch_list_members(AUDIENCE, {"members": members, "update_existing": True})
    return time.monotonic() - began


def _status(client: Client, person: dict[str, object]) -> str:
    from mailchimp_marketing.api_client import ApiClientError

    try:
        return str(client.lists.get_list_member(AUDIENCE, _hash(person), fields=["status"])["status"])
    except ApiClientError as error:
        if error.status_code == 404:
            return ""
        raise


def _hash(person: dict[str, object]) -> str:
    return hashlib.md5(str(person["email_address"]).lower().encode(), usedforsecurity=False).hexdigest()


def _client(url: str) -> Client:
    client = Client()
    client.set_config({"api_key": KEY, "server": "us14"})
    client.api_client.host = f"{url}/server/3.0"  # it puts the data centre in place of `server`
    return client
