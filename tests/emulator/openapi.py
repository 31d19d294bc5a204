"""Mailchimp's published description of its replies, and where recordings contradict it.

The description is loose: it requires hardly anything and lets every further key pass. Here the world is closed: a key
that it does not name is a fault too.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError

MAILCHIMP = Path(__file__).parents[3] / "shared" / "mailchimp"
DESCRIPTION = MAILCHIMP / "openapi.json"
PROBLEM = "ProblemDetailDocument"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")

# Calls the emulator answers though the description leaves them out, with the schema of their reply.
DESCRIBED_ELSEWHERE = {"POST /lists": "SubscriberList"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One disagreement between a body and its schema: where (dotted, without list positions) and which rule."""

    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.place or '(the body)'}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A fault that is none, because Mailchimp was seen to answer so."""

    calls: str  # regular expression of the calls, or `problem` with its title
    place: str  # or the end of it, since a member is a reply of its own or one of many
    rule: str
    source: str  # a recording that has the fault, or the words of API.md

    def covers(self, call: str, fault: Fault) -> bool:
        same_place = fault.place == self.place or fault.place.endswith(f".{self.place}")
        return same_place and fault.rule == self.rule and re.fullmatch(self.calls, call) is not None


_LISTS = r"(GET|POST) /lists|(GET|PATCH) /lists/\{list_id\}"
_MEMBERS = r"(GET|POST|PUT|PATCH) /lists/\{list_id\}/members.*|GET /search-members"
_BULK = r"POST /lists/\{list_id\}"
CONTRADICTIONS = (
    Contradiction(_LISTS, "stats.campaign_last_sent", "format date-time", "lists/collection-2021"),
    Contradiction(_LISTS, "stats.last_sub_date", "format date-time", "lists/collection-2021"),
    Contradiction(_LISTS, "stats.last_unsub_date", "format date-time", "lists/collection-2021"),
    Contradiction("GET /", "first_payment", "format date-time", "account/root-2020"),
    Contradiction(_MEMBERS, "sms_subscription_status", "enum", "get/member-2024-admin-add"),
    Contradiction(_BULK, "web_id", "unknown key", "batch/one-created-2020"),
    Contradiction(_BULK, "source", "unknown key", "batch/one-created-2020"),
    Contradiction(
        *(_BULK, "updated_members.status", "enum"),
        "API.md: | archived | PUT with status_if_new only | **200, still archived** |",
    ),
    Contradiction("problem Member Exists", "type", "required", "post/exists-2023"),
    Contradiction("problem Member In Compliance State", "type", "required", "patch/compliance-2025"),
    Contradiction("problem Forgotten Email Not Subscribed", "type", "required", "post/forgotten-2023"),
)


@dataclass(frozen=True, slots=True)
class Description:
    """The description, read once: which schema a reply must follow."""

    operations: Mapping[str, Mapping[str, Any]]  # "GET /lists/{list_id}" -> its description
    schemas: Mapping[str, Any]

    def call_of(self, method: str, path: str) -> str | None:
        """The described operation that a request is one of."""
        for call in (*self.operations, *DESCRIBED_ELSEWHERE):
            verb, template = call.split(" ", 1)
            if verb == method and pattern_of(template).fullmatch(path):
                return call
        return None

    def faults(self, call: str, status: int, body: Any) -> Iterator[Fault]:
        """What the schema says against this body, whether or not recordings contradict it."""
        schema = self._schema(call, status)
        if schema is None:
            if body is not None:
                yield Fault("", "no body is described")
            return
        for error in validator(schema).iter_errors(body):
            yield from _faults(error)

    def _schema(self, call: str, status: int) -> str | None:
        if status >= 400:
            return PROBLEM
        if call in DESCRIBED_ELSEWHERE:
            return DESCRIBED_ELSEWHERE[call]
        return call if str(status) == "200" and "200" in self.operations[call]["responses"] else None


@functools.cache
def description() -> Description:
    document = json.loads(DESCRIPTION.read_text())
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "responses" in operation
    }
    return Description(operations, _closed(document["components"]["schemas"]))


@functools.cache
def pattern_of(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", template))


def nameless(call: str) -> str:
    """A call without the names of the parts of its path, which everybody chooses differently."""
    return re.sub(r"\{\w+\}", "{}", call)


def problem(body: Any) -> str:
    """A problem document in the place of a call: what is known of it depends on its title alone."""
    return f"problem {body.get('title') if isinstance(body, dict) else ''}"


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Raise an AssertionError if this reply is not one that the description, or a recording, allows."""
    wrong = [str(fault) for fault in faults_of_reply(method, path, status, headers, body)]
    assert not wrong, f"{method} {path} → {status} is not as described: {'; '.join(wrong)}"


def faults_of_reply(
    method: str, path: str, status: int, headers: Mapping[str, str], body: Any
) -> Iterator[Fault | str]:
    path, _, query = path.partition("?")
    call = description().call_of(method, path.rstrip("/") or "/")
    if status < 400 and call is None:
        yield "no such operation is described"
        return
    kind = "application/problem+json" if status >= 400 else "application/json"
    if headers.get("content-type") != f"{kind}; charset=utf-8":
        yield f"the content type is {headers.get('content-type')}"
    if status >= 400:
        call = problem(body)
    for fault in description().faults(call or "", status, body):
        cut_short = fault.rule == "required" and "fields=" in query  # what was not asked for is not there
        if not cut_short and not any(known.covers(call or "", fault) for known in CONTRADICTIONS):
            yield fault


def _closed(schema: Any) -> Any:
    """The schema with every object that names its keys closed against all others."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@functools.cache
def validator(schema: str) -> Draft202012Validator:
    """The validator of a named schema or of an operation's 200, compiled once."""
    found = description().schemas.get(schema)
    if found is None:
        reply = description().operations[schema]["responses"]["200"]["content"]["application/json"]
        found = _closed(reply["schema"])
    return Draft202012Validator({**found, "components": {"schemas": description().schemas}}, format_checker=_formats())


@functools.cache
def _formats() -> FormatChecker:
    """The one format in the replies; Mailchimp writes its moments in one way."""
    checker = FormatChecker(formats=())
    checker.checks("date-time")(lambda value: not isinstance(value, str) or MOMENT.fullmatch(value) is not None)
    return checker


def _faults(error: ValidationError) -> Iterator[Fault]:
    place = ".".join(str(part) for part in error.absolute_path if isinstance(part, str))
    if error.validator == "additionalProperties":
        for name in sorted(set(error.instance) - set(error.schema["properties"])):
            yield Fault(f"{place}.{name}".lstrip("."), "unknown key")
    elif error.validator == "required":
        name = re.findall("'([^']*)'", error.message)[0]
        yield Fault(f"{place}.{name}".lstrip("."), "required")
    elif error.validator == "format":
        yield Fault(place, f"format {error.validator_value}")
    else:
        yield Fault(place, str(error.validator))
