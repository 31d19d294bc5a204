"""A Mailchimp to talk to, and clients that lose patience in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
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
        where = base_url(emulator.api_url, key.data_centre)
        return partial(MailchimpClient.open, key, base_url=where, patience=HASTY)(**options)

    return opened
