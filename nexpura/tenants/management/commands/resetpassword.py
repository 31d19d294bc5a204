"""`nexpura resetpassword`: give a user another password."""

from __future__ import annotations

import json
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.management import passwords
from nexpura.tenants.models import TenantUser


class Command(BaseCommand):
    """Sets the password on standard input; whoever is signed in as this user is signed out by it."""

    help = "Give a user another password; it comes from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True, help="what the user signs in with")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"].strip().lower()
        user = TenantUser.objects.filter(email=email).select_related("tenant").first()
        if user is None:
            raise CommandError("--email: no user signs in with this address; nexpura createuser makes one")
        user.set_password(passwords.read(user))
        with transaction.atomic():
            user.save(update_fields=["password"])
            audit.record(user.tenant, Actor.command(), "user.password_reset", user)
        facts = {"id": user.pk, "tenant": user.tenant.slug, "email": user.email}
        self.stdout.write(json.dumps(facts) if options["json"] else f"Changed the password of {user.email}.")
