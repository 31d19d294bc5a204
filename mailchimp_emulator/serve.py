"""The emulator as a server: for the command, and inside a test's own process.

with running() as emulator:
    world = emulator.control("reset", {})
    ... call emulator.api_url with world["keys"][0] and world["list_ids"][0] ...
"""

import asyncio
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailchimp_emulator import archives, control, downloads, exchange, oauth, page, problems, seeding
from mailchimp_emulator.problems import Problem
from mailchimp_emulator.routes import Emulator

_START_SECONDS = 20.0
_STOP_SECONDS = 2
PATIENCE = 60.0


class ControlError(Exception):
    """A control call the emulator did not understand; the text names the place."""


class Protocol(H11Protocol):
    """HTTP that answers what is none with a problem document, and half a request too, if it ends or falls silent.

    It can be cut off in the middle, for faults that need it.
    """

    def __init__(self, *args: Any, emulator: Emulator, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # the emulator keeps its own log, which never holds a key
        self._emulator = emulator
        self._ended = False  # the caller sends no more
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for sockets made with an explicit protocol; without it a reply waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "abort": self.abort, "close": self.transport.close}
        self._listen()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._listen()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more, but may still listen; whether the connection stays open for a reply."""
        self._ended = True
        self._finish()
        return not self.transport.is_closing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ended:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listen()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(problems.bad_request())

    def shutdown(self) -> None:
        """The server stops: it waits for replies, and not for the rest of requests."""
        if self._is_owed():
            self.transport.close()
        else:
            super().shutdown()

    def abort(self) -> None:
        """Close at once with a TCP reset, dropping what is not sent yet."""
        if not self.transport.is_closing():
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _listen(self) -> None:
        """Wait for the rest of what the caller began, but not for ever."""
        if self._silence:
            self._silence.cancel()
        self._silence = None
        if not self.transport.is_closing() and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._silence = self.loop.call_later(self.timeout_keep_alive, self._heard_nothing)

    def _heard_nothing(self) -> None:
        if self._is_owed():
            self._refuse(problems.request_timeout())
        else:
            self.transport.close()

    def _finish(self) -> None:
        """Nothing more comes: refuse half a request; close when nothing is under way."""
        if self._is_owed():
            self.conn.receive_data(b"")
            self.handle_events()
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _is_owed(self) -> bool:
        """Whether a request has begun and not ended."""
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] != b""
        return not self.transport.is_closing() and (begun or self.conn.their_state is h11.SEND_BODY)

    def _refuse(self, problem: Problem) -> None:
        """Answer, if nothing else was answered, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = exchange.refusal(self._emulator.state, problem)
            headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body))), ("Connection", "close")]
            reply = h11.Response(status_code=answer.status, headers=headers, reason=problem.title)
            for event in (reply, h11.Data(data=answer.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn that leaves signals to its caller and wakes waiting calls when it stops."""

    def __init__(self, emulator: Emulator, port: int, *, patience: float = PATIENCE) -> None:
        self.emulator = emulator
        emulator.port = port
        super().__init__(
            uvicorn.Config(
                application(emulator),
                host="127.0.0.1",
                port=port,
                http=partial(Protocol, emulator=emulator),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=patience,  # type: ignore[arg-type]
                h11_max_incomplete_event_size=exchange.MAX_HEAD,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.emulator.stopping.set()
        self.emulator.state.background.stop()
        await super().shutdown(sockets)


class Running:
    """An emulator at work. Its methods are the control calls; they may be called from any thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.api_url = f"{self.url}/{{dc}}/3.0"

    def control(self, path: str, body: Any = None) -> Any:
        """POST to /_emulator/{path}; the reply as JSON."""
        sent = json.dumps({} if body is None else body).encode()
        return json.loads(self._ask(path, sent))

    def reset(self, **body: Any) -> Any:
        return self.control("reset", body)

    def log(self) -> list[dict[str, Any]]:
        return self._rows("log")

    def audit(self) -> list[dict[str, Any]]:
        return self._rows("audit")

    def members(self, list_id: str) -> list[dict[str, Any]]:
        return self._rows(f"members?list_id={list_id}")

    def deliveries(self) -> list[dict[str, Any]]:
        return self._rows("deliveries")

    def webhooks(self, list_id: str) -> list[dict[str, Any]]:
        return self._rows(f"webhooks?list_id={list_id}")

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._ask("metrics"))
        return found

    def _rows(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._ask(path).splitlines()]

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}/_emulator/{path}", data=body)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                found: bytes = reply.read()
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(error.read().decode()) from None


def application(emulator: Emulator) -> ASGIApp:
    """The API under /3.0 and /{dc}/3.0; results of batches, the login host, the control plane; the page at /."""
    api = exchange.Api(emulator)

    async def astray(_request: Request, error: Exception) -> Response:
        return _astray(emulator, error)

    rest = Starlette(
        routes=[
            Mount("/_emulator", routes=control.routes(emulator)),
            Mount(archives.PLACE, routes=downloads.routes(emulator)),
            *oauth.routes(emulator),
            *page.routes(emulator),
        ],
        exception_handlers={HTTPException: astray},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and exchange.api_path(scope["path"]):
            await api(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app


def _astray(emulator: Emulator, error: Exception) -> Response:
    """A problem document for a path or a method that is nowhere."""
    headers = (isinstance(error, HTTPException) and error.headers) or {}
    allowed = headers.get("Allow", "").split(", ")
    problem = problems.method_not_allowed(allowed) if "Allow" in headers else problems.invalid_path()
    answer = exchange.refusal(emulator.state, problem)
    return Response(answer.body, answer.status, answer.headers)


@contextmanager
def running(seed: Any = None, port: int = 0, *, patience: float = PATIENCE) -> Iterator[Running]:
    """An emulator on a free loopback port, in a thread of this process, for the length of a `with` block.

    `patience`: for how many seconds a caller may be silent in the middle of a request, or between two.
    """
    state, weather = seeding.state_from({} if seed is None else seed)
    listening = listen(port)
    server = Server(Emulator(state, weather), listening.getsockname()[1], patience=patience)
    thread = threading.Thread(target=_serve, args=(server, listening), name="mailchimp-emulator", daemon=True)
    thread.start()
    try:
        yield Running(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)
        listening.close()


def listen(port: int) -> socket.socket:
    """A listening loopback socket; requests that come before the server runs wait in it."""
    return socket.create_server(("127.0.0.1", port), backlog=512)


def _serve(server: Server, listening: socket.socket) -> None:
    with asyncio.Runner() as runner:
        runner.run(server.serve([listening]))
