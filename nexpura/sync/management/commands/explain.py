"""`nexpura explain`: why this address is or is not in the audience."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from nexpura.sync import explain
from nexpura.tenants.commands import TenantCommand


class Command(TenantCommand):
    help = "Say why an address is or is not in the audience, and what can be done."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", metavar="EMAIL")

    def handle(self, *args: Any, **options: Any) -> None:
        answer = explain.explain(self.tenant(options["tenant"]), options["email"])
        events = [
            {
                "customer_id": event.customer_id,
                "state": event.state,
                "at": event.effective_at,
                "source": event.source,
                "recorded_by": event.actor_name,
            }
            for event in answer.events
        ]
        if options["json"]:
            names = ("address", "in_audience", "headline", "reason", "sentence", "remedy", "member_status", "consent")
            self.print_json(
                {name: getattr(answer, name) for name in names}
                | {"customer_ids": list(answer.customer_ids), "detail": answer.detail, "events": events}
            )
            return
        self.stdout.write(answer.headline)
        self.stdout.write(f"{answer.sentence} {answer.detail}".rstrip())
        self.stdout.write(f"What to do: {answer.remedy}")
        self.stdout.write(f"Consent: {answer.consent}. In Mailchimp: {answer.member_status}.")
        for event in events:
            self.stdout.write(
                f"  {event['at']:%Y-%m-%d %H:%M} {event['state']} ({event['source']}) customer {event['customer_id']}"
            )
