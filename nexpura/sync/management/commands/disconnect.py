"""`nexpura disconnect`: forget key and audience, keep the history."""

from __future__ import annotations

from typing import Any

from nexpura.sync import connect, erasures, panel
from nexpura.tenants.audit import Actor
from nexpura.tenants.commands import TenantCommand


class Command(TenantCommand):
    help = "Disconnect a tenant from Mailchimp: the key is cleared, the history stays."

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        erasures_open = erasures.open_ones(tenant).count()
        unsent = panel.unsent_opt_outs(tenant).count
        connect.disconnect(tenant, Actor.command())
        if options["json"]:
            self.print_json({"connected": False, "unsent_opt_outs": unsent, "open_erasures": erasures_open})
            return
        self.stdout.write("Disconnected. The API key is gone; the history stays.")
        if unsent:
            self.tell(f"Note: {unsent} opt-outs had not reached Mailchimp yet.")
        if erasures_open:
            self.tell(f"Note: {erasures_open} erasures wait until the same audience is connected again.")
