"""A Mailchimp to talk to, and clients that lose patience in milliseconds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from mailchimp_emulator.serve import Running
from nexpura.mailchimp.client import MailchimpClient
from nexpura.mailchimp.key import ApiKey, base_url
from nexpura.mailchimp.pace import Patience

from .audiences import AUDIENCE

HASTY = Patience(attempts=4, first_pause=0.001, longest_pause=0.004, connect=5.0, read=5.0)

OpenClient = Callable[..., AbstractAsyncContextManager[MailchimpClient]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def shop(emulator: Running) -> Callable[..., ApiKey]:
    """Set up one account with one audience as described; its key."""

    def with_audience(**audience: Any) -> ApiKey:
        world = emulator.reset(accounts=[{"lists": [{"id": AUDIENCE, "name": "Regulars", **audience}]}])
        return ApiKey.parse(world["keys"][0])

    return with_audience


@pytest.fixture
def open_client(emulator: Running) -> OpenClient:
    def opened(key: ApiKey, **options: Any) -> AbstractAsyncContextManager[MailchimpClient]:
        usual = {"base_url": base_url(emulator.api_url, key.data_centre), "patience": HASTY}
        return MailchimpClient.open(key, **{**usual, **options})

    return opened


@pytest.fixture
def unused_port() -> int:
    """A loopback port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
