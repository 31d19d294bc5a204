"""The line to Mailchimp: a client with the installation's address and patience."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from django.conf import settings

from nexpura.mailchimp.client import PLACES, MailchimpClient
from nexpura.mailchimp.key import ApiKey, base_url
from nexpura.mailchimp.pace import PATIENT, Patience

AT_A_PAGE = Patience(attempts=2, first_pause=0.3, longest_pause=1.0, total=15.0, connect=5.0, read=10.0)
"""Somebody is looking at a spinning page."""


def to_mailchimp(key: ApiKey, *, places: int = PLACES, patience: Patience | None = None) -> _Opened:
    """Return the client for `key`, to be entered with `async with`."""
    patience = patience or replace(
        PATIENT,
        first_pause=settings.NEXPURA_RETRY_WAIT,
        read=settings.NEXPURA_MAILCHIMP_TIMEOUT,
        total=max(60.0, settings.NEXPURA_MAILCHIMP_TIMEOUT * 2),
    )
    where = base_url(settings.NEXPURA_MAILCHIMP_URL, key.data_centre)
    return MailchimpClient.open(key, base_url=where, places=places, patience=patience)


_Opened = AbstractAsyncContextManager[MailchimpClient]
