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
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mailchimp_emulator import archives, control, downloads, exchange, oauth, page, seeding
from mailchimp_emulator.routes import Emulator

_START_SECONDS = 20.0
_STOP_SECONDS = 2


class ControlError(Exception):
    """A control call the emulator did not understand; the text names the place."""


class Protocol(H11Protocol):
    """HTTP that can be cut off in the middle, for faults that need it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for sockets made with an explicit protocol; without it a reply waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.access_log = False  # the emulator keeps its own log, which never holds a key
        self.app_state = {**self.app_state, "abort": self.abort, "close": self.transport.close}

    def abort(self) -> None:
        """Close at once with a TCP reset, dropping what is not sent yet."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn that leaves signals to its caller and wakes waiting calls when it stops."""

    def __init__(self, emulator: Emulator, port: int) -> None:
        self.emulator = emulator
        emulator.port = port
        super().__init__(
            uvicorn.Config(
                application(emulator),
                host="127.0.0.1",
                port=port,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=60,
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
    rest = Starlette(
        routes=[
            Mount("/_emulator", routes=control.routes(emulator)),
            Mount(archives.PLACE, routes=downloads.routes(emulator)),
            *oauth.routes(emulator),
            *page.routes(emulator),
        ],
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and exchange.api_path(scope["path"]):
            await api(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app


@contextmanager
def running(seed: Any = None, port: int = 0) -> Iterator[Running]:
    """An emulator on a free loopback port, in a thread of this process, for the length of a `with` block."""
    state, weather = seeding.state_from({} if seed is None else seed)
    listening = listen(port)
    server = Server(Emulator(state, weather), listening.getsockname()[1])
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
