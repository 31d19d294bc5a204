"""`nexpura createuser`: make a person who signs in for a tenant."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.management import passwords
from nexpura.tenants.models import Tenant, TenantUser
from nexpura.tenants.roles import Role


class Command(BaseCommand):
    """Makes the user with the password on standard input; the audit trail has who did it."""

    help = "Make a user of a tenant; the password comes from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="the tenant's slug")
        parser.add_argument("--email", required=True, help="what they sign in with")
        parser.add_argument("--role", required=True, choices=[role.value for role in Role])
        parser.add_argument("--name", default="", help="what others see; the e-mail address if left out")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"--tenant: there is no tenant {options['tenant']}; nexpura createtenant makes one")
        password = passwords.read()
        try:
            user = self._make(tenant, options, password)
        except ValidationError as error:
            raise CommandError(
                "\n".join(f"--{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
            ) from None
        facts = {"id": user.pk, "tenant": tenant.slug, "email": user.email, "role": user.role}
        self.stdout.write(
            json.dumps(facts) if options["json"] else f"Made the {user.role} {user.email} of {tenant.slug}."
        )

    @transaction.atomic
    def _make(self, tenant: Tenant, options: dict[str, Any], password: str) -> TenantUser:
        user = TenantUser.objects.create_user(
            tenant=tenant,
            email=options["email"],
            role=options["role"],
            password=password,
            name=options["name"].strip(),
        )
        after = {"email": user.email, "role": user.role, "name": user.name}
        audit.record(tenant, Actor.command(), "user.created", user, after=after)
        return user
