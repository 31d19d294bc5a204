"""What the commands have in common: finding the tenant, and printing one JSON object or lines for people."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nexpura.tenants.models import Tenant


class TenantCommand(BaseCommand):
    """A command for one tenant, named by `--tenant SLUG`; `--json` prints one object and nothing else."""

    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="the tenant's short name")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def tenant(self, slug: str) -> Tenant:
        """Return the tenant; raises `CommandError` that names the ones there are."""
        try:
            return Tenant.objects.get(slug=slug)
        except Tenant.DoesNotExist:
            slugs = ", ".join(Tenant.objects.order_by("slug").values_list("slug", flat=True)[:10]) or "none yet"
            raise CommandError(
                f"There is no tenant {slug!r}; known: {slugs}. Make one with nexpura createtenant."
            ) from None

    def print_json(self, value: Mapping[str, Any]) -> None:
        self.stdout.write(json.dumps(value, ensure_ascii=False, default=str))

    def tell(self, line: str) -> None:
        """Progress and remarks, on standard error."""
        self.stderr.write(line)


def end_with(code: int) -> None:
    """End the command with this exit code, without a message."""
    if code:
        sys.exit(code)
