"""The results of a batch: a gzipped tar of JSON files, and the signed address it can be fetched from."""

import base64
import hashlib
import hmac
import tarfile
import zlib
from urllib.parse import urlencode

import orjson

PLACE = "/_archives"
LINES = 500  # in one file at most
_FILE_BYTES = 1_000_000
_COMPRESSION = 4
_GZIP = 31  # wbits that make zlib write a gzip file


class Archive:
    """Results go in one by one; no more than one file of them is held uncompressed.

    What a careless reader trips over is in every archive: first an entry that is a directory, then a file that
    is no JSON, then a JSON file with a single result, and the other results in further files.
    """

    def __init__(self, batch_id: str, moment: int) -> None:
        self._batch_id = batch_id
        self._moment = moment
        self._squeeze = zlib.compressobj(_COMPRESSION, wbits=_GZIP)
        self._squeezed: list[bytes] = []
        self._files = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._put("./", b"", kind=tarfile.DIRTYPE, mode=0o755)
        self._put("./batch.txt", f"{batch_id}\n".encode())

    def add(self, status_code: int, operation_id: str | None, response: str) -> None:
        line = orjson.dumps({"status_code": status_code, "operation_id": operation_id, "response": response})
        self._lines.append(line)
        self._size += len(line)
        if not self._files or len(self._lines) >= LINES or self._size >= _FILE_BYTES:
            self._close_file()

    def closed(self) -> bytes:
        """The whole archive; nothing can be added after that."""
        self._close_file()
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        return b"".join([*self._squeezed, self._squeeze.flush()])

    def _close_file(self) -> None:
        if self._lines:
            self._files += 1
            self._put(f"./{self._batch_id}-{self._files}.json", b"[" + b",".join(self._lines) + b"]")
            self._lines, self._size = [], 0

    def _put(self, name: str, content: bytes, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime, entry.size = kind, mode, self._moment, len(content)
        self._write(entry.tobuf())
        self._write(content + bytes(-len(content) % tarfile.BLOCKSIZE))

    def _write(self, block: bytes) -> None:
        self._squeezed.append(self._squeeze.compress(block))


def file_name(batch_id: str) -> str:
    return f"{batch_id}-response.tar.gz"


def address(key: bytes, server_url: str, batch_id: str, expires: int) -> str:
    """Where the results can be fetched until that moment, by anybody who knows the address."""
    name = file_name(batch_id)
    signed = urlencode({"Expires": expires, "Signature": signature(key, "GET", name, str(expires))})
    return f"{server_url}{PLACE}/{name}?{signed}"


def is_signed(key: bytes, method: str, name: str, expires: str, given: str) -> bool:
    return hmac.compare_digest(signature(key, method, name, expires).encode(), given.encode())


def signature(key: bytes, method: str, name: str, expires: str) -> str:
    """As storage services sign; always with a `+`, so an address that is decoded before its use never fits."""
    digest = hmac.digest(key, f"{method}\n{expires}\n{name}".encode(), hashlib.sha256)
    return base64.b64encode(b"\xfb" + digest).decode()
