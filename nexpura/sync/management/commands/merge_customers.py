"""`nexpura merge-customers`: two records of one person become one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from nexpura.customers.merging import Refused
from nexpura.sync.merge import merge
from nexpura.tenants.audit import Actor
from nexpura.tenants.commands import TenantCommand


class Command(TenantCommand):
    help = "Merge two records of one person: the first stays with its details, the second goes into it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("kept", type=int, metavar="KEPT_ID", help="the customer who stays")
        parser.add_argument("other", type=int, metavar="OTHER_ID", help="the customer whose record goes")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        answer = merge(tenant, Actor.command(), kept_id=options["kept"], other_id=options["other"])
        if isinstance(answer, Refused):
            raise CommandError(answer.reason, returncode=2)
        consent = answer.customer.consent_state
        if options["json"]:
            self.print_json({"customer_id": answer.customer.pk, "merged": answer.former_id, "consent": consent})
            return
        self.stdout.write(f"Customer {answer.former_id} was merged into customer {answer.customer.pk}.")
        self.stdout.write(f"Consent: {consent}.")
