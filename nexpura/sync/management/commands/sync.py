"""`nexpura sync`: the run the button starts, carried out by the command itself under the same lease."""

from __future__ import annotations

import asyncio
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from nexpura.sync import preview, report, runs
from nexpura.sync.clock import Clock
from nexpura.sync.models import SyncRun
from nexpura.sync.run import run_sync
from nexpura.sync.store import Busy
from nexpura.tenants.audit import Actor
from nexpura.tenants.commands import TenantCommand, end_with
from nexpura.tenants.models import Tenant

EXIT = {"succeeded": 0, "partial": 1, "failed": 2, "stopped": 3, "cancelled": 2}


class Command(TenantCommand):
    help = (
        "Sync a tenant's customers to its audience now. Exit: 0 success, 1 partial, 2 failed, 3 stopped by the brake."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--dry-run", action="store_true", help="say what would be done; write nothing to Mailchimp")
        how.add_argument(
            "--full", action="store_true", help="read the whole audience, and say what was otherwise than it was known"
        )
        parser.add_argument("--confirm", action="store_true", help="go past the brake on unusually many unsubscribes")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        try:
            if options["dry_run"]:
                told = preview.preview(tenant)
                self.print_json(told) if options["json"] else self.stdout.write(preview.line(told))
                return
            run = self._run(tenant, past_brake=options["confirm"], full=options["full"])
        except runs.NotConnectedError:
            raise CommandError(
                "Mailchimp is not connected for this tenant; run nexpura connect first.", returncode=2
            ) from None
        if options["json"]:
            self.print_json(report.of_run(run))
        else:
            self.stdout.write("\n".join([report.line(run), *report.of_drift(run)]))
        end_with(EXIT[run.status])

    def _run(self, tenant: Tenant, *, past_brake: bool, full: bool) -> SyncRun:
        """Return a run that is over: ours, or one under way already if that does what is asked for."""
        while True:
            with transaction.atomic():
                run, ours = runs.create(
                    tenant, Actor.command(), SyncRun.Trigger.COMMAND, past_brake=past_brake, full=full
                )
            if not ours:
                self.tell(f"Run {run.pk} is under way already; waiting for it.")
            run = self._carried_out(run)
            if ours or run.full or not full:
                return run

    def _carried_out(self, run: SyncRun) -> SyncRun:
        """Carry the run out, or wait while somebody else does; whoever dies, the other goes on."""
        said_at = 0.0
        while run.is_active:
            if isinstance(asyncio.run(run_sync(run.pk, clock=Clock())), Busy):
                time.sleep(1)
            run = SyncRun.objects.get(pk=run.pk)
            if run.is_active and time.monotonic() - said_at > 5:
                said_at = time.monotonic()
                self.tell(f"run {run.pk}: {run.get_status_display()} {run.phase} {run.done}/{run.planned}")
        return run
