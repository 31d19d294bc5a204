"""Customers, what they said about marketing, and where the shop met them."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Least, Now

from nexpura.tenants.models import Tenant, TenantUser


class ConsentState(models.TextChoices):
    """The three states of B1; only *withdrawn* unsubscribes, and *never* is never written."""

    NEVER = "never", "Never asked"
    GRANTED = "granted", "Granted"
    WITHDRAWN = "withdrawn", "Withdrawn"


class ConsentSource(models.TextChoices):
    """Where a consent event was recorded."""

    INTAKE = "intake", "At intake"
    POS = "pos", "At the till"
    PROFILE = "profile", "On the customer's page"
    IMPORT = "import", "By import"
    API = "api", "By the API"
    MAILCHIMP = "mailchimp", "In Mailchimp"


class Key(models.Func):
    """A normalised text column computed by one of the database's own functions."""

    arity = 1
    output_field = models.TextField(db_collation="C")


class Customer(models.Model):
    """A person in the tenant's own records.

    `address`, `first_key` and `last_key` are computed by the database, `consent_state` follows the ledger by
    a trigger: whatever writes a row, they agree with it.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="customers")
    id = models.BigAutoField(primary_key=True)
    external_id = models.CharField(max_length=100, null=True, blank=True)
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    email = models.CharField(max_length=320, blank=True)
    phone = models.CharField(max_length=40, blank=True, db_collation="C")
    tags: ArrayField[list[str], list[str]] = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    note = models.TextField(blank=True)
    consent_state = models.CharField(max_length=10, choices=ConsentState.choices, default=ConsentState.NEVER)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    address = models.GeneratedField(
        expression=Key("email", function="nexpura_address"),
        output_field=models.TextField(db_collation="C"),
        db_persist=True,
    )
    first_key = models.GeneratedField(
        expression=Key("first_name", function="nexpura_fold"),
        output_field=models.TextField(db_collation="C"),
        db_persist=True,
    )
    last_key = models.GeneratedField(
        expression=Key("last_name", function="nexpura_fold"),
        output_field=models.TextField(db_collation="C"),
        db_persist=True,
    )
    marketing_consent = models.GeneratedField(
        expression=models.Case(models.When(consent_state="granted", then=True), default=False),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "id"], name="customer_of_tenant"),
            models.UniqueConstraint(
                fields=["tenant", "external_id"],
                name="customer_external_id_once",
                condition=models.Q(external_id__isnull=False),
            ),
            models.CheckConstraint(condition=~models.Q(external_id=""), name="customer_external_id_not_blank"),
            models.CheckConstraint(
                condition=models.Q(consent_state__in=ConsentState.values), name="customer_consent_known"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "address"], name="customer_address"),
            models.Index(fields=["tenant", "last_key", "first_key", "id"], name="customer_by_name"),
            models.Index(fields=["tenant", "first_key"], name="customer_first_name"),
            models.Index(fields=["tenant", "phone"], name="customer_phone"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """First and last name as one would say them; a customer without either is named by number."""
        return f"{self.first_name} {self.last_name}".strip() or f"Customer {self.pk}"

    def snapshot(self) -> dict[str, Any]:
        """Return the fields that people edit, for the audit trail."""
        names = ("external_id", "first_name", "last_name", "email", "phone", "tags", "note")
        return {name: getattr(self, name) for name in names}


class ConsentWording(models.Model):
    """One version of the words a tenant shows beside the tick box. Versions are never edited."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="consent_wordings")
    id = models.BigAutoField(primary_key=True)
    version = models.PositiveIntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "version"], name="wording_version_once"),
            models.UniqueConstraint(fields=["tenant", "id"], name="wording_of_tenant"),
        ]

    def __str__(self) -> str:
        return f"version {self.version}"


class ConsentEvent(models.Model):
    """One dated "granted" or "withdrawn" of one customer. Append only: the run-time role may not change it.

    `effective_at` is the earlier of the time claimed for the event and the time it was recorded (B1a). Only whose
    it is may change, when two records of one person are merged; the database then keeps in `recorded_on` the id of
    the customer it was recorded on.

    That customer and wording are there, and the tenant's own, is one constraint each, with the tenant in it; those
    that Django would add check the same once more, for each row of an import.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_index=False, db_constraint=False, related_name="consent_events"
    )
    id = models.BigAutoField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_constraint=False, related_name="consent_events")
    state = models.CharField(max_length=10, choices=ConsentState.choices[1:])
    claimed_at = models.DateTimeField(null=True, blank=True)
    recorded_at = models.DateTimeField(db_default=Now())
    effective_at = models.GeneratedField(
        expression=Least("claimed_at", "recorded_at"), output_field=models.DateTimeField(), db_persist=True
    )
    source = models.CharField(max_length=10, choices=ConsentSource.choices)
    wording = models.ForeignKey(
        ConsentWording, on_delete=models.PROTECT, null=True, db_constraint=False, related_name="+"
    )
    wording_text = models.TextField(blank=True)
    address = models.TextField(db_collation="C", blank=True)
    ip = models.GenericIPAddressField(null=True)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=254)
    recorded_on = models.BigIntegerField(null=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[ConsentState.GRANTED, ConsentState.WITHDRAWN]),
                name="consent_event_state",
            ),
            models.CheckConstraint(condition=models.Q(source__in=ConsentSource.values), name="consent_event_source"),
        ]
        indexes = [
            models.Index(fields=["tenant", "customer", "-effective_at"], name="consent_of_customer"),
            models.Index(
                fields=["tenant", "address"],
                name="withdrawal_of_address",
                condition=models.Q(state=ConsentState.WITHDRAWN),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} by customer {self.customer_id}"

    @property
    def where(self) -> str:
        """Where it was said, in words for the history."""
        if self.source != ConsentSource.MAILCHIMP:
            return self.get_source_display()
        return "Unsubscribed in Mailchimp" if self.state == ConsentState.WITHDRAWN else "Subscribed in Mailchimp"


class Visit(models.Model):
    """A customer met at intake, or a walk-in sale at the till (with or without a customer)."""

    class Kind(models.TextChoices):
        INTAKE = "intake", "Intake"
        SALE = "sale", "Sale"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="visits")
    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="visits")
    description = models.CharField(max_length=500)
    amount = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    user = models.ForeignKey(TenantUser, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    recorded_on = models.BigIntegerField(null=True, editable=False)
    """As with consent events: the customer it was written down for, if that record was merged into this one."""

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=["intake", "sale"]), name="visit_kind_known"),
            models.CheckConstraint(
                condition=models.Q(kind="intake") | models.Q(amount__isnull=False), name="sale_has_amount"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="sale") | models.Q(customer__isnull=False), name="intake_has_customer"
            ),
        ]
        indexes = [models.Index(fields=["tenant", "-id"], name="visit_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class FormerCustomer(models.Model):
    """A record that was merged into another: under its id and its number of the till, `customer` is found."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="former_customers")
    id = models.BigAutoField(primary_key=True)
    former_id = models.BigIntegerField()
    external_id = models.CharField(max_length=100, null=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="former_records")
    merged_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "former_id"], name="former_id_once"),
            models.UniqueConstraint(
                fields=["tenant", "external_id"],
                name="former_external_id_once",
                condition=models.Q(external_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"customer {self.former_id}, now {self.customer_id}"


class SharedAddress(models.Model):
    """An address that two or more customers hold. Triggers on customers keep the list, whatever writes them."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="shared_addresses")
    id = models.BigAutoField(primary_key=True)
    address = models.TextField(db_collation="C")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "address"], name="shared_address_once")]
        indexes = [models.Index(fields=["tenant", "-id"], name="shared_newest")]

    def __str__(self) -> str:
        return f"shared address {self.pk}"
