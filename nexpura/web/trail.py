"""The audit trail in words: what was done, and to what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexpura.tenants.models import AuditEvent

ACTIONS = {
    "tenant.created": "Shop set up",
    "user.created": "User added",
    "user.activated": "User let in again",
    "user.deactivated": "User shut out",
    "user.password_reset": "Password reset",
    "wording.changed": "Consent wording changed",
    "customers.imported": "Customers imported",
    "customer.created": "Customer added",
    "customer.changed": "Customer changed",
    "customer.merged": "Another record merged into this one",
    "customer.merged_away": "Merged into another record",
    "customer.address_taken_over": "New address taken over from Mailchimp",
    "customer.address_kept": "Old address kept",
    "customer.erased": "Customer erased",
    "customer.erased_in_mailchimp": "Erasure carried out in Mailchimp",
    "consent.granted": "Marketing consent given",
    "consent.withdrawn": "Marketing consent withdrawn",
    "visit.intake": "Intake",
    "visit.sale": "Sale",
    "mailchimp.connected": "Mailchimp connected",
    "mailchimp.disconnected": "Mailchimp disconnected",
    "mailchimp.auto_sync": "Auto-sync switched",
    "mailchimp.key_replaced": "API key replaced",
    "mailchimp.choices": "What goes to Mailchimp changed",
    "mailchimp.webhook_registered": "Mailchimp asked to tell us at once",
    "mailchimp.webhook_removed": "Mailchimp no longer tells us at once",
    "mailchimp.sync_started": "Sync started",
    "mailchimp.synced": "Synced",
    "mailchimp.sync_failed": "Sync failed",
    "mailchimp.sync_stopped": "Sync stopped: a person should look first",
    "mailchimp.sync_cancelled": "Sync cancelled",
}
SUBJECTS = {"tenantuser": "user", "consentwording": "wording", "syncrun": "sync"}
WITHOUT_NUMBER = ("tenant", "integration", "webhook")
"""A shop has one of each: their number in the database tells nobody anything."""


def action(event: AuditEvent) -> str:
    """Return what was done, in words; the code itself for one that has none yet."""
    return ACTIONS.get(event.action, event.action)


def subject(event: AuditEvent) -> str:
    """Return to what it was done, as plain text."""
    if event.subject_id is None or event.subject_kind in WITHOUT_NUMBER:
        return ""
    return f"{SUBJECTS.get(event.subject_kind, event.subject_kind)} {event.subject_id}"


def values(held: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was held before or after, each value as people write it."""
    return [(name.replace("_", " "), _written(value)) for name, value in held.items()]


def _written(value: object) -> str:
    match value:
        case None | "" | [] | {}:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_written(one) for one in value)
        case dict():
            return ", ".join(f"{name}: {_written(one)}" for name, one in value.items())
        case _:
            return str(value)
