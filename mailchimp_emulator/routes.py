"""Which calls there are, and how one is carried out, whether it came over a connection or in a batch."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlencode

import orjson

from mailchimp_emulator import batches, bulk, fields, handlers, lists, problems, schema, search, webhooks
from mailchimp_emulator.faults import STATUS_KINDS, Fault, Weather
from mailchimp_emulator.handlers import Call, Handler, Operation, Outcome, Reply
from mailchimp_emulator.problems import Problem
from mailchimp_emulator.rules import Writer
from mailchimp_emulator.state import LogRow, State, User

_LOGGER = logging.getLogger(__name__)

DEEPEST = 7  # parts of the longest documented path, /ecommerce/stores/{id}/products/{id}/variants/{id}
READING_ROLES = ("viewer", "author")  # may look but not write

_MEMBER = "/lists/{list_id}/members/{member}"
ROUTES: dict[str, dict[str, Handler]] = {
    "/": {"GET": handlers.get_root},
    "/ping": {"GET": handlers.get_ping},
    "/search-members": {"GET": search.search_members},
    "/lists": {"GET": lists.get_lists, "POST": lists.post_lists},
    "/lists/{list_id}": {"GET": lists.get_list, "POST": bulk.post_list},
    "/lists/{list_id}/members": {"GET": handlers.get_members, "POST": handlers.post_member},
    _MEMBER: {
        "GET": handlers.get_member,
        "PUT": handlers.put_member,
        "PATCH": handlers.patch_member,
        "DELETE": handlers.delete_member,
    },
    f"{_MEMBER}/tags": {"GET": handlers.get_member_tags, "POST": handlers.post_member_tags},
    f"{_MEMBER}/activity": {"GET": search.get_activity},
    f"{_MEMBER}/actions/delete-permanent": {"POST": handlers.delete_member_permanently},
    "/lists/{list_id}/tag-search": {"GET": search.search_tags},
    "/lists/{list_id}/merge-fields": {"GET": fields.get_merge_fields, "POST": fields.post_merge_field},
    "/lists/{list_id}/merge-fields/{merge_id}": {
        "GET": fields.get_merge_field,
        "PATCH": fields.patch_merge_field,
        "DELETE": fields.delete_merge_field,
    },
    "/batches": {"GET": batches.get_batches, "POST": batches.post_batches},
    "/batches/{batch_id}": {"GET": batches.get_batch, "DELETE": batches.delete_batch},
    "/lists/{list_id}/webhooks": {"GET": webhooks.get_webhooks, "POST": webhooks.post_webhook},
    "/lists/{list_id}/webhooks/{webhook_id}": {
        "GET": webhooks.get_webhook,
        "PATCH": webhooks.patch_webhook,
        "DELETE": webhooks.delete_webhook,
    },
}
_PATTERNS = [
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)), template, methods)
    for template, methods in ROUTES.items()
]
STATUS_FAULTS: dict[str, Callable[[], Problem]] = {
    "429": problems.too_many_requests,
    "403": problems.forbidden,
    "500": problems.internal_error,
    "503": problems.compliance_related,
}
BAD_GATEWAY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"


@dataclass(slots=True)
class Emulator:
    """What lives as long as the server: the present state and weather, its port, and the wish to stop."""

    state: State
    weather: Weather = field(default_factory=Weather)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def wait(self, seconds: float) -> None:
        """Let time pass, but not past the end of the server."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stopping.wait(), seconds)
            except TimeoutError:
                return


@dataclass(slots=True)
class Task:
    """A call to carry out for a user who has been let in."""

    state: State
    user: User
    row: LogRow
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    ip: str


async def carry_out(emulator: Emulator, task: Task) -> Reply:
    """Half of its latency passes before the write and the rest after; every refusal is a Problem."""
    clock = asyncio.get_running_loop().time
    began = clock()
    before = emulator.weather.seconds_for(task.method, task.path, _members_in(task.body)) / 2
    await emulator.wait(before)
    try:
        reply = await _handle(emulator, task)
    except Problem:
        raise
    except Exception:
        _LOGGER.exception("request %s could not be handled", task.row.number)
        raise problems.internal_error() from None
    latency = emulator.weather.seconds_for(task.method, task.path, reply.members)
    await emulator.wait(began + latency - clock())
    return reply


async def operate(emulator: Emulator, state: State, user: User, ip: str, operation: Operation) -> Outcome:
    """Carry out a call that came in a batch: nobody holds a connection for it, so it is none of the user's ten."""
    state.requests += 1
    state.operations += 1
    method, path, query = operation.method, operation.path, operation.query
    body, bad = _read(operation)
    row = LogRow(state.requests, time.time(), user.name, 0, method, path, urlencode(query))
    row.batch = operation.batch
    if body is not None:
        row.keep(orjson.dumps(body))
    state.log.append(row)
    fault = emulator.weather.fault_for(method, path, STATUS_KINDS)
    row.fault = fault.kind if fault else None
    if fault and fault.when == "before":
        outcome = _faulty(fault)
    else:
        done = await _operate(emulator, Task(state, user, row, method, path, query, body, ip), bad)
        outcome = _faulty(fault) if fault else done
    row.status = outcome.status
    count(state, row)
    return outcome


def count(state: State, row: LogRow) -> None:
    """Add the answered request to the counts per call; those in batches are counted apart."""
    call = row.call or f"{row.method} (not handled)"
    statuses = state.calls.setdefault(f"batch: {call}" if row.batch else call, {})
    status = str(row.status or "cut off")
    statuses[status] = statuses.get(status, 0) + 1


async def _operate(emulator: Emulator, task: Task, bad: Problem | None) -> Outcome:
    try:
        if bad:
            raise bad
        if f"{task.path}/".startswith("/batches/"):
            raise problems.invalid_action()
        reply = await carry_out(emulator, task)
    except Problem as problem:
        return _refused(problem)
    if reply.body is None:
        return Outcome(204, "")
    return Outcome(200, _escaped(reply.body), reply.total_items)


def _read(operation: Operation) -> tuple[Any, Problem | None]:
    """What the string says that is the body, or why it says nothing: an object in its place is no JSON."""
    if operation.method in ("GET", "DELETE") or operation.body is None:
        return None, None
    if not isinstance(operation.body, str):
        return None, problems.json_parse_exception()
    try:
        return schema.read_json(operation.body.encode()), None
    except Problem as problem:
        return None, problem


def _faulty(fault: Fault) -> Outcome:
    if not fault.body:
        return Outcome(int(fault.kind), "")
    if fault.kind == "502":
        return Outcome(502, BAD_GATEWAY.decode())
    return _refused(STATUS_FAULTS[fault.kind]())


def _refused(problem: Problem) -> Outcome:
    """In results the `instance` of a problem is empty, as recorded."""
    return Outcome(problem.status, _escaped(problem.document("")))


def _escaped(body: Mapping[str, Any]) -> str:
    """JSON with its slashes escaped, as in recorded results."""
    return orjson.dumps(body).decode().replace("/", "\\/")


async def _handle(emulator: Emulator, task: Task) -> Reply:
    handler, template, keys = _route(task.method, task.path)
    task.row.call = f"{task.method} {template}"
    if task.method != "GET" and task.user.role in READING_ROLES:
        raise problems.forbidden()
    writer = Writer(task.state, task.row.number, task.ip)
    call = Call(
        task.state,
        task.user,
        writer,
        task.query,
        task.body,
        keys,
        server_url=f"http://127.0.0.1:{emulator.port}",
        operate=partial(operate, emulator, task.state, task.user, task.ip),
    )
    try:
        reply = handler(call)
        return reply if isinstance(reply, Reply) else await reply
    finally:
        task.row.writes = writer.writes


def _route(method: str, path: str) -> tuple[Handler, str, dict[str, str]]:
    for pattern, template, methods in _PATTERNS:
        match = pattern.fullmatch(path)
        if match:
            if method not in methods:
                raise problems.method_not_allowed(list(methods))
            return methods[method], template, match.groupdict()
    raise problems.nested_too_deeply() if path.count("/") > DEEPEST else problems.invalid_path()


def _members_in(body: Any) -> int:
    members = body.get("members") if isinstance(body, dict) else None
    return len(members) if isinstance(members, list) else 1
