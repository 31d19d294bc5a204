"""The receipts of customers who were erased."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from nexpura.sync.models.audiences import KnownAudience
from nexpura.tenants.models import Tenant


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
