"""A shop with a book, and its audience."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from nexpura.customers import ledger
from nexpura.customers.models import Customer
from nexpura.sync import connect, runs
from nexpura.sync.clock import Clock
from nexpura.sync.models import SyncRun
from nexpura.sync.run import run_sync
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

KEY = "0123456789abcdef0123456789abcdef-us14"
AUDIENCE = "abc123def4"
CLERK = Actor("user", "a clerk", 1)


class Shop:
    """One tenant and the audience it is connected to."""

    def __init__(self, tenant: Tenant, emulator) -> None:
        self.tenant = tenant
        self.emulator = emulator

    def audience(self, *members: dict, **settings) -> None:
        """Open an audience that holds `members` and connect to it."""
        self.emulator.control(
            "reset",
            {
                "accounts": [
                    {
                        "dc": "us14",
                        "users": [{"name": "owner", "role": "owner", "keys": [KEY]}],
                        "lists": [{"id": AUDIENCE, "name": "Newsletter", "members": list(members), **settings}],
                    }
                ]
            },
        )
        self.connect()

    def connect(self, key: str = KEY, audience: str = AUDIENCE, auto_sync: bool = False):
        return connect.connect(self.tenant, CLERK, key_text=key, audience_id=audience, auto_sync=auto_sync)

    def customer(self, email: str = "", first: str = "Ann", last: str = "Example", phone: str = "") -> Customer:
        customer = Customer.objects.create(
            tenant=self.tenant, email=email, first_name=first, last_name=last, phone=phone
        )
        customer.refresh_from_db()
        return customer

    def consenting(self, email: str, **fields) -> Customer:
        customer = self.customer(email, **fields)
        self.says_yes(customer)
        return customer

    def says_yes(self, customer: Customer, claimed_at: datetime | None = None) -> None:
        ledger.record(customer, CLERK, granted=True, source="intake", claimed_at=claimed_at)

    def says_no(self, customer: Customer) -> None:
        ledger.record(customer, CLERK, granted=False, source="profile")

    def sync(self, trigger: str = "manual", at: datetime | None = None) -> SyncRun:
        """Carry out one run, as a worker would."""
        with transaction.atomic():
            run, _ = runs.create(self.tenant, CLERK, trigger, past_brake=trigger == "manual")
        asyncio.run(run_sync(run.pk, clock=Clock(at)))
        run.refresh_from_db()
        return run

    def statuses(self) -> dict[str, str]:
        return {row["email_address"]: row["status"] for row in self.emulator.members(AUDIENCE)}

    def member(self, email: str) -> dict:
        return next(row for row in self.emulator.members(AUDIENCE) if row["email_address"] == email)

    def person(self, email: str, event: str, **more) -> None:
        """Let the person behind an address act in Mailchimp."""
        self.emulator.control("member_event", {"list_id": AUDIENCE, "email": email, "event": event, **more})

    def writes(self) -> list[dict]:
        return [row for row in self.emulator.log() if row["method"] in ("PUT", "PATCH", "POST", "DELETE")]

    def log_begins_here(self) -> int:
        return len(self.emulator.log())


@pytest.fixture
def shop(committed, tenant, mailchimp) -> Shop:
    return Shop(tenant, mailchimp)


@pytest.fixture
def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def pytest_terminal_summary(terminalreporter) -> None:
    """Say what the random histories played, and how the first one went that failed."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        told = dict(report.user_properties)
        if "history" in told:
            terminalreporter.write_line(told["history"])
        if "played" in told:
            counts = ", ".join(f"{number} {what}" for what, number in sorted(told["played"].items()))
            terminalreporter.write_line(f"played: {counts}")
