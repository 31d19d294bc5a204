"""A caller who sends bytes, whole requests or not."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from types import TracebackType

from mailchimp_emulator.serve import Running

from .calling import KEY, Heard


def request(method: str, path: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A request of somebody with a key. `length` is what it claims its body to have, if that is not the truth."""
    lines = [f"{method} /us14/3.0{path} HTTP/1.1", "Host: us14.api.mailchimp.com", f"Authorization: Bearer {KEY}"]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def chunked(method: str, path: str, *chunks: bytes) -> bytes:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request(method, path, parts, "Transfer-Encoding: chunked")


class Line:
    """One connection to the emulator."""

    def __init__(self, emulator: Running) -> None:
        self._socket = socket.create_connection(("127.0.0.1", emulator.port), timeout=20)

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send what the other side still takes."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def end(self) -> None:
        """Send no more, but listen."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        """Until something comes; it stays to be heard."""
        self._socket.recv(1, socket.MSG_PEEK)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def cut(self) -> None:
        """Hang up without good-bye: the other side gets an error, not an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def hear(self) -> list[Heard]:
        """Every reply until the other side closes."""
        return _replies(self.drain())

    def drain(self) -> bytes:
        """What comes until the other side closes; how it closes does not matter."""
        heard = b""
        with suppress(ConnectionResetError):
            while piece := self._socket.recv(1 << 16):
                heard += piece
        return heard


def say(emulator: Running, *pieces: bytes) -> list[Heard]:
    """Send the pieces, end, and hear every reply."""
    with Line(emulator) as line:
        for piece in pieces:
            line.send(piece)
        line.end()
        return line.hear()


def at_rest(emulator: Running) -> bool:
    """Whether every request has come to its end, and none counts as open."""
    found = emulator.metrics()
    return sum(found["calls"].values()) == found["requests"] and found["open_requests"] == 0


def _replies(heard: bytes) -> list[Heard]:
    found = []
    while heard:
        head, _, heard = heard.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        body, heard = heard[:length], heard[length:]
        found.append(Heard(int(first.split()[1]), headers, json.loads(body) if body else None))
    return found
