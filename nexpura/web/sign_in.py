"""Sign-in: by e-mail and password, for users an owner made; nobody signs up by themselves."""

from __future__ import annotations

import base64

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest

from nexpura.integrations import vault

NOBODYS = 0
"""Where a tenant and an integration would be named: secrets of the second factor belong to neither."""


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Closes self-service sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """Keeps the secrets of the second factor sealed, as the API key is."""

    def encrypt(self, text: str) -> str:
        sealed = vault.seal(text, tenant_id=NOBODYS, integration_id=NOBODYS, field="second_factor")
        return base64.b64encode(sealed).decode()

    def decrypt(self, encrypted_text: str) -> str:
        sealed = base64.b64decode(encrypted_text)
        return vault.unseal(sealed, tenant_id=NOBODYS, integration_id=NOBODYS, field="second_factor")
