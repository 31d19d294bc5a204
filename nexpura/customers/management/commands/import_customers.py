"""`nexpura import-customers`: bring a CSV file of customers into the book."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from nexpura.customers import importing, returning
from nexpura.customers.csv_rows import COLUMNS, Refused
from nexpura.customers.importing import Outcome
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant
from nexpura.tenants.vault import CannotOpen

REFUSED = 2
SHOWN = 20
EVERY = 10_000


class Command(BaseCommand):
    """Imports the file, or says line by line why not (exit 2) and imports nothing."""

    help = f"Import customers from a CSV file in UTF-8 with the columns {', '.join(COLUMNS)}."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.csv", type=Path)
        parser.add_argument("--tenant", required=True, help="the tenant's slug")
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            message = f"--tenant: there is no tenant {options['tenant']}; nexpura createtenant makes one"
            raise CommandError(message, returncode=REFUSED)
        try:
            outcome = importing.import_customers(
                tenant, Actor.command(), options["file"], dry_run=options["dry_run"], progress=self._progress
            )
        except Refused as refused:
            raise CommandError(f"{refused}\nNothing was imported.", returncode=REFUSED) from None
        except CannotOpen:
            raise CommandError(f"{returning.CANNOT_TELL}\nNothing was imported.", returncode=REFUSED) from None
        except OSError as error:
            message = f"{options['file']} cannot be read: {error.strerror}"
            raise CommandError(message, returncode=REFUSED) from None
        self.stdout.write(json.dumps(outcome.as_json()) if options["json"] else told(outcome))

    def _progress(self, rows: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{rows:,} rows ", ending="")
        elif rows % EVERY == 0:
            self.stderr.write(f"{rows:,} rows")


def told(outcome: Outcome) -> str:
    """Return what an import did, as sentences."""
    would = "Dry run, nothing was kept. " if outcome.dry_run else ""
    lines = [
        f"{would}{outcome.rows} rows: {outcome.created} customers created, {outcome.changed} changed, "
        f"{outcome.unchanged} unchanged; consent granted {outcome.granted}, withdrawn {outcome.withdrawn}."
    ]
    if outcome.left_out:
        lines.append(f"{outcome.left_out} rows were left out.")
    if outcome.extra_columns:
        lines.append(f"Columns that were not read: {', '.join(outcome.extra_columns)}.")
    for title, notes in (("Consent left as it was", outcome.conflicts), ("Worth a look", outcome.warnings)):
        if notes:
            lines.append(f"{title} ({len(notes)}):")
            lines += [f"  {note}" for note in notes[:SHOWN]]
            lines += [f"  and {len(notes) - SHOWN} more (--json names them)"] if len(notes) > SHOWN else []
    if outcome.notes_not_shown:
        lines.append(f"{outcome.notes_not_shown} more notes were not kept.")
    return "\n".join(lines)
