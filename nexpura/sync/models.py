"""What the sync remembers: what changed, what Mailchimp last confirmed, what each run did."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
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


class KnownAudience(models.Model):
    """What we know of one audience as a whole. Kept on Disconnect; serves again if it is connected again (B14)."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="known_audiences")
    id = models.BigAutoField(primary_key=True)
    data_centre = models.CharField(max_length=10)
    audience_id = models.CharField(max_length=100)
    name = models.CharField(max_length=200, blank=True)
    double_optin = models.BooleanField(default=False)
    merge_fields: models.JSONField[Any, Any] = models.JSONField(default=list)
    """Its typed fields as last read: `tag`, `name`, `type`, `required`, `options`."""
    permissions: models.JSONField[Any, Any] = models.JSONField(null=True)
    """Its marketing permissions (GDPR): `id`, `text`; empty while no member shows them; null: it has none."""
    subscribed = models.PositiveIntegerField(default=0)
    full_read_at = models.DateTimeField(null=True)
    """When the last whole reading ended, by our clock; null: never read."""
    listing_complete = models.BooleanField(default=False)
    """Whether that reading returned every member Mailchimp counted, so that absence from it means absence."""
    read_through = models.DateTimeField(null=True)
    """Mailchimp's clock when the last reading began: the next one asks for what changed since."""
    decided_under = models.CharField(max_length=64, blank=True)
    """Fingerprint of rules, mapping and settings the standings were decided under."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "data_centre", "audience_id"], name="known_audience_once"),
            models.UniqueConstraint(fields=["tenant", "id"], name="known_audience_of_tenant"),
        ]

    def __str__(self) -> str:
        return f"audience {self.audience_id}"


class KnownMember(models.Model):
    """What Mailchimp last confirmed of one address: a mirror, not the truth; every reply refreshes it.

    `status` is blank when the address is known to be absent. `opt_out` is our last unsubscribe:
    `{"cause": "withdrawal"|"moved", "changed": Mailchimp's last_changed in that reply, "words": its reason there,
    "before": the status until then}`. `carried_out` is the id of the withdrawal that was dealt with last (B2a).
    `rewritten` holds, per merge tag, what we sent and what Mailchimp made of it, where the two differ. `refusal` is
    the last one, with what was refused.
    The other columns are those of `nexpura.audience.member.KnownMember`.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    audience = models.ForeignKey(KnownAudience, on_delete=models.CASCADE, related_name="members")
    address = models.TextField(db_collation="C")
    status = models.CharField(max_length=15, blank=True)
    merge_fields: models.JSONField[Any, Any] = models.JSONField(default=dict)
    rewritten: models.JSONField[Any, Any] = models.JSONField(default=dict)
    contact_id = models.CharField(max_length=40, blank=True)
    last_changed = models.DateTimeField(null=True)
    status_since = models.DateTimeField(null=True)
    tags: models.JSONField[Any, Any] = models.JSONField(default=list)
    our_tags: models.JSONField[Any, Any] = models.JSONField(default=list)
    added_by_us = models.BooleanField(default=False)
    made_for = models.BigIntegerField(null=True)
    asked_for = models.BigIntegerField(null=True)
    renamed_to = models.TextField(db_collation="C", blank=True)
    move_refused = models.BooleanField(default=False)
    opt_out: models.JSONField[Any, Any] = models.JSONField(null=True)
    carried_out = models.BigIntegerField(null=True)
    refusal: models.JSONField[Any, Any] = models.JSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "audience", "address"], name="known_member_once")]
        indexes = [
            models.Index(
                fields=["tenant", "audience", "contact_id"],
                name="known_by_contact",
                condition=~models.Q(contact_id=""),
            ),
            models.Index(
                fields=["tenant", "audience", "made_for"],
                name="known_made_for",
                condition=models.Q(made_for__isnull=False),
            ),
            models.Index(
                fields=["tenant", "audience", "address"],
                name="known_renamed",
                condition=~models.Q(renamed_to=""),
            ),
        ]

    def __str__(self) -> str:
        return f"known member {self.pk}"


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

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="member_results")
    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(SyncRun, on_delete=models.CASCADE, related_name="results")
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
            models.UniqueConstraint(fields=["tenant", "run", "address", "kind"], name="one_result_per_kind"),
        ]
        indexes = [
            models.Index(fields=["tenant", "run", "state", "id"], name="result_by_state"),
            models.Index(fields=["tenant", "run", "bucket", "id"], name="result_by_bucket"),
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


class Erasure(models.Model):
    """The receipt of one customer erased (B11): when, by whom, what was to become of the member, what did. No address.

    Until Mailchimp has been told, the addresses are kept sealed in `sealed`; nothing else leads to the person. In
    `consent` are the dated facts of the ledger without whom they were about: `state`, `at`, `recorded_at`, `source`,
    `wording`. The run-time role makes and changes these rows, and deletes none.
    """

    class Choice(models.TextChoices):
        KEEP = "keep", "Keep the member as it is"
        UNSUBSCRIBE = "unsubscribe", "Unsubscribe the member"
        DELETE = "delete", "Delete the member permanently"

    class State(models.TextChoices):
        PENDING = "pending", "Not done yet"
        DONE = "done", "Done"
        NOT_NEEDED = "not_needed", "Nothing to do"
        FAILED = "failed", "Needs a person"

    OPEN = (State.PENDING, State.FAILED)

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="erasures")
    id = models.BigAutoField(primary_key=True)
    number = models.PositiveIntegerField()
    """The receipt's number: 1, 2, 3 in each shop."""
    customer_id = models.BigIntegerField()
    """The number the record had; there is no such customer any more."""
    choice = models.CharField(max_length=12, choices=Choice.choices)
    state = models.CharField(max_length=12, choices=State.choices)
    outcomes: ArrayField[list[str], list[str]] = ArrayField(models.CharField(max_length=20), default=list)
    """What became of the member, a word for each of the addresses (`nexpura.sync.erasures.OUTCOMES`)."""
    opt_outs: models.JSONField[Any, Any] = models.JSONField(default=list)
    """Mailchimp's moment and words in each reply to our unsubscribe, by which a reading knows it for nobody's no."""
    requested_at = models.DateTimeField(db_default=Now())
    requested_by = models.CharField(max_length=254)
    done_at = models.DateTimeField(null=True)
    audience = models.ForeignKey(KnownAudience, on_delete=models.PROTECT, null=True, related_name="+")
    """The audience that was connected then; null: none was."""
    sealed = models.BinaryField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    after_run = models.BigIntegerField(null=True)
    """A run that had a change of this person under way: until it is over, what is done may have to be done again."""
    problem: models.JSONField[Any, Any] = models.JSONField(null=True)
    """`code`, `title`, `detail`, `remedy`, `in_doubt`, `at` of the last try that did not succeed."""
    consent: models.JSONField[Any, Any] = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "number"], name="erasure_number_once"),
            models.UniqueConstraint(fields=["tenant", "id"], name="erasure_of_tenant"),
            models.UniqueConstraint(fields=["tenant", "customer_id"], name="customer_erased_once"),
            models.CheckConstraint(
                condition=models.Q(choice__in=["keep", "unsubscribe", "delete"]), name="erasure_choice_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "done", "not_needed", "failed"]), name="erasure_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "failed"]) | models.Q(sealed__isnull=True),
                name="erasure_done_holds_no_address",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "id"], name="erasure_open", condition=models.Q(state__in=["pending", "failed"])
            ),
            models.Index(fields=["next_try_at"], name="erasure_due", condition=models.Q(state="pending")),
        ]

    def __str__(self) -> str:
        return f"erasure {self.number}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN


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
    """A message that was accepted, by a digest of what tells it apart: the same one is not heard twice."""

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
