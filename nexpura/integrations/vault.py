"""The vault, for the secrets of integrations: each is bound to tenant, integration and field."""

from __future__ import annotations

from nexpura.tenants import vault
from nexpura.tenants.vault import CannotOpen

__all__ = ["CannotOpen", "seal", "unseal"]


def seal(secret: str, *, tenant_id: int, integration_id: int, field: str) -> bytes:
    """Return `secret` sealed for this tenant, integration and field only."""
    return vault.seal(secret, tenant_id=tenant_id, row_id=integration_id, field=field)


def unseal(sealed: bytes, *, tenant_id: int, integration_id: int, field: str) -> str:
    """Return the secret; raises `CannotOpen` (which names ids only)."""
    return vault.unseal(sealed, tenant_id=tenant_id, row_id=integration_id, field=field)
