"""Calls from the emulator to somebody else, who is always on this machine.

A host other than `localhost`, 127.0.0.0/8 and ::1 counts as one that cannot be reached, and no connection to it is
tried: the names are not looked up, and numbers are read in their plain form only.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

_WELL_FORMED = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a whole answer, or why there was none."""

    status: int | None
    error: str = ""


def session(seconds: float) -> aiohttp.ClientSession:
    """For calls that may take this long each. It follows nobody elsewhere and keeps no connection."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_OnlyLocalhost(), force_close=True),
        timeout=aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def call(
    through: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> Answer:
    """One request, without redirects; the answer counts once all of it is there."""
    try:
        target = _loopback(url)
        async with through.request(method, target, headers=headers, data=body, allow_redirects=False) as answer:
            async for _ in answer.content.iter_chunked(_CHUNK):
                pass
            return Answer(answer.status)
    except TimeoutError:
        return Answer(None, f"no answer within {through.timeout.total:g} seconds")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(None, str(error) or type(error).__name__)


def _loopback(url: str) -> URL:
    """The URL, if it is one of this machine's; ValueError if not."""
    if not _WELL_FORMED.fullmatch(url):
        raise ValueError("not a URL")
    target = URL(url, encoded=True)
    host = (target.host or "").lower()
    if host != "localhost" and not _is_loopback(host):
        raise ValueError(f"{host} cannot be reached")
    return target


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _LOOPBACK)


class _OnlyLocalhost(AbstractResolver):
    """Knows one name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host.lower() != "localhost":
            raise OSError(f"{host} cannot be reached")
        addresses = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in addresses
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def close(self) -> None:
        return
