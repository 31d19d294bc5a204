"""The API key as a shop owner pastes it, and the address it leads to."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

DEFAULT_TEMPLATE: Final = "https://{dc}.api.mailchimp.com/3.0"
SHORTEST_SECRET: Final = 8
LONGEST_SECRET: Final = 100
LONGEST_TEXT: Final = 200

_DATA_CENTRE = re.compile(r"[a-z]{2,4}[0-9]{1,3}")
_SECRET = re.compile(r"[A-Za-z0-9]+")
_WHITE_SPACE = string.whitespace + "\u00a0\u200b\u2028\u2029\ufeff"  # what comes along when copying from a page

_COPY = "Copy the whole key again from Mailchimp (Account → Extras → API keys)."
_ENDS = "A Mailchimp API key ends in a hyphen and a data centre, such as -us14."
_MESSAGES: Final = {
    "empty": f"Enter the API key. {_COPY}",
    "too_long": f"This is far too long for an API key. {_COPY}",
    "suffix_missing": f"The end of the key is missing. {_ENDS} {_COPY}",
    "suffix_space": f"There is a space in the end of the key. {_ENDS} {_COPY}",
    "suffix_at": f"There is an @ in the end of the key, as in an e-mail address. {_ENDS} {_COPY}",
    "suffix_path": f"The end of the key looks like part of a web address, with a slash. {_ENDS} {_COPY}",
    "suffix_port": f"There is a colon in the end of the key. {_ENDS} {_COPY}",
    "suffix_host": f"The end of the key looks like a host name, with a dot. {_ENDS} {_COPY}",
    "suffix_unknown": f"The end of the key is not a data centre: small letters, then digits. {_ENDS} {_COPY}",
    "secret_short": f"The part before the hyphen is too short: the key was cut. {_COPY}",
    "secret_characters": f"Before the last hyphen a key has letters and digits only. {_COPY}",
}
_FORBIDDEN_IN_SUFFIX: Final = (
    ("suffix_space", re.compile(r"\s")),
    ("suffix_at", re.compile(r"@")),
    ("suffix_path", re.compile(r"[/\\?#]")),
    ("suffix_port", re.compile(r":")),
    ("suffix_host", re.compile(r"\.")),
)


class KeyMalformed(ValueError):
    """The text cannot be an API key. `message` tells the shop owner what to do and never repeats the text."""

    def __init__(self, reason_code: str) -> None:
        self.reason_code = reason_code
        self.message = _MESSAGES[reason_code]
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the right form. Whether Mailchimp accepts it, only Mailchimp knows."""

    value: str = field(repr=False)
    data_centre: str
    last4: str
    """The last four characters before the data centre: enough to recognise a key, useless to anybody else."""

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read a pasted key, white space around it ignored; raises `KeyMalformed`.

        Only the data centre is judged strictly, because it decides which host is asked; none is ever assumed.
        """
        value = text.strip(_WHITE_SPACE)
        if not value:
            raise KeyMalformed("empty")
        if len(value) > LONGEST_TEXT:
            raise KeyMalformed("too_long")
        secret, _, suffix = value.rpartition("-")
        if not secret or not suffix:
            raise KeyMalformed("suffix_missing")
        _check_suffix(suffix)
        _check_secret(secret)
        return cls(value, suffix, secret[-4:])


def is_data_centre(text: str) -> bool:
    """Whether the text has the form of a data centre: `us14`, and nothing that could lead to another host."""
    return _DATA_CENTRE.fullmatch(text) is not None


def base_url(template: str, data_centre: str) -> str:
    """Fill `{dc}` of the template (which need not have one). ValueError unless https, or http to this machine."""
    if not is_data_centre(data_centre):
        raise ValueError("not a data centre")
    url = template.replace("{dc}", data_centre).rstrip("/")
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("the Mailchimp URL must begin with https:// and name a host")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http is for loopback hosts only; use https")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the Mailchimp URL has a host and a path, no user, query or fragment")
    return url


def _check_suffix(suffix: str) -> None:
    for reason_code, forbidden in _FORBIDDEN_IN_SUFFIX:
        if forbidden.search(suffix):
            raise KeyMalformed(reason_code)
    if not is_data_centre(suffix):
        raise KeyMalformed("suffix_unknown")


def _check_secret(secret: str) -> None:
    if not _SECRET.fullmatch(secret):
        raise KeyMalformed("secret_characters")
    if len(secret) < SHORTEST_SECRET:
        raise KeyMalformed("secret_short")
    if len(secret) > LONGEST_SECRET:
        raise KeyMalformed("too_long")


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by name or number."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
