"""A tenant's row for one outside service."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from nexpura.tenants.models import Tenant

MAILCHIMP = "mailchimp"


class Integration(models.Model):
    """One row per tenant and kind (A5). The secret lives sealed in `config_encrypted` only; `config` is plain.

    Keys of `config` for Mailchimp: `audience_id`, `audience_name`, `data_centre`, `key_last4`, `login_id`,
    `account_name`, `auto_sync`; and what the tenant chose: `mapping` (merge tag to source), `permissions` (ids),
    `ask_to_confirm`. Keys of `error`: `code`, `title`, `detail`, `remedy`, `at`.
    """

    class Status(models.TextChoices):
        CONNECTED = "connected", "Connected"
        DISCONNECTED = "disconnected", "Disconnected"
        ERROR = "error", "Error"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="integrations")
    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=20)
    status = models.CharField(max_length=12, choices=Status.choices)
    config: models.JSONField[Any, Any] = models.JSONField(default=dict)
    config_encrypted = models.BinaryField(null=True)
    error: models.JSONField[Any, Any] = models.JSONField(null=True)
    connected_at = models.DateTimeField(null=True)
    last_sync_at = models.DateTimeField(null=True)
    last_checked_at = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    next_sync_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "kind"], name="one_integration_per_kind"),
            models.UniqueConstraint(fields=["tenant", "id"], name="integration_of_tenant"),
            models.CheckConstraint(
                condition=models.Q(status__in=["connected", "disconnected", "error"]),
                name="integration_status_known",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="disconnected") | models.Q(config_encrypted__isnull=True),
                name="disconnected_holds_no_key",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_sync_at"],
                name="integration_due",
                condition=models.Q(next_sync_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of tenant {self.tenant_id}"

    @property
    def is_connected(self) -> bool:
        """Whether a key is held: true also while Mailchimp refuses it."""
        return self.status != self.Status.DISCONNECTED
