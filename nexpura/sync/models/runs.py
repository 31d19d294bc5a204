"""What each run did, and who may send requests meanwhile."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from nexpura.sync.models.audiences import KnownAudience
from nexpura.tenants.models import Tenant


class SyncRun(models.Model):
    """One dated record of a run with its counts and outcome. `token` fences it: only its holder may write."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting to start"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        PARTIAL = "partial", "Partly succeeded"
        FAILED = "failed", "Failed"
        STOPPED = "stopped", "Stopped by the brake"
        CANCELLED = "cancelled", "Cancelled"

    class Trigger(models.TextChoices):
        MANUAL = "manual", "Button"
        SCHEDULE = "schedule", "Daily schedule"
        API = "api", "API"
        COMMAND = "command", "Command"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="sync_runs")
    id = models.BigAutoField(primary_key=True)
    audience = models.ForeignKey(KnownAudience, on_delete=models.PROTECT, related_name="+")
    trigger = models.CharField(max_length=10, choices=Trigger.choices)
    actor_name = models.CharField(max_length=254, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    phase = models.CharField(max_length=10, blank=True)
    """While running: reading, deciding or sending."""
    past_brake = models.BooleanField(default=False)
    full = models.BooleanField(default=False, db_default=False)
    """Whether somebody asked that the whole audience be read; once a week it is unasked."""
    drift: models.JSONField[Any, Any] = models.JSONField(null=True)
    """What its whole reading showed otherwise than it was known (`nexpura.sync.drift`); null: nothing was compared."""
    faulty = models.BooleanField(default=False)
    token = models.UUIDField(default=uuid.uuid4)
    queued_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    planned = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    synced = models.PositiveIntegerField(default=0)
    book = models.PositiveIntegerField(default=0)
    counts: models.JSONField[Any, Any] = models.JSONField(default=dict)
    """Customers per bucket at the end."""
    error: models.JSONField[Any, Any] = models.JSONField(null=True)
    """`code`, `title`, `detail`, `remedy` of what ended the run."""

    ACTIVE = (Status.QUEUED, Status.RUNNING)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "id"], name="run_of_tenant"),
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(status__in=["queued", "running"]), name="one_active_run"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["queued", "running", "succeeded", "partial", "failed", "stopped", "cancelled"]
                ),
                name="run_status_known",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "-id"], name="run_newest")]

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE


class MemberResult(models.Model):
    """One change of a run: before, after, the call, and what became of it. Kept 30 days.

    An address has at most one that concerns its member, and one of the kind `retag` beside it.
    """

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        SENDING = "sending", "Sending"
        ACCEPTED = "accepted", "Accepted"
        REFUSED = "refused", "Refused"
        DEFERRED = "deferred", "Deferred"
        SKIPPED = "skipped", "Skipped"

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_index=False, db_constraint=False, related_name="member_results"
    )
    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        SyncRun, on_delete=models.CASCADE, db_index=False, db_constraint=False, related_name="results"
    )
    address = models.TextField(db_collation="C")
    customer_ids: ArrayField[list[int], list[int]] = ArrayField(models.BigIntegerField(), default=list)
    version = models.BigIntegerField()
    """The dirty mark this was decided under; a newer mark withdraws the change before it is sent."""
    change: models.JSONField[Any, Any] = models.JSONField()
    """The change as planned (`nexpura.audience.plan`), with before and after."""
    kind = models.CharField(max_length=15)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PLANNED)
    bucket = models.CharField(max_length=15, blank=True)
    standing_bucket = models.CharField(max_length=15, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "tenant", "address", "kind"], name="one_result_per_kind"),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "run", "state", "id"],
                condition=models.Q(state__in=["planned", "sending"]),
                name="open_result_by_state",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"


class LoginLease(models.Model):
    """The right to send requests for one Mailchimp user: one run at a time, whatever key or tenant it uses."""

    login_id = models.CharField(max_length=80, primary_key=True)
    run_id = models.BigIntegerField()
    token = models.UUIDField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"lease of run {self.run_id}"
