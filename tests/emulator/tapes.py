"""Recorded exchanges with Mailchimp, read from their files.

The world that each was taken in is worked out in `worlds.py`, what came out is compared in `likeness.py`, and both
are put to use in `playing.py`. What kind of evidence a recording is (`provenance`, `partial`, `trimmed`) decides how
closely it is compared; nothing looks at what it is called.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mailchimp_emulator import hashing

from . import coverage
from .openapi import MAILCHIMP

TAPES = MAILCHIMP / "recordings"
OUT_OF_SCOPE = ("segments", "interests")  # files; and campaigns, which have no file of their own
DC = "us14"
KEY = f"{'a' * 32}-{DC}"
Json = dict[str, Any]

MEMBER_PATH = re.compile(r"/lists/[^/]+/members(?:/(?P<hash>[^/]+))?(?P<tags>/tags)?")
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+\.\w+")
_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?=[T ])")
_KEPT = re.compile(r"(\w+): (\d+) of (\d+) kept")
_REDUCED = re.compile(r"(\w+) reduced to ([\w, ]+)")


@dataclass(frozen=True, slots=True)
class Tape:
    """One exchange as it was recorded, with the data centre filled in."""

    id: str
    file: str
    provenance: str
    age: str  # the day it was recorded, or the latest one it speaks of; "" if neither is known
    method: str
    path: str
    query: Mapping[str, str]
    sent: Any
    sent_headers: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    answer: Any  # None for an empty body
    partial: bool
    trimmed: tuple[str, ...]
    from_mailchimp: bool  # Mailchimp is the caller: deliveries to webhooks

    @property
    def whole(self) -> bool:
        """Whether a key that is not on the tape was not in the answer."""
        return not self.partial and self.provenance != "test-double"

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def body(self) -> Json:
        """The answer if it is an object, else an empty one."""
        return self.answer if isinstance(self.answer, dict) else {}

    @property
    def asked(self) -> Json:
        """The request's body if it is an object, else an empty one."""
        return self.sent if isinstance(self.sent, dict) else {}

    @property
    def problem(self) -> str:
        return str(self.body.get("title", "")) if self.status >= 400 else ""

    def kept(self, name: str) -> int | None:
        """How many items a collection had before it was trimmed, if it was."""
        found = [match for text in self.trimmed if (match := _KEPT.fullmatch(text)) and match[1] == name]
        return int(found[0][3]) if found else None

    def lost(self, name: str) -> bool:
        """Whether keys were cut off the items of this collection."""
        return any(match[1] == name for text in self.trimmed if (match := _REDUCED.fullmatch(text)))


@functools.cache
def everything() -> tuple[Tape, ...]:
    """All recordings, also those of no concern here: they too tell what was seen when."""
    return tuple(
        _tape(file.stem, entry) for file in sorted(TAPES.glob("*.json")) for entry in json.loads(file.read_text())
    )


def library() -> tuple[Tape, ...]:
    """The recordings the emulator is held against."""
    return tuple(
        tape for tape in everything() if tape.file not in OUT_OF_SCOPE and not tape.path.startswith("/campaigns")
    )


def _tape(file: str, entry: Json) -> Tape:
    entry = json.loads(json.dumps(entry).replace("{dc}", DC))
    asked, answered = entry["request"], entry["response"]
    days = _DAY.findall(json.dumps([asked.get("body"), answered.get("body")]))
    return Tape(
        id=entry["id"],
        file=file,
        provenance=entry["provenance"],
        age=entry.get("recorded_on") or max(days, default=""),
        method=asked["method"],
        path=asked["path"],
        query=asked.get("query", {}),
        sent=asked.get("body"),
        sent_headers=asked.get("headers", {}),
        status=answered["status"],
        headers=answered.get("headers", {}),
        answer=answered.get("body") or None,
        partial=entry.get("partial", False),
        trimmed=tuple(entry.get("trimmed", ())),
        from_mailchimp=entry.get("direction") == "from Mailchimp",
    )


@functools.cache
def addresses() -> Mapping[str, str]:
    """Every address on any tape by its subscriber hash, to know who is meant by a path."""
    text = json.dumps([(tape.sent, tape.answer) for tape in everything()])
    return {hashing.subscriber_hash(address): address for address in _ADDRESS.findall(text)}


def addresses_in(value: Any) -> list[str]:
    return _ADDRESS.findall(json.dumps(value))


def about_one_member(tape: Tape) -> bool:
    """Whether the call is about one contact: adding, reading, changing, archiving, tagging it."""
    match = MEMBER_PATH.fullmatch(tape.path)
    return match is not None and (bool(match["hash"]) or tape.method == "POST")


def list_of(tape: Tape) -> str:
    """The id of the audience in the path."""
    return tape.path.split("/")[2]


def members_of(body: Json) -> list[Json]:
    """The members in an answer or a request that has several."""
    return [member for name in ("members", "new_members", "updated_members") for member in body.get(name, ())]


def sent_by(tape: Tape) -> Json:
    """What the request sends that is not null."""
    return {name: value for name, value in tape.asked.items() if value is not None}


def could_make(tape: Tape) -> bool:
    """Whether the request has what a new member needs."""
    sent = sent_by(tape)
    return "email_address" in sent and ("status" in sent or "status_if_new" in sent)


def makes_a_member(tape: Tape) -> bool:
    """Whether the answer is somebody who was nobody before: added, or put and opted in at that moment."""
    opted_in_now = tape.body.get("timestamp_opt") == tape.body.get("last_changed")
    return tape.method == "POST" or (tape.method == "PUT" and could_make(tape) and opted_in_now)


def summary(*, passed: int, failed: int) -> str:
    """The line about the recordings at the end of a test run."""
    everything_known, contradicted = len(library()), len(coverage.not_followed())
    told = f"recordings: {passed} of {everything_known} played and the same"
    if failed:
        told += f", {failed} NOT the same"
    if passed + failed + contradicted < everything_known:
        return f"{told}, in this run"
    return f"{told}, {contradicted} contradicted by newer sources (COVERAGE.md)"
