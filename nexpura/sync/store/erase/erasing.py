"""One customer erased, in one transaction: what names them goes, a receipt stays, and what is to be done is queued.

Who holds what meanwhile, in this order: the integration (no run begins or ends), whatever else writes members (no chunk
of the run under way is between reading and writing), that run, the shop (no import), the customer. So nobody writes
what they read before the erasure after it. It is the order of everybody (`sync/store/__init__.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from nexpura.customers import ledger, returning
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import queue
from nexpura.sync.models import Erasure, KnownAudience, SyncRun
from nexpura.sync.store.connected import connected_audience
from nexpura.sync.store.erase.forgotten import forget, leave_to_the_merchant
from nexpura.sync.store.erase.told import seal
from nexpura.sync.store.erase.whom import Errand, Person, errand_of, last_no, members_of, person_of, targets_of
from nexpura.tenants import audit, erased
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant


def erase(tenant: Tenant, actor: Actor, customer_id: int, choice: str) -> Erasure:
    """Erase one customer and queue what is to be done in Mailchimp, in one transaction.

    Raises `Customer.DoesNotExist`, and `OperationalError` if an import or a run holds what is needed for too long.
    """
    with transaction.atomic():
        now = _hold(tenant, customer_id)
        audience = connected_audience(tenant)
        person = person_of(Customer.objects.get(tenant=tenant, pk=customer_id))
        evidence = _facts_of_consent(person.customer)
        errand = errand_of(person, targets_of(person, audience))
        erasure = _receipt(person, actor, choice, audience, _why_nothing(choice, audience, errand), evidence, now)
        erased.remember(tenant, _marks(person, now), now)
        forget(person)
        if choice == Erasure.Choice.KEEP:
            leave_to_the_merchant(tenant.pk, person.shared)
        if erasure.state == Erasure.State.PENDING:
            erasure.sealed = seal(erasure, errand)
            erasure.save(update_fields=["sealed"])
            queue.enqueue_erasure(erasure)
        told = {"receipt": erasure.number, "customer_id": customer_id, "member": choice}
        audit.record(tenant, actor, "customer.erased", erasure, after=told)
    return erasure


def _hold(tenant: Tenant, customer_id: int) -> datetime:
    """Take what keeps others away until the transaction ends; returns the database's time from then on."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
    list(Integration.objects.select_for_update().filter(tenant=tenant, kind=MAILCHIMP))
    erased.hold_still(tenant.pk, alone=True)
    list(SyncRun.objects.select_for_update().filter(tenant=tenant, status__in=SyncRun.ACTIVE))
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    Customer.objects.select_for_update().get(tenant=tenant, pk=customer_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone() or (None,)
    assert isinstance(now, datetime)
    return now


def _receipt(
    person: Person,
    actor: Actor,
    choice: str,
    audience: KnownAudience | None,
    nothing: str,
    consent: list[dict[str, Any]],
    now: datetime,
) -> Erasure:
    tenant_id = person.customer.tenant_id
    newest = Erasure.objects.filter(tenant_id=tenant_id).aggregate(newest=Max("number"))["newest"] or 0
    return Erasure.objects.create(
        tenant_id=tenant_id,
        number=newest + 1,
        customer_id=person.customer.pk,
        choice=choice,
        state=Erasure.State.NOT_NEEDED if nothing else Erasure.State.PENDING,
        outcomes=[nothing] if nothing else [],
        requested_at=now,
        requested_by=actor.name,
        done_at=now if nothing else None,
        audience=audience,
        next_try_at=None if nothing else now,
        after_run=max((result.run_id for result in person.sending), default=None),
        consent=consent,
    )


def _facts_of_consent(customer: Customer) -> list[dict[str, Any]]:
    """Return the dated facts of the ledger without a word that could name anybody."""
    return [
        {
            "state": event.state,
            "at": event.effective_at.isoformat(),
            "recorded_at": event.recorded_at.isoformat(),
            "source": event.source,
            "wording": event.wording.version if event.wording else None,
        }
        for event in ledger.history(customer).order_by("effective_at", "id")
    ]


def _why_nothing(choice: str, audience: KnownAudience | None, errand: Errand) -> str:
    """Return the word for why Mailchimp has not to be told; blank: it has to be.

    A member that stays has still to be looked at where it is to be somebody else's: it bears the wrong names.
    """
    if choice == Erasure.Choice.KEEP and not errand.values:
        return "kept"
    if audience is None:
        return "not_connected"
    return "" if errand.addresses else "no_address"


def _marks(person: Person, now: datetime) -> dict[str, datetime | None]:
    """Return what the person is known again by, each with the moment up to which no yes counts any more.

    At an address that somebody else holds, that is their own last no, which shut the gate for both (B4); if there is
    none, the other's yes stays what it is.
    """
    marks: dict[str, datetime | None] = dict.fromkeys(returning.marks_of(person.customer), now)
    marks |= {erased.by_number(number): now for number in person.numbers}
    marks |= {erased.by_address(address): now for address in person.own}
    contacts = members_of(person.customer, person.own).filter(address__in=sorted(person.own)).exclude(contact_id="")
    marks |= {erased.by_contact(contact): now for contact in contacts.values_list("contact_id", flat=True)}
    marks |= {erased.by_address(address): last_no(person.customer, address) for address in person.shared}
    return marks
