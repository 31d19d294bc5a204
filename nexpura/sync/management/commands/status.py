"""`nexpura status`: what the panel shows, on the terminal."""

from __future__ import annotations

from typing import Any

from nexpura.sync import panel, report
from nexpura.tenants.commands import TenantCommand


class Command(TenantCommand):
    help = "Show a tenant's Mailchimp integration: status, last sync, what is waiting."

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        state = panel.state(tenant)
        told = report.of_panel(state)
        if options["json"]:
            self.print_json(told)
            return
        for name in ("status", "audience", "auto_sync", "last_sync_at", "last_checked_at", "next_sync_at"):
            self.stdout.write(f"{name.replace('_', ' ')}: {told[name] if told[name] is not None else '-'}")
        if state.finished:
            self.stdout.write(report.line(state.finished))
        if state.unsent_opt_outs.count:
            self.stdout.write(f"opt-outs not yet in Mailchimp: {report.unsent(state.unsent_opt_outs)}")
        if state.open_erasures:
            self.stdout.write(f"erasures not done in Mailchimp yet: {state.open_erasures}")
        if state.connected:
            self.stdout.write(report.hearing(state.inbound))
        if not state.worker_seen:
            self.tell("No worker is running: buttons and the daily sync wait for one (nexpura worker, or nexpura up).")
