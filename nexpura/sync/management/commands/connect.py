"""`nexpura connect`: connect a tenant to its Mailchimp audience; the key comes on standard input."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from nexpura.sync import connect
from nexpura.tenants.audit import Actor
from nexpura.tenants.commands import TenantCommand


class Command(TenantCommand):
    help = "Connect a tenant to its Mailchimp audience. The API key is read from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--audience", required=True, metavar="ID", help="Audience / List ID, such as abc123def4")
        parser.add_argument("--auto-sync", action="store_true", help="sync daily in the background as well")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        key_text = getpass.getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline()
        answer = connect.connect(
            tenant,
            Actor.command(),
            key_text=key_text,
            audience_id=options["audience"],
            auto_sync=options["auto_sync"],
        )
        if isinstance(answer, connect.Refused):
            raise CommandError(
                "\n".join([f"{answer.title}: {answer.detail}", *(f"  - {one}" for one in answer.causes)])
            )
        config = answer.integration.config
        if options["json"]:
            self.print_json(
                {"connected": True, **{k: config[k] for k in ("audience_id", "audience_name", "data_centre")}}
            )
            return
        self.stdout.write(f"Connected to audience {config['audience_name']} ({config['audience_id']}).")
        if answer.also_elsewhere:
            self.tell("Note: this audience is also connected elsewhere in this installation.")
