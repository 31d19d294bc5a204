"""Playing one recording: making its world, doing what was done, and telling what came out otherwise."""

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mailchimp_emulator.serve import Running

from . import hook_tapes, likeness, tapes, worlds
from .calling import LIST, Caller, Heard, until
from .receiving import receiving
from .tapes import Json, Tape
from .worlds import World

ARCHIVE = "(response_body_url)"


def differences(server: Running, tape: Tape) -> list[str]:
    """What is not as on this tape; empty if nothing is."""
    if tape.from_mailchimp:
        return _as_mailchimp(server, tape)
    if tape.path == ARCHIVE:
        return _in_a_batch(server, tape)
    world = worlds.world_before(tape)
    server.reset(**world.seed())
    names = _run_batches(server, world)
    return likeness.differences(tape, send(server, tape, world), names)


def send(server: Running, tape: Tape, world: World) -> Heard:
    """Send the recorded request in the world that is there."""
    caller = Caller(server, world.key)
    target = tape.target.replace(tape.path, world.path, 1)
    if tape.path.startswith("/oauth2/"):  # on Mailchimp's login host
        return caller.send(tape.method, target, None, {"Authorization": f"OAuth {world.key}"})
    raw = tape.sent.encode() if isinstance(tape.sent, str) else None
    with caller.keeping_busy(world.crowd), _url_in(world, tape.sent) as sent:
        return caller.ask(tape.method, target, None if raw else sent, raw=raw)


@contextmanager
def _url_in(world: World, sent: Any) -> Iterator[Any]:
    """The request's body, with a URL of ours in it if one has to answer."""
    if world.url_answers is None:
        yield sent
        return
    with receiving() as receiver:
        receiver.answer = world.url_answers
        yield {**sent, "url": receiver.url}


def _run_batches(server: Running, world: World) -> likeness.Names:
    """Make the batches that the tape tells of; whose ids stand for whose."""
    names = likeness.Names()
    for told in world.batches:
        ours = _run_batch(server, Caller(server, world.key), told)
        names.agree(told["id"], ours)
        world.path = world.path.replace("{batch_id}", ours)
    return names


def _run_batch(server: Running, caller: Caller, told: Json) -> str:
    """Hand in a batch that ends as this one did, and when it did; its id."""
    failing = [{"method": "PUT", "path": "/lists"}] * told["errored_operations"]
    fine = [{"method": "GET", "path": "/ping"}] * (told["total_operations"] - told["errored_operations"])
    server.control("clock", {"now": told["submitted_at"]})
    slowly = {"path": "^/(lists|ping)$", "base_ms": 400}  # so that the clock is set before it is finished
    server.control("latency", [slowly])
    path = f"/batches/{caller.ask('POST', '/batches', {'operations': failing + fine}).body['id']}"
    server.control("clock", {"now": told["completed_at"]})
    server.control("latency", [])
    until(lambda: caller.ask("GET", path).body["status"] == told["status"])
    return path.rpartition("/")[2]


def _in_a_batch(server: Running, tape: Tape) -> list[str]:
    """Lines of a batch's results: the call that each must have been, carried out as an operation."""
    found = []
    for line in tape.answer:
        call = _call_of(tape, line)
        world = worlds.world_before(call)
        server.reset(**world.seed())
        operation = {"method": call.method, "path": call.path, "body": json.dumps(call.sent)}
        operation["operation_id"] = line["operation_id"]
        [ours] = _results(Caller(server, world.key), [operation])
        found += likeness.differences_between(tape, unfolded(line), unfolded(ours))
    return found


def _call_of(tape: Tape, line: Json) -> Tape:
    """The exchange that a line of results tells of: somebody was to be added."""
    answer = json.loads(line["response"])
    sent = {
        "email_address": next(iter(tapes.addresses_in(answer)), "ann@inbox.example"),
        "status": "subscribed",
        "merge_fields": {error["field"]: "1980-12-21" for error in answer.get("errors", ())},
    }
    path = f"/lists/{LIST}/members"
    return replace(tape, method="POST", path=path, sent=sent, status=line["status_code"], answer=answer)


def unfolded(line: Json) -> Json:
    """A line of results with its response as an object."""
    return {**line, "response": json.loads(line["response"])}


def _results(caller: Caller, operations: list[Json]) -> list[Json]:
    """What an archive says of these operations when they have been carried out."""
    path = f"/batches/{caller.ask('POST', '/batches', {'operations': operations}).body['id']}"
    until(lambda: caller.ask("GET", path).body["status"] == "finished")
    with urllib.request.urlopen(caller.ask("GET", path).body["response_body_url"]) as reply:
        packed = io.BytesIO(reply.read())
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        files = [archive.extractfile(entry) for entry in archive if entry.name.endswith(".json")]
        return [line for file in files if file for line in json.loads(file.read())]


def _as_mailchimp(server: Running, tape: Tape) -> list[str]:
    """What a webhook hears: the question whether it is there, or a delivery."""
    with receiving() as receiver:
        if tape.sent is None:
            server.reset(**World("", audience={"id": LIST}).seed())
            receiver.added_to(Caller(server, tapes.KEY))
            [letter] = receiver.letters
            told = None if not letter.raw else letter.form
        else:
            letter = hook_tapes.delivered(server, receiver, tape.sent)
            told = hook_tapes.unfolded(letter.form)
    found = likeness.differences_between(tape, tape.sent, told)
    if letter.method != tape.method:
        found.append(f"the method is {letter.method}")
    for name, value in tape.sent_headers.items():
        if letter.headers.get(name.lower()) != value:
            found.append(f"{name}: {letter.headers.get(name.lower())}, recorded {value}")
    return found
