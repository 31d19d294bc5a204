"""A caller who speaks plain HTTP to the emulator, and a way to begin anew."""

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from mailchimp_emulator import exchange
from mailchimp_emulator.serve import Running

from . import openapi

NOON = "2026-03-01T12:00:00+00:00"
KEY = "0123456789abcdef0123456789abcdef-us14"
LIST = "1d2f3a4b5c"


@dataclass(slots=True)
class Heard:
    """A reply: status, headers by lower-case name, body as JSON (None if empty)."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def title(self) -> str:
        return str(self.body["title"])


class Caller:
    """Somebody with an API key."""

    def __init__(self, emulator: Running, key: str = KEY, dc: str = "us14") -> None:
        self.emulator = emulator
        self.key = key
        self.dc = dc
        self.members = f"/lists/{LIST}/members"

    def ask(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, headers: Any = None, dc: str = ""
    ) -> Heard:
        """One request to the API at a data centre."""
        sent = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        return self.send(method, f"/{dc or self.dc}/3.0{path}", sent, headers or self.credentials())

    def send(self, method: str, target: str, sent: bytes | None, headers: dict[str, str]) -> Heard:
        """One request on a connection of its own, to any path of the server.

        A reply of the API has to be one that Mailchimp's description allows.
        """
        with closing(self.begin(method, target, sent, headers)) as connection:
            reply = connection.getresponse()
            text = reply.read()
            found = {name.lower(): value for name, value in reply.getheaders()}
            heard = Heard(reply.status, found, json.loads(text) if text else None)
        path, _, query = target.partition("?")
        below = exchange.api_path(path)
        if below and openapi.DESCRIPTION.exists() and "text/html" not in found["content-type"]:  # HTML is the edge's
            method = headers.get("X-HTTP-Method-Override", method)
            openapi.check(method, f"{below[1]}?{query}", heard.status, heard.headers, heard.body)
        return heard

    def begin(
        self, method: str, target: str, sent: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPConnection:
        """A request that is sent and not yet answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.port, timeout=20)
        connection.request(method, target.replace(" ", "%20"), sent, headers)
        return connection

    def credentials(self) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(f'anyone:{self.key}'.encode()).decode()}"}

    @contextmanager
    def keeping_busy(self, count: int) -> Iterator[None]:
        """While this many other requests with the same key are under way."""
        if count:
            self.emulator.control("latency", [{"method": "GET", "path": "^/ping$", "base_ms": 20_000}])
        with ExitStack() as opened:
            for _ in range(count):
                opened.enter_context(closing(self.begin("GET", f"/{self.dc}/3.0/ping", None, self.credentials())))
            until(lambda: self.emulator.metrics()["open_requests"] == count)
            yield

    def member(self, address: str) -> Heard:
        return self.ask("GET", f"{self.members}/{address}")

    def add(self, address: str, status: str = "subscribed", **fields: Any) -> Heard:
        return self.ask("POST", self.members, {"email_address": address, "status": status, **fields})

    def put(self, address: str, **body: Any) -> Heard:
        return self.ask("PUT", f"{self.members}/{address}", body)

    def patch(self, address: str, **body: Any) -> Heard:
        return self.ask("PATCH", f"{self.members}/{address}", body)

    def bulk(self, *members: dict[str, Any], query: str = "", **flags: Any) -> Heard:
        return self.ask("POST", f"/lists/{LIST}{query}", {"members": list(members), **flags})

    def happens(self, email: str, event: str, **more: Any) -> None:
        self.emulator.control("member_event", {"list_id": LIST, "email": email, "event": event, **more})


def world(emulator: Running, *members: dict[str, Any], **audience: Any) -> Caller:
    """Begin anew with these members in the audience."""
    account = {
        "dc": "us14",
        "users": [{"keys": [KEY]}],
        "throttled": ["busy@inbox.example"],
        "lists": [{"id": LIST, "members": list(members), **audience}],
    }
    emulator.reset(accounts=[account], now=NOON)
    return Caller(emulator)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that will come; the deadline is only there so that a failure ends."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
