"""A password handed to a command: from standard input, never an argument, as arguments are seen by others."""

from __future__ import annotations

import getpass
import sys

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError

from nexpura.tenants.models import TenantUser


def read(user: TenantUser | None = None) -> str:
    """Return the password, asked for twice on a terminal, else the first line of standard input.

    Raises `CommandError` with what a good one needs.
    """
    password = _typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("there is no password; give it on standard input, such as: < password-file")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    return password


def _typed() -> str:
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise CommandError("the two passwords differ; nothing was changed")
    return password
