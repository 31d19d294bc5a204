"""One business using the service, its users, and its audit trail."""

from __future__ import annotations

import zoneinfo
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from nexpura.tenants.roles import Right, Role, may


def validate_timezone(name: str) -> None:
    """Raise `ValidationError` unless `name` is a zone of the tz database."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name} is not a time zone; write one such as Australia/Sydney")


class Tenant(models.Model):
    """A business: its customers, its one integration of each kind, its runs. Everything else hangs off it."""

    id = models.BigAutoField(primary_key=True)
    slug = models.SlugField(unique=True, max_length=50)
    name = models.CharField(max_length=120)
    country = models.CharField(max_length=2, default="AU", validators=[RegexValidator(r"^[A-Z]{2}$")])
    timezone = models.CharField(max_length=60, default="Australia/Sydney", validators=[validate_timezone])
    erasure_key = models.BinaryField(null=True)
    """The sealed key of the hashes in `ErasedIdentity`; made when the first customer is erased."""
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The time zone in which this tenant's days begin and its times are shown."""
        return zoneinfo.ZoneInfo(self.timezone)


class TenantUserManager(BaseUserManager["TenantUser"]):
    """Finds and makes users by their e-mail address."""

    def get_by_natural_key(self, username: str | None) -> TenantUser:
        return self.get(email=(username or "").strip().lower())

    def create_user(self, *, tenant: Tenant, email: str, role: str, password: str, name: str = "") -> TenantUser:
        """Make a user; the password is stored hashed only."""
        user = TenantUser(tenant=tenant, email=email.strip().lower(), role=role, name=name)
        user.set_password(password)
        user.full_clean()
        user.save()
        return user


class TenantUser(AbstractBaseUser):
    """A person who signs in, for exactly one tenant, with one role."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="users")
    id = models.BigAutoField(primary_key=True)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    role = models.CharField(max_length=10, choices=[(role.value, role.value) for role in Role])
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[TenantUserManager] = TenantUserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=[role.value for role in Role]), name="user_role_known"),
            models.UniqueConstraint(fields=["tenant", "id"], name="user_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def may(self, right: Right) -> bool:
        """Tell whether this user's role includes `right`."""
        return self.is_active and may(self.role, right)


class AuditEvent(models.Model):
    """Who did what to which row, when, with the values before and after; never a secret. Append only."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="audit_events")
    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    actor_kind = models.CharField(max_length=10)
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=254)
    action = models.CharField(max_length=60)
    subject_kind = models.CharField(max_length=40, blank=True)
    subject_id = models.BigIntegerField(null=True)
    before: models.JSONField[Any, Any] = models.JSONField(default=dict)
    after: models.JSONField[Any, Any] = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="audit_newest"),
            models.Index(fields=["tenant", "subject_kind", "subject_id", "-id"], name="audit_of_subject"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(actor_kind__in=["user", "command", "token", "system"]),
                name="audit_actor_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_kind} {self.actor_id or self.actor_name}"


class ErasedIdentity(models.Model):
    """A keyed hash of what an erased person was recognised by (`nexpura.tenants.erased`); nothing leads back from it.

    No yes given at or before `no_before` counts for an address with this hash; null: somebody else held the address
    when it was erased, and their yes is untouched. The run-time role adds and changes these rows, and deletes none.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_index=False, related_name="+")
    id = models.BigAutoField(primary_key=True)
    digest = models.BinaryField(max_length=32)
    erased_at = models.DateTimeField(db_default=Now())
    no_before = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "digest"], name="erased_identity_once")]

    def __str__(self) -> str:
        return f"erased identity {self.pk}"
