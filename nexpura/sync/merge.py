"""Merge two records of one person: what the sync knows follows, and the same rules say beforehand what comes of it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from django.db import OperationalError, connection, transaction

from nexpura.audience import consent
from nexpura.audience.address import address_of
from nexpura.audience.consent import Granted
from nexpura.audience.facts import ConsentFact, CustomerFacts
from nexpura.customers import merging
from nexpura.customers.merging import Merged, Refused
from nexpura.customers.models import Customer
from nexpura.sync import facts
from nexpura.sync.models import KnownMember, SyncRun
from nexpura.tenants import erased
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

PATIENCE = "3s"
"""How long somebody at a page waits for an import, or for a step of a sync."""
BUSY = "Customers are being imported or synced at this moment. Nothing was merged: try again in a minute."


@dataclass(frozen=True, slots=True)
class ConsentAfter:
    """What the rules will say of the merged record at `address`, and the event that says it.

    `state` is granted, withdrawn or never; `recorded_on` is whose event it is, None for somebody who is neither
    of the two but shares the address.
    """

    address: str
    state: str
    at: datetime | None = None
    recorded_on: int | None = None


def merge(
    tenant: Tenant,
    actor: Actor,
    *,
    kept_id: int,
    other_id: int,
    from_other: Set[str] = frozenset(),
    seen_as: str | None = None,
) -> Merged | Refused:
    """Make one record of two (`customers.merging.merge`), and let the members made for the other be the kept one's.

    An active run is held for the length of it, so that nothing that is being settled names the record that goes.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            erased.hold_still(tenant.pk, alone=True)
            list(tenant.sync_runs.filter(status__in=SyncRun.ACTIVE).select_for_update().order_by("id"))
            _hand_over(tenant, kept_id, other_id)
            answer = merging.merge(
                tenant, actor, kept_id=kept_id, other_id=other_id, from_other=from_other, seen_as=seen_as
            )
            if isinstance(answer, Refused):
                transaction.set_rollback(True)
            return answer
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            return Refused(BUSY)
        raise


def _hand_over(tenant: Tenant, kept_id: int, other_id: int) -> None:
    audiences = list(tenant.known_audiences.values_list("pk", flat=True))
    made = KnownMember.objects.filter(tenant=tenant, audience_id__in=audiences, made_for=other_id)
    made.update(made_for=kept_id)


def consent_after(kept: Customer, other: Customer, email: str) -> ConsentAfter:
    """Return what the rules would say if both were one customer with this e-mail address."""
    address = address_of(email)
    events = facts.events_of({kept.pk, other.pk}, kept.tenant_id)
    owner = {event.id: pk for pk, own in events.items() for event in own}
    both = tuple(event for own in events.values() for event in own)
    if not address:
        return _of_newest(both, owner)
    found = facts.load(kept.tenant_id, {address: 0}, absence_proven=True)[0]
    others = [one for one in found.customers if one.customer_id not in (kept.pk, other.pk)]
    verdict = consent.decide(replace(found, customers=(*others, CustomerFacts(kept.pk, events=both))))
    if isinstance(verdict, Granted):
        return ConsentAfter(address, "granted", verdict.at, owner.get(verdict.event.id))
    if verdict.withdrawal:
        return ConsentAfter(address, "withdrawn", verdict.withdrawal.at, owner.get(verdict.withdrawal.id))
    return ConsentAfter(address, "never")


def _of_newest(events: tuple[ConsentFact, ...], owner: dict[int, int]) -> ConsentAfter:
    newest = max(events, key=lambda event: (event.at, not event.granted, event.id), default=None)
    if newest is None:
        return ConsentAfter("", "never")
    return ConsentAfter("", "granted" if newest.granted else "withdrawn", newest.at, owner[newest.id])
