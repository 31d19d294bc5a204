"""`nexpura createtenant`: make a business."""

from __future__ import annotations

import json
from typing import Any

import phonenumbers
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant


class Command(BaseCommand):
    """Makes the tenant, with its line in the audit trail."""

    help = "Make a tenant: one business with its own customers, users and integration."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--slug", required=True, help="its short name in commands, such as demo-jeweller")
        parser.add_argument("--name", required=True, help="its name as customers know it")
        parser.add_argument("--country", default="AU", help="two letters; how its phone numbers are read")
        parser.add_argument("--timezone", default="Australia/Sydney", help="where its days begin")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self._tenant(options)
        facts = {"slug": tenant.slug, "name": tenant.name, "country": tenant.country, "timezone": tenant.timezone}
        with transaction.atomic():
            tenant.save(force_insert=True)
            audit.record(tenant, Actor.command(), "tenant.created", tenant, after=facts)
        if options["json"]:
            self.stdout.write(json.dumps({"id": tenant.pk, **facts}))
        else:
            self.stdout.write(f"Made the tenant {tenant.slug} ({tenant.name}).")

    def _tenant(self, options: dict[str, Any]) -> Tenant:
        country = options["country"].upper()
        if country not in phonenumbers.SUPPORTED_REGIONS:
            raise CommandError("--country: write the two letters of a country, such as AU")
        if Tenant.objects.filter(slug=options["slug"]).exists():
            raise CommandError(f"--slug: there is a tenant {options['slug']} already; choose another slug")
        tenant = Tenant(
            slug=options["slug"], name=options["name"].strip(), country=country, timezone=options["timezone"]
        )
        try:
            tenant.full_clean()
        except ValidationError as error:
            raise CommandError(
                "\n".join(f"--{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
            ) from None
        return tenant
