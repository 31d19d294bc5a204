"""Somebody with a webhook: hears what the emulator sends, and answers as a test wants."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from mailchimp_emulator.hooks import EVENTS, SOURCES
from mailchimp_emulator.serve import Running

from .calling import LIST, Caller

PATIENCE = 10.0
ALL_EVENTS = dict.fromkeys(EVENTS, True)
ALL_SOURCES = dict.fromkeys(SOURCES, True)


@dataclass(frozen=True, slots=True)
class Letter:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return parse_qsl(self.raw.decode(), keep_blank_values=True, strict_parsing=True)

    @property
    def form(self) -> dict[str, str]:
        assert len(self.pairs) == len(dict(self.pairs))
        return dict(self.pairs)


@dataclass(slots=True)
class Receiver:
    """A URL on this machine. `answer` is a status, or decides it from the letter; 200 unless set."""

    url: str
    answer: int | Callable[[Letter], int] = 200
    letters: list[Letter] = field(default_factory=list)

    @property
    def posts(self) -> list[Letter]:
        return [letter for letter in self.letters if letter.method == "POST"]

    @property
    def types(self) -> list[str]:
        return sorted(letter.form["type"] for letter in self.posts)

    def status_for(self, letter: Letter) -> int:
        return self.answer if isinstance(self.answer, int) else self.answer(letter)

    def added_to(self, shop: Caller, **more: Any) -> dict[str, Any]:
        """Make this a webhook of the shop's audience; the reply to that."""
        sent = {"url": self.url, "events": ALL_EVENTS, "sources": ALL_SOURCES, **more}
        heard = shop.ask("POST", f"/lists/{LIST}/webhooks", sent)
        assert heard.status == 200, heard.body
        body: dict[str, Any] = heard.body
        return body

    def seeded(self, **more: Any) -> list[dict[str, Any]]:
        """The `webhooks` of an audience that has had this one for long."""
        return [{"url": self.url, "events": ALL_EVENTS, "sources": ALL_SOURCES, **more}]


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def quiet(emulator: Running) -> None:
    """Wait until nothing is being delivered and nothing is due."""
    until(lambda: emulator.metrics()["open_deliveries"] == 0)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


class _Server(ThreadingHTTPServer):
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.receiver = Receiver(f"http://127.0.0.1:{self.server_port}/hook?secret=s3")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def log_message(self, *_args: Any) -> None:
        return

    def _take(self) -> None:
        receiver = self.server.receiver
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        letter = Letter(self.command, self.path, headers, raw)
        receiver.letters.append(letter)
        status = receiver.status_for(letter)
        try:
            self.send_response(status)
            self.send_header("Location", "http://192.0.2.1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:  # whoever asked is gone
            return
