"""The consent ledger: dated events, append only, from which `marketing_consent` follows (B1, B1a).

    by a person here:   record               a tick at intake or at the till, the switch on the customer's page
    from outside:       record_from_outside  a row of an import or a call of the API, weighed against what is held

What counts is the newest event by its effective time: the earlier of the time claimed for it and the time it was
recorded. At a tie the withdrawal wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from nexpura.customers import former, returning
from nexpura.customers.models import ConsentEvent, ConsentSource, ConsentState, ConsentWording, Customer
from nexpura.tenants import audit, erased
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

GRANTED, WITHDRAWN = ConsentState.GRANTED, ConsentState.WITHDRAWN

NO_DATE = "a grant without a date of its own does not undo a withdrawal"
REPEATED = "this grant is held already, and consent was withdrawn since"
OLDER = "the grant is not newer than the withdrawal"
NOBODY: Mapping[int, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came from outside is in the ledger now."""

    event: ConsentEvent


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What came from outside says nothing new."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What came from outside would undo a withdrawal it may not undo; nothing was recorded."""

    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held about one customer, as far as it weighs against a claim from outside."""

    state: str
    granted_at: datetime | None = None
    """The newest grant of the customer."""
    withdrawn_at: datetime | None = None
    """The newest withdrawal of the customer, or of anybody for the same address (B4)."""
    dates: frozenset[datetime] = frozenset()
    """Every date at which the customer is known to have granted."""


def weigh(
    standing: Standing, *, granted: bool, claimed_at: datetime | None, now: datetime
) -> Unchanged | Conflict | None:
    """Tell what becomes of a claim from outside; None: it belongs in the ledger (B1a)."""
    if not granted:
        return _weigh_withdrawal(standing, claimed_at)
    if claimed_at is None or claimed_at in standing.dates:
        if standing.state == GRANTED:
            return Unchanged()
        if standing.withdrawn_at:
            return Conflict(NO_DATE if claimed_at is None else REPEATED)
        return None
    effective_at = min(claimed_at, now)
    if standing.withdrawn_at and effective_at <= standing.withdrawn_at:
        return Unchanged() if standing.state == GRANTED else Conflict(OLDER)
    if standing.granted_at and effective_at <= standing.granted_at:
        return Unchanged()
    return None


def _weigh_withdrawal(standing: Standing, claimed_at: datetime | None) -> Unchanged | None:
    """A "no" from outside withdraws a grant that is not newer than itself; of anybody else it says nothing."""
    if standing.state != GRANTED:
        return Unchanged()
    newer_grant = claimed_at and standing.granted_at and standing.granted_at > claimed_at
    return Unchanged() if newer_grant else None


@transaction.atomic
def record(
    customer: Customer,
    actor: Actor,
    *,
    granted: bool,
    source: str,
    claimed_at: datetime | None = None,
    ip: str | None = None,
    again: bool = False,
) -> ConsentEvent | None:
    """Record what a customer said to somebody here, with the words shown and the address held.

    None, and no event, when it changes nothing: they granted before, or withdrew before, and nobody who shares
    the address has said otherwise since. With `again` a yes is recorded even so: its date is newer, and counts
    against a no that the book does not hold, such as leaving in Mailchimp (B2). A withdrawal needs no earlier
    grant. If their record was merged into another meanwhile, it is recorded there: a "stop writing to me" is
    never lost.
    """
    kept = former.hold(customer.tenant_id, customer.pk)
    if not again and not _changes_something(kept, granted=granted, claimed_at=claimed_at):
        return None
    wording = current_wording(kept.tenant)
    event = _append(
        kept,
        actor,
        ConsentEvent(
            state=GRANTED if granted else WITHDRAWN,
            source=source,
            claimed_at=claimed_at,
            ip=ip,
            wording=wording,
            wording_text=wording.text,
        ),
    )
    _told(customer, kept)
    return event


@transaction.atomic
def record_from_outside(
    customer: Customer,
    actor: Actor,
    *,
    granted: bool,
    source: str,
    claimed_at: datetime | None = None,
    wording_text: str = "",
    ip: str | None = None,
) -> Recorded | Unchanged | Conflict:
    """Record what an import or another program says the customer said, if it may count (B1a).

    A grant without a date of its own, or with a date that is held already, never beats a withdrawal. The words
    are those the sender names: we did not show ours.
    """
    kept = former.hold(customer.tenant_id, customer.pk)
    refused = weigh(standing_of(kept), granted=granted, claimed_at=claimed_at, now=timezone.now())
    if refused:
        return refused
    event = _append(
        kept,
        actor,
        ConsentEvent(
            state=GRANTED if granted else WITHDRAWN,
            source=source,
            claimed_at=claimed_at,
            ip=ip,
            wording_text=wording_text,
        ),
    )
    _told(customer, kept)
    return Recorded(event)


@transaction.atomic
def hear_noes(
    tenant_id: int, noes: Sequence[tuple[str, datetime]], of_customers: Mapping[int, datetime] = NOBODY
) -> list[ConsentEvent]:
    """Record that the people at these addresses said no in Mailchimp, each at the moment named; returns what is new.

    Every customer with the address withdraws, unless they granted after that moment or have withdrawn since (B3).
    So do the customers (by id) who said it at an address they had before.
    """
    by_address = dict(noes)
    # As an import does: it may hold these customers for long, and would meet us at the marks.
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
    customers = list(
        Customer.objects.filter(Q(address__in=list(by_address)) | Q(pk__in=list(of_customers)), tenant_id=tenant_id)
        .select_for_update(no_key=True)
        .order_by("id")
    )
    left_at = {one.pk: by_address.get(one.address) or of_customers[one.pk] for one in customers}
    events = ConsentEvent.objects.filter(tenant_id=tenant_id, customer__in=customers).values_list("customer_id")
    grants = dict(events.filter(state=GRANTED).annotate(newest=Max("effective_at")))
    withdrawals = dict(events.filter(state=WITHDRAWN).annotate(newest=Max("effective_at")))
    actor = Actor.system("mailchimp")
    heard = []
    leaving = [
        customer
        for customer in customers
        if not (customer.pk in grants and grants[customer.pk] > left_at[customer.pk])
        and not (customer.pk in withdrawals and withdrawals[customer.pk] >= left_at[customer.pk].replace(microsecond=0))
    ]
    for customer in leaving:
        event = ConsentEvent(state=WITHDRAWN, source=ConsentSource.MAILCHIMP, claimed_at=left_at[customer.pk])
        event.tenant, customer.tenant = tenant, tenant
        _append(customer, actor, event)
        heard.append(event)
    return heard


def history(customer: Customer) -> QuerySet[ConsentEvent]:
    """Return the customer's events, the one that counts first."""
    events = ConsentEvent.objects.filter(tenant_id=customer.tenant_id, customer_id=customer.pk)
    return events.select_related("wording").order_by("-effective_at", "-state", "-id")


def current_wording(tenant: Tenant) -> ConsentWording:
    """Return the words shown beside the tick box today; a tenant who wrote none gets a first version."""
    newest = ConsentWording.objects.filter(tenant=tenant).order_by("-version").first()
    if newest:
        return newest
    text = (
        f"Yes, {tenant.name} may send me news and offers by e-mail. "
        "I can take this back at any time, in the shop or by the link in every e-mail."
    )
    return ConsentWording.objects.get_or_create(tenant=tenant, version=1, defaults={"text": text})[0]


@transaction.atomic
def new_wording(tenant: Tenant, actor: Actor, text: str) -> ConsentWording:
    """Show other words from now on. Earlier versions stay, for the events that were given under them."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    before = current_wording(tenant)
    text = text.strip()
    if text == before.text:
        return before
    wording = ConsentWording.objects.create(tenant=tenant, version=before.version + 1, text=text)
    audit.record(
        tenant,
        actor,
        "wording.changed",
        wording,
        before={"version": before.version, "text": before.text},
        after={"version": wording.version, "text": text},
    )
    return wording


def standing_of(customer: Customer) -> Standing:
    """Return what is held about one customer."""
    own = _times([customer.pk], customer.tenant_id)
    granted = [time for state, *times in own if state == GRANTED for time in times if time]
    return Standing(
        state=customer.consent_state,
        granted_at=max((effective for state, effective, _ in own if state == GRANTED), default=None),
        withdrawn_at=max(_withdrawals(customer), default=None),
        dates=frozenset(granted),
    )


def _changes_something(customer: Customer, *, granted: bool, claimed_at: datetime | None) -> bool:
    """Tell whether an event moves the customer's state, or the verdict on an address that others share."""
    state = GRANTED if granted else WITHDRAWN
    if customer.consent_state != state or not granted:  # a no that is said again may have to be carried out again
        return claimed_at is None or not _is_held(customer, state, claimed_at)
    given_here = ConsentEvent.objects.filter(
        tenant_id=customer.tenant_id, customer_id__in=_holders(customer), address=customer.address, state=GRANTED
    ).aggregate(newest=Max("effective_at"))["newest"]
    withdrawal = max(_withdrawals(customer), default=None)
    return withdrawal is not None and (given_here is None or withdrawal >= given_here)


def _is_held(customer: Customer, state: str, claimed_at: datetime) -> bool:
    return history(customer).filter(state=state, claimed_at=claimed_at).exists()


def _holders(customer: Customer) -> list[int]:
    """Return the ids of all customers who share this customer's address, and their own."""
    if not customer.address:
        return [customer.pk]
    sharing = Customer.objects.filter(tenant_id=customer.tenant_id, address=customer.address)
    return [customer.pk, *sharing.exclude(pk=customer.pk).values_list("pk", flat=True)]


def _times(customer_ids: Iterable[int], tenant_id: int) -> list[tuple[str, datetime, datetime | None]]:
    events = ConsentEvent.objects.filter(tenant_id=tenant_id, customer_id__in=list(customer_ids))
    return list(events.values_list("state", "effective_at", "claimed_at"))


def _withdrawals(customer: Customer) -> list[datetime]:
    """Return when consent was withdrawn by a holder of the address, or for the address itself.

    Where somebody was erased, a yes from before counts as if it had been taken back then (B11).
    """
    known = returning.marks_of(customer)
    held = returning.noes(erased.among(customer.tenant_id, known), known)
    held += [effective for state, effective, _ in _times(_holders(customer), customer.tenant_id) if state == WITHDRAWN]
    if not customer.address:
        return held
    of_address = ConsentEvent.objects.filter(
        tenant_id=customer.tenant_id, address=customer.address, state=WITHDRAWN
    ).aggregate(newest=Max("effective_at"))["newest"]
    return [*held, of_address] if of_address else held


def _told(customer: Customer, kept: Customer) -> None:
    """Let the caller's customer show the consent that the book holds now, under whichever record."""
    kept.refresh_from_db(fields=["consent_state", "marketing_consent"])
    customer.consent_state, customer.marketing_consent = kept.consent_state, kept.marketing_consent


def _append(customer: Customer, actor: Actor, event: ConsentEvent) -> ConsentEvent:
    """Put an event in the ledger for a locked customer, and its line in the audit trail."""
    before = customer.consent_state
    event.tenant_id, event.customer_id, event.address = customer.tenant_id, customer.pk, customer.address
    event.actor_kind, event.actor_id, event.actor_name = actor.kind, actor.id, actor.name
    event.save(force_insert=True)
    customer.refresh_from_db(fields=["consent_state"])
    audit.record(
        customer.tenant,
        actor,
        f"consent.{event.state}",
        customer,
        before={"consent_state": before},
        after={
            "consent_state": customer.consent_state,
            "source": event.source,
            "claimed_at": event.claimed_at.isoformat() if event.claimed_at else None,
            "wording": event.wording.version if event.wording else None,
        },
    )
    return event
