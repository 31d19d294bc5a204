"""From a request over a connection to its reply: key, place among the ten, fault, log, headers."""

import asyncio
import base64
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from mailchimp_emulator import clock, problems, routes, schema
from mailchimp_emulator.faults import STATUS_KINDS, Fault
from mailchimp_emulator.handlers import Reply
from mailchimp_emulator.problems import Problem
from mailchimp_emulator.routes import Emulator, Task
from mailchimp_emulator.state import LogRow, State, User

SIMULTANEOUS = 10
MAX_BODY = 10_000_000
MAX_BATCH_BODY = 20_000_000  # room for the 57,000 operations somebody reported
MAX_HEAD = 16_384  # request line and headers
_BATCHES = "/batches"
_API_PATH = re.compile(r"(?:/(?P<dc>[a-z]{2,4}[0-9]{1,3}))?/3\.0(?P<path>/.*)?", re.DOTALL)
_NOTICED_AFTER = 0.05


@dataclass(slots=True)
class Answer:
    """The bytes of a reply with its headers."""

    status: int
    body: bytes
    headers: dict[str, str]


def refusal(state: State, problem: Problem, *, dc: str | None = None, request_id: str = "") -> Answer:
    """The problem as a reply, also to what never became a call."""
    request_id = request_id or str(uuid.uuid4())
    headers = _headers(state, "application/problem+json; charset=utf-8", request_id)
    host = f"https://{dc or state.accounts[0].dc}.api.mailchimp.com"
    headers["Link"] = f'<{host}/schema/3.0/Definitions/ProblemDetailDocument.json>; rel="describedBy"'
    return Answer(problem.status, orjson.dumps(problem.document(request_id)), headers | dict(problem.headers))


def _headers(state: State, content_type: str, request_id: str) -> dict[str, str]:
    return {
        "Server": "openresty",
        "Content-Type": content_type,
        "X-Request-Id": request_id,
        "Date": clock.header(state.clock.now()),
    }


class HungUpError(Exception):
    """The caller hung up before the request was whole."""


def api_path(path: str) -> tuple[str | None, str] | None:
    """The data centre in the path, if any, and the path below /3.0; None if this is not the API."""
    match = _API_PATH.fullmatch(path)
    return (match["dc"], (match["path"] or "/").rstrip("/") or "/") if match else None


@dataclass(slots=True)
class Api:
    """The API as an ASGI application. Nothing here is cancelled when the caller hangs up, as at Mailchimp."""

    emulator: Emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = api_path(scope["path"])
        if found is None:
            raise ValueError("not a path of the API")
        await _Exchange(self.emulator, scope, receive, send, *found).run()


class _Exchange:
    """One request from arrival to reply, in the state it arrived at, even if a reset comes meanwhile."""

    def __init__(
        self, emulator: Emulator, scope: Scope, receive: Receive, send: Send, dc: str | None, path: str
    ) -> None:
        self.emulator = emulator
        self.state = emulator.state
        self.scope = scope
        self.receive = receive
        self.send = send
        self.dc = dc
        self.path = path
        self.method: str = scope["method"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        self.query = dict(parse_qsl(query, keep_blank_values=True, errors="replace"))
        self.largest = MAX_BATCH_BODY if path == _BATCHES else MAX_BODY
        self.request_id = str(uuid.uuid4())
        self.leave: Callable[[], None] = _nothing
        self.state.requests += 1
        self.row = LogRow(self.state.requests, time.time(), "", 0, self.method, path, query)

    async def run(self) -> None:
        """Count the request as the user's until its handler has ended, though nobody may listen any more."""
        who = self._user()
        login_id = who.login_id if isinstance(who, User) else ""
        self.row.user = who.name if isinstance(who, User) else ""
        self.row.concurrency = self.state.arrive(login_id)
        self.state.log.append(self.row)
        self.leave = lambda: self.state.leave(login_id)
        try:
            await self._serve(who)
        except HungUpError:
            return
        finally:
            self.leave()
            routes.count(self.state, self.row)

    async def _serve(self, who: User | Problem) -> None:
        raw = await self._body()
        body, bad = self._read(raw)
        fault = self.emulator.weather.fault_for(self.method, self.path)
        self.row.fault = fault.kind if fault else None
        if isinstance(who, User) and self.row.concurrency > SIMULTANEOUS:
            who = problems.too_many_requests()
        allowed = self._forced() or bad or who if isinstance(who, User) else who
        if fault and fault.when == "before":
            await self._fail(fault, lambda: self._work(allowed, body))
        else:
            answer = await self._work(allowed, body)
            if fault:
                await self._fail(fault, lambda: _ready(answer))
            else:
                await self._answer(answer)

    async def _work(self, who: User | Problem, body: Any) -> Answer:
        if isinstance(who, Problem):
            return self._refusal(who)
        client = self.scope.get("client")
        task = Task(self.state, who, self.row, self.method, self.path, self.query, body, client[0] if client else "")
        try:
            return self._reply(await routes.carry_out(self.emulator, task))
        except Problem as problem:
            return self._refusal(problem)

    def _user(self) -> User | Problem:
        """Who asks, or why they are not let in. The key's data centre must be that of the path."""
        if _head_size(self.scope) > MAX_HEAD:
            return problems.bad_request()
        try:
            key = _key(self.method, self.headers, self.query)
        except Problem as problem:
            return problem
        user = self.state.users_by_key.get(key)
        if user is None or (self.dc is not None and self.dc != user.account.dc):
            return problems.key_invalid()
        return problems.user_disabled() if user.disabled else user

    def _forced(self) -> Problem | None:
        """The error the caller wishes to see; nothing else is done then."""
        name = self.headers.get("x-trigger-error")
        return None if name is None else problems.named(name)

    def _read(self, raw: bytes) -> tuple[Any, Problem | None]:
        """The body of a writing call, or why it is none; what comes with GET and DELETE is not looked at."""
        override = self.headers.get("x-http-method-override")
        if override and self.method != "POST":
            return None, problems.override_needs_post()
        self.method = (override or self.method).upper()
        if self.method in ("GET", "DELETE"):
            return None, None
        if len(raw) > self.largest:
            return None, problems.bad_request()
        try:
            body = schema.read_json(raw)
        except Problem as problem:
            return None, problem
        if body is not None:
            self.row.keep(orjson.dumps(_counted(body)) if self.path == _BATCHES else raw)
        return body, None

    async def _body(self) -> bytes:
        """The whole body; of a larger one than is allowed just enough to know that."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise HungUpError
            size += len(message.get("body", b""))
            if size - len(message.get("body", b"")) <= self.largest:
                chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def _fail(self, fault: Fault, work: Callable[[], Awaitable[Answer]]) -> None:
        """Carry out a fault; those that spoil the reply let the work be done first, whenever they strike."""
        if fault.kind in STATUS_KINDS:
            await self._answer(self._faulty(fault))
        elif fault.kind == "reset":
            await self._hang_up()
        elif fault.kind == "hang":
            await self.emulator.wait(fault.seconds)
            await self._hang_up()
        else:
            answer = await work()
            half = answer.body[: len(answer.body) // 2]
            if fault.kind == "malformed":
                await self._answer(Answer(answer.status, half or b"{", answer.headers))
            else:
                await self._start(answer)
                await self.send({"type": "http.response.body", "body": half, "more_body": True})
                await self._hang_up("close")

    async def _answer(self, answer: Answer) -> None:
        self.row.status = answer.status
        await self._start(answer)
        await self.send({"type": "http.response.body", "body": answer.body})

    async def _start(self, answer: Answer) -> None:
        headers = [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()
        ]
        if answer.status != 204:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _hang_up(self, how: str = "abort") -> None:
        """End the connection without another byte, and let the server notice it."""
        cut: Callable[[], None] = self.scope["state"][how]
        self.leave()
        self.leave = _nothing
        cut()
        await asyncio.sleep(_NOTICED_AFTER)

    def _reply(self, reply: Reply) -> Answer:
        headers = self._headers("application/json; charset=utf-8")
        if reply.body is None:
            return Answer(204, b"", headers)
        links = [f'<https://{self._dc()}.api.mailchimp.com/schema/3.0/{reply.schema}.json>; rel="describedBy"']
        if reply.dashboard:
            links.append(f'<{reply.dashboard}>; rel="dashboard"')
        headers |= {"Vary": "Accept-Encoding", "Link": ", ".join(links)}
        return Answer(200, orjson.dumps(reply.body), headers)

    def _refusal(self, problem: Problem) -> Answer:
        return refusal(self.state, problem, dc=self.dc, request_id=self.request_id)

    def _faulty(self, fault: Fault) -> Answer:
        """The reply of a fault that is a status; without a body it is bare, as from the edge."""
        if fault.kind == "502":
            answer = Answer(502, routes.BAD_GATEWAY, self._headers("text/html"))
        else:
            answer = self._refusal(routes.STATUS_FAULTS[fault.kind]())
        if not fault.body:
            answer = Answer(answer.status, b"", self._headers("text/html"))
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = str(fault.retry_after)
        return answer

    def _headers(self, content_type: str) -> dict[str, str]:
        return _headers(self.state, content_type, self.request_id)

    def _dc(self) -> str:
        return self.dc or self.state.accounts[0].dc


def _head_size(scope: Scope) -> int:
    """Of request line and headers, as sent without superfluous white space."""
    line = len(f"{scope['method']}  HTTP/1.1\r\n\r\n") + len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])


def _key(method: str, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The key of the Authorization header, Basic with any user name, Bearer or apikey; or of `?apikey=` on GET."""
    in_query = query.get("apikey", "") if method == "GET" else ""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    in_header = ""
    if scheme.lower() in ("bearer", "apikey"):
        in_header = credentials.strip()
    elif scheme.lower() == "basic":
        try:
            in_header = base64.b64decode(credentials, validate=True).decode().partition(":")[2].strip()
        except ValueError:  # no base64, or no UTF-8 in it
            raise problems.key_invalid() from None
    if in_header and in_query and in_header != in_query:
        raise problems.keys_disagree()
    if not (in_header or in_query):
        raise problems.key_missing()
    return in_header or in_query


def _counted(body: Any) -> Any:
    """A batch as the log tells it: how many operations it has, for each has a row of its own when it runs."""
    if isinstance(body, dict) and isinstance(body.get("operations"), list):
        return {**body, "operations": len(body["operations"])}
    return body


def _nothing() -> None:
    return


async def _ready(answer: Answer) -> Answer:
    return answer
