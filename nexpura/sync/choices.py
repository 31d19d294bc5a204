"""What a tenant chooses about its audience: what fills its fields, what its consent means there, whom to ask again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from nexpura.audience.desired import MAPPING, SOURCES
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import terms
from nexpura.sync.models import KnownAudience
from nexpura.sync.store.connected import audience_of
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Field:
    """A merge field of the audience and the source that fills it ("" for none)."""

    tag: str
    name: str
    type: str
    required: bool
    source: str

    @property
    def fillable(self) -> bool:
        return self.type in terms.FILLABLE


@dataclass(frozen=True, slots=True)
class Permission:
    """A marketing permission (GDPR) of the audience, and whether the shop's consent means it."""

    id: str
    text: str
    meant: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that is chosen, with what to know about this audience in plain sentences."""

    fields: tuple[Field, ...]
    has_permissions: bool
    permissions: tuple[Permission, ...]
    ask_to_confirm: bool
    double_optin: bool
    """New people are asked by Mailchimp to confirm before they are subscribed."""
    notes: tuple[str, ...]


def of(tenant: Tenant) -> Choices | None:
    """Return what is chosen for the connected audience; None when not connected."""
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    audience = audience_of(integration)
    if integration is None or audience is None:
        return None
    config = integration.config
    mapping = config.get("mapping") or MAPPING
    meant = config.get("permissions", ())
    fields = tuple(
        Field(one["tag"], one["name"], one["type"], one["required"], mapping.get(one["tag"], ""))
        for one in sorted(audience.merge_fields, key=lambda one: (one["tag"] not in MAPPING, one["tag"]))
    )
    permissions = tuple(Permission(one["id"], one["text"], one["id"] in meant) for one in audience.permissions or ())
    return Choices(
        fields=fields,
        has_permissions=audience.permissions is not None,
        permissions=permissions,
        ask_to_confirm=bool(config.get("ask_to_confirm")),
        double_optin=audience.double_optin,
        notes=(*_of_audience(audience, permissions), *_of_fields(audience, fields)),
    )


def save(
    tenant: Tenant, actor: Actor, *, mapping: Mapping[str, str], permissions: Sequence[str], ask_to_confirm: bool
) -> None:
    """Keep what was chosen; the next sync looks at everybody again. Does nothing when not connected.

    Raises `ValueError` for a source there is not.
    """
    if unknown := set(mapping.values()) - set(SOURCES):
        raise ValueError(f"no such source: {', '.join(sorted(unknown))}")
    chosen = {"mapping": dict(mapping), "permissions": list(permissions), "ask_to_confirm": ask_to_confirm}
    with transaction.atomic():
        integration = Integration.objects.select_for_update().filter(tenant=tenant, kind=MAILCHIMP).first()
        if integration is None or not integration.is_connected:
            return
        before = {name: integration.config.get(name) for name in chosen}
        if before == chosen:
            return
        integration.config = {**integration.config, **chosen}
        integration.save(update_fields=["config"])
        audit.record(tenant, actor, "mailchimp.choices", integration, before=before, after=chosen)


def _of_audience(audience: KnownAudience, permissions: Sequence[Permission]) -> list[str]:
    notes = []
    if audience.double_optin:
        notes.append(
            "This audience uses double opt-in: Mailchimp asks new people to confirm, and they count once they have."
        )
    if audience.permissions is not None and not permissions:
        notes.append(
            "This audience has marketing permissions (GDPR). Mailchimp shows them only once the audience has a member: "
            "look here again after the first sync."
        )
    elif permissions and not any(one.meant for one in permissions):
        notes.append(
            "This audience has marketing permissions (GDPR). Choose which of them your consent means: until then "
            "people are added without any, and mail that asks for one does not reach them."
        )
    return notes


def _of_fields(audience: KnownAudience, fields: Sequence[Field]) -> list[str]:
    if not fields:
        return []
    filled = {field.tag for field in fields if field.source and field.fillable}
    american = [
        one["tag"]
        for one in audience.merge_fields
        if one["tag"] in filled and one["options"].get("phone_format") == "US"
    ]
    required = [field.tag for field in fields if field.required and field.tag not in filled]
    missing = sorted(set(MAPPING) - {field.tag for field in fields})
    notes = []
    if missing:
        notes.append(f"The audience has no field {_listed(missing)}, so what the book holds for it is not sent.")
    if american:
        notes.append(f"The field {_listed(american)} takes North American numbers only; other numbers are left out.")
    if required:
        notes.append(f"The audience requires {_listed(required)}, which nothing here fills: people are added without.")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
