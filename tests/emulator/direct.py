"""The emulator's application called in the test's own thread, without a socket: the same replies, much faster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from mailchimp_emulator import seeding
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.serve import application

from .calling import KEY

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Told:
    """A reply: its status, and its body as JSON, as rows, or None."""

    status: int
    body: Any


class Direct:
    """Somebody with an API key, and with their hands on the control calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: Any) -> None:
        self._loop = loop
        self._app = application(Emulator(*seeding.state_from(seed)))

    def ask(self, method: str, path: str, body: Any = _NOTHING, **query: str) -> Told:
        """One call of the API."""
        return self._call(method, f"/us14/3.0{path}", body, query)

    def control(self, path: str, body: Any) -> Told:
        """POST to /_emulator."""
        return self._call("POST", f"/_emulator/{path}", body, {})

    def look(self, path: str, **query: str) -> Any:
        """GET from /_emulator; what is there."""
        told = self._call("GET", f"/_emulator/{path}", _NOTHING, query)
        assert told.status == 200, told.body
        return told.body

    def _call(self, method: str, path: str, body: Any, query: Mapping[str, str]) -> Told:
        received = {"type": "http.request", "body": b"" if body is _NOTHING else json.dumps(body).encode()}
        sent: list[Any] = []

        async def receive() -> Any:
            return received

        async def send(message: Any) -> None:
            sent.append(message)

        self._loop.run_until_complete(self._app(_scope(method, path, query), receive, send))
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return Told(sent[0]["status"], _read(dict(sent[0]["headers"])[b"content-type"], text))


def _scope(method: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},  # so nobody listens for a hang-up while a reply goes out
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": urlencode(query).encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {KEY}".encode())],
        "client": ("127.0.0.1", 1),
        "state": {},
    }


def _read(kind: bytes, text: bytes) -> Any:
    if b"ndjson" in kind:
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if text else None
