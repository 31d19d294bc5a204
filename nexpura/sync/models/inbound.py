"""What Mailchimp tells by itself: where it was asked to, what came, and whom to look at."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from nexpura.sync.models.audiences import KnownAudience
from nexpura.tenants.models import Tenant


class Webhook(models.Model):
    """A URL of ours that Mailchimp was asked to tell of changes in one audience; its history while it is kept.

    The secret in the URL is known to Mailchimp only: we keep its hash. What Mailchimp signs its messages with is
    sealed, as the API key is; null where it does not sign. Rows of messages hang off this one and not off the
    integration, whose row runs lock: a message never waits for a run.
    """

    class State(models.TextChoices):
        ASKING = "asking", "Being set up"
        LISTENING = "listening", "Listening"
        FAILED = "failed", "Not set up"
        ENDED = "ended", "Ended"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="webhooks")
    id = models.BigAutoField(primary_key=True)
    audience = models.ForeignKey(KnownAudience, on_delete=models.CASCADE, related_name="webhooks")
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKING)
    public_url = models.TextField()
    """Where this installation was to be reached when Mailchimp was asked; without the secret."""
    secret_hash = models.CharField(max_length=64)
    signing_secret = models.BinaryField(null=True)
    remote_id = models.CharField(max_length=40, blank=True)
    """Mailchimp's name for it."""
    error: models.JSONField[Any, Any] = models.JSONField(null=True)
    """`code`, `title`, `detail`, `remedy` of why it is not set up."""
    tries = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    """When to ask again; while asking: when whoever asks is taken to be dead."""
    asked_at = models.DateTimeField(db_default=Now())
    listening_since = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    """When Mailchimp last said that it has this webhook."""
    ended_at = models.DateTimeField(null=True)

    WANTED = (State.ASKING, State.FAILED)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "id"], name="webhook_of_tenant"),
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(state="listening"), name="one_webhook_listening"
            ),
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(state__in=["asking", "failed"]), name="one_webhook_wanted"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["asking", "listening", "failed", "ended"]), name="webhook_state_known"
            ),
        ]
        indexes = [
            models.Index(fields=["secret_hash"], name="webhook_by_secret"),
            models.Index(fields=["retry_at"], name="webhook_retry", condition=models.Q(state__in=["asking", "failed"])),
        ]

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class MessageCount(models.Model):
    """How many messages of each outcome came to a webhook, and when the last of them did."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, db_index=False, related_name="counts")
    outcome = models.CharField(max_length=10)
    count = models.BigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "webhook", "outcome"], name="message_count_once")]

    def __str__(self) -> str:
        return f"{self.outcome}: {self.count}"


class HeardMessage(models.Model):
    """A message that was accepted, by a keyed hash of what tells it apart: the same one is not heard twice."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, db_index=False, related_name="+")
    identity = models.CharField(max_length=64)
    heard_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "webhook", "identity"], name="message_heard_once")]
        indexes = [models.Index(fields=["heard_at"], name="message_age")]

    def __str__(self) -> str:
        return f"message to webhook {self.webhook_id}"


class AddressToLookAt(models.Model):
    """An address a message was about, until its member was read. Jobs find it here: their arguments name nobody."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    audience = models.ForeignKey(KnownAudience, on_delete=models.CASCADE, db_index=False, related_name="+")
    address = models.TextField(db_collation="C")
    asks = models.PositiveIntegerField(default=1)
    """Counts the messages about it: one that comes while the member is read asks for another look."""
    tries = models.PositiveIntegerField(default=0)
    asked_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    """When to look, or, while somebody does, when they are taken to be dead."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "audience", "address"], name="look_at_address_once")]
        indexes = [models.Index(fields=["due_at"], name="look_due")]

    def __str__(self) -> str:
        return f"address {self.pk} to look at"
