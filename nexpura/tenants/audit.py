"""The audit trail: written in the same transaction as what it records."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction

from nexpura.tenants.models import AuditEvent, Tenant, TenantUser


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever does a thing: a signed-in user, a command's operating-system user, or the system itself."""

    kind: str
    name: str
    id: int | None = None

    @classmethod
    def user(cls, user: TenantUser) -> Actor:
        return cls("user", user.name or user.email, user.pk)

    @classmethod
    def command(cls) -> Actor:
        """The operating-system user who runs the command (A17)."""
        return cls("command", getpass.getuser())

    @classmethod
    def system(cls, name: str = "schedule") -> Actor:
        return cls("system", name)


def record(
    tenant: Tenant,
    actor: Actor,
    action: str,
    subject: models.Model | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append one line to the tenant's audit trail.

    Raises `TransactionManagementError` outside a transaction: a line that may be committed without
    what it speaks of, or the reverse, would be no evidence.
    """
    (event,) = _written([_event(tenant, actor, action, subject, before, after)])
    return event


def record_each(
    subjects: Iterable[tuple[Tenant, models.Model]],
    actor: Actor,
    action: str,
    *,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Append a line about each of the subjects to its tenant's trail, as `record` does for one."""
    _written([_event(tenant, actor, action, subject, None, after) for tenant, subject in subjects])


def _event(
    tenant: Tenant,
    actor: Actor,
    action: str,
    subject: models.Model | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> AuditEvent:
    return AuditEvent(
        tenant=tenant,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name,
        action=action,
        subject_kind=subject._meta.model_name or "" if subject is not None else "",
        subject_id=subject.pk if subject is not None else None,
        before=dict(before or {}),
        after=dict(after or {}),
    )


def _written(events: Sequence[AuditEvent]) -> list[AuditEvent]:
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("an audit line belongs in the transaction of what it records")
    return AuditEvent.objects.bulk_create(events)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two mappings reduced to the keys whose values differ."""
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: before.get(key) for key in keys}, {key: after.get(key) for key in keys}
