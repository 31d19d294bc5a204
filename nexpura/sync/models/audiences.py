"""The mirror: what Mailchimp last confirmed of an audience and of each address in it."""

from __future__ import annotations

from typing import Any

from django.db import models

from nexpura.tenants.models import Tenant


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
    baseline_at = models.DateTimeField(null=True)
    """Mailchimp's clock when the first whole reading began: who was out by then said no before connecting (B3)."""
    listing_complete = models.BooleanField(default=False)
    """Whether a whole reading has returned every member Mailchimp counted: with the readings of changes since, nobody
    but who was deleted is missing from the mirror, and not knowing somebody means absence."""
    read_through = models.DateTimeField(null=True)
    """Mailchimp's clock when the last reading began: the next one asks for what changed since."""
    drift: models.JSONField[Any, Any] = models.JSONField(null=True)
    """What a whole reading has found so far (`nexpura.sync.drift`), until it has ended and its run tells it."""
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
    The other columns are those of `nexpura.audience.member.KnownMember`. That the audience is there, and the tenant's
    own, is one constraint with the tenant in it; those that Django would add check the same twice more, for each row.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, db_constraint=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    audience = models.ForeignKey(
        KnownAudience, on_delete=models.CASCADE, db_index=False, db_constraint=False, related_name="members"
    )
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
