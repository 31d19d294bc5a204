"""What to look at again, and where each address of the book stands since it was last looked at."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from nexpura.tenants.models import Tenant


class DirtyAddress(models.Model):
    """An address to look at again. Versions come from one sequence; settling removes the mark if it is unchanged."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    address = models.TextField(db_collation="C")
    version = models.BigIntegerField()
    marked_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "address"], name="dirty_address_once")]

    def __str__(self) -> str:
        return f"mark {self.version} of tenant {self.tenant_id}"


class Bucket(models.TextChoices):
    """Where a customer stands after a run (B7); exactly one for each customer of the book."""

    AGREEMENT = "agreement", "In agreement"
    ADDED = "added", "Added"
    UPDATED = "updated", "Updated"
    UNSUBSCRIBED = "unsubscribed", "Unsubscribed"
    ASKED = "asked", "Asked to confirm"
    KEPT = "kept", "Kept as is"
    WITHHELD = "withheld", "Withheld"
    WAITING = "waiting", "Waiting for another try"
    FAILED = "failed", "Failed"


class AddressStanding(models.Model):
    """Where an address and the customers who share it stand since it was last decided or settled.

    Customers without an e-mail stand under the blank address. `StandingCount` follows by a trigger.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    address = models.TextField(db_collation="C")
    bucket = models.CharField(max_length=15, choices=Bucket.choices)
    reason = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    customers = models.PositiveIntegerField()
    retry_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "address"], name="standing_once")]
        indexes = [
            models.Index(fields=["tenant", "bucket", "address"], name="standing_by_bucket"),
            models.Index(
                fields=["tenant", "retry_at"],
                name="standing_retry",
                condition=models.Q(retry_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bucket} {self.reason}"


class StandingCount(models.Model):
    """How many addresses and customers stand where: the sums of `AddressStanding`, kept by its trigger."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    bucket = models.CharField(max_length=15)
    reason = models.CharField(max_length=60, blank=True)
    addresses = models.BigIntegerField()
    customers = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "bucket", "reason"], name="standing_count_once")]

    def __str__(self) -> str:
        return f"{self.bucket} {self.reason}: {self.customers}"
