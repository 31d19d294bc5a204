"""What a connected integration gives to those who ask Mailchimp in its name."""

from __future__ import annotations

from typing import NamedTuple

from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync.models import KnownAudience
from nexpura.tenants.models import Tenant
from nexpura.tenants.vault import FORMER_KEYS, OTHER_KEYS


class Words(NamedTuple):
    """What is told of a problem, in words for people."""

    code: str
    title: str
    detail: str
    remedy: str


KEY_UNREADABLE = Words(
    "key_unreadable",
    "The stored API key cannot be opened",
    OTHER_KEYS,
    f"Put the Mailchimp API key in again under Integrations. Or: {FORMER_KEYS}",
)


def connected_audience(tenant: Tenant) -> KnownAudience | None:
    """Return the audience the tenant is connected to now."""
    return audience_of(Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first())


def key_of(integration: Integration) -> str | None:
    """Return the API key, to be kept in memory only; None if there is none that can be opened (the sync tells)."""
    if integration.config_encrypted is None:
        return None
    try:
        return vault.unseal(
            bytes(integration.config_encrypted),
            tenant_id=integration.tenant_id,
            integration_id=integration.pk,
            field="api_key",
        )
    except vault.CannotOpen:
        return None


def audience_of(integration: Integration | None) -> KnownAudience | None:
    """Return what is known of the audience it is connected to; None if there is none, or it is not connected."""
    if integration is None or not integration.is_connected:
        return None
    return KnownAudience.objects.filter(
        tenant_id=integration.tenant_id,
        data_centre=integration.config["data_centre"],
        audience_id=integration.config["audience_id"],
    ).first()
