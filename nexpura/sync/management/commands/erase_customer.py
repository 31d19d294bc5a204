"""`nexpura erase-customer`: erase a customer who asked for it, here and in Mailchimp."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from nexpura.customers.models import Customer
from nexpura.sync import erasures, forget
from nexpura.sync.models import Erasure
from nexpura.tenants.audit import Actor
from nexpura.tenants.commands import TenantCommand

REFUSED = 2


class Command(TenantCommand):
    help = "Erase a customer who asked for it, for good. Exit: 0 erased (Mailchimp may still have to be told), 2 not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("customer", metavar="CUSTOMER_ID", type=int, help="the number of the record")
        parser.add_argument(
            "--member",
            choices=Erasure.Choice.values,
            default=Erasure.Choice.UNSUBSCRIBE,
            help="what becomes of the member in Mailchimp (unsubscribe); delete can never be undone",
        )
        parser.add_argument("--yes", action="store_true", help="go ahead: an erasure cannot be taken back")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        customer = Customer.objects.filter(tenant=tenant, pk=options["customer"]).first()
        if customer is None:
            raise CommandError(f"There is no customer {options['customer']} in {tenant.slug}.", returncode=REFUSED)
        if not options["yes"]:
            raise CommandError(
                f"This erases {customer.name} (record {customer.pk}) for good; the member in Mailchimp: "
                f"{options['member']}. Say --yes to go ahead. Nothing was erased.",
                returncode=REFUSED,
            )
        try:
            erasure = erasures.erase(tenant, Actor.command(), customer.pk, options["member"])
        except erasures.NotNowError:
            raise CommandError(
                "Customers are being imported; try again when that is done.", returncode=REFUSED
            ) from None
        forget.carry_out(erasure.pk, timezone.now())
        erasure.refresh_from_db()
        self._tell(erasure, as_json=options["json"])

    def _tell(self, erasure: Erasure, *, as_json: bool) -> None:
        if as_json:
            self.print_json(
                {
                    "receipt": erasure.number,
                    "customer_id": erasure.customer_id,
                    "member": erasure.choice,
                    "state": erasure.state,
                    "did": erasure.outcomes,
                    "problem": erasure.problem,
                }
            )
            return
        self.stdout.write(f"Erased. Receipt {erasure.number}.")
        for sentence in erasures.told(erasure):
            self.stdout.write(sentence)
        if erasure.is_open:
            why = f" {erasure.problem['title']}. {erasure.problem['remedy']}" if erasure.problem else ""
            self.stdout.write(f"Mailchimp has not been told yet: a worker goes on trying.{why}")
