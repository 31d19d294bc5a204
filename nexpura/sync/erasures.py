"""Erasing a customer, as pages and commands do it, and what they say about it before and after (B11)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone

from nexpura.audience import consent, diff
from nexpura.audience.consent import Granted
from nexpura.audience.facts import AddressFacts
from nexpura.customers.models import ConsentSource, Customer, Visit
from nexpura.integrations import vault
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import connect, facts, forget
from nexpura.sync.models import Erasure, KnownAudience, KnownMember
from nexpura.sync.store import erase as store
from nexpura.sync.store.connected import connected_audience
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

OUTCOMES = {
    forget.UNSUBSCRIBED: "The member was unsubscribed.",
    forget.DELETED: "The member was deleted permanently.",
    forget.ABSENT: "There is no such member in the audience any more.",
    forget.NOT_MAILED: "The member got no mail already, and stays what it is.",
    forget.SHARED: "The member was left alone: somebody else in the book has this address and consents.",
    forget.KEPT: "The member was kept as it is, as wished.",
    "no_address": "There was no e-mail address, so nothing was to be done in Mailchimp.",
    "not_connected": "Mailchimp was not connected, so nothing was done there.",
    "by_hand": "Done by hand in Mailchimp, as an owner said.",
}
"""What became of the member, in a sentence each; the keys are kept in `Erasure.outcomes`."""


class NotNowError(Exception):
    """Somebody else is at work on the book for longer than a page can wait: an import, as a rule."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an erasure would concern, for the page that asks once more."""

    events: int
    intakes: int
    sales: int
    audience: KnownAudience | None
    member_status: str
    """Mailchimp's word as last heard in the connected audience; blank: not a member, or not known."""
    sharing: tuple[int, ...]
    """Other customers who hold the address."""
    member_is_theirs: bool
    """Whether one of them consents there, so that the member stays."""
    left_behind: tuple[str, ...]
    """Audiences that are not connected now, in which the address got mail when we last looked."""
    also_elsewhere: bool
    """Whether another shop of this installation uses the connected audience, and so this member (B13)."""


def outlook(customer: Customer) -> Outlook:
    """Return what erasing this customer would concern, as things stand."""
    audience = connected_audience(customer.tenant)
    members = KnownMember.objects.filter(tenant=customer.tenant, address=customer.address).exclude(address="")
    known = members.filter(audience=audience).first() if audience else None
    elsewhere = members.filter(status__in=diff.MAILABLE).exclude(audience=audience).select_related("audience")
    others = _others(customer)
    visits = Visit.objects.filter(tenant=customer.tenant, customer=customer)
    return Outlook(
        events=customer.consent_events.count(),
        intakes=visits.filter(kind=Visit.Kind.INTAKE).count(),
        sales=visits.filter(kind=Visit.Kind.SALE).count(),
        audience=audience,
        member_status=known.status if known else "",
        sharing=others.customer_ids if others else (),
        member_is_theirs=others is not None and isinstance(consent.decide(others), Granted),
        left_behind=tuple(row.audience.name or row.audience.audience_id for row in elsewhere),
        also_elsewhere=audience is not None and _also_elsewhere(customer.tenant),
    )


def _also_elsewhere(tenant: Tenant) -> bool:
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    return integration is not None and connect.also_elsewhere(integration)


def _others(customer: Customer) -> AddressFacts | None:
    """Return what the book will hold about the address without this customer; None: nothing."""
    held = facts.load(customer.tenant_id, {customer.address: 0}, absence_proven=True) if customer.address else []
    gone = set(customer.consent_events.values_list("pk", flat=True))
    noes = (store.last_no(customer, customer.address), *(one.no_before for one in held))
    without = [
        replace(
            one,
            customers=tuple(other for other in one.customers if other.customer_id != customer.pk),
            withdrawals=tuple(event for event in one.withdrawals if event.id not in gone),
            no_before=max((no for no in noes if no), default=None),
        )
        for one in held
    ]
    return next((one for one in without if one.customers), None)


def erase(tenant: Tenant, actor: Actor, customer_id: int, choice: str) -> Erasure:
    """Erase a customer of the tenant for good; what is to be done in Mailchimp is queued with it.

    Raises `Customer.DoesNotExist`, and `NotNowError` while an import goes on.
    """
    try:
        return store.erase(tenant, actor, customer_id, choice)
    except OperationalError:
        raise NotNowError from None


def open_ones(tenant: Tenant) -> QuerySet[Erasure]:
    """Return the erasures of which Mailchimp has not been told yet, oldest first."""
    return Erasure.objects.filter(tenant=tenant, state__in=Erasure.OPEN).order_by("id")


def told(erasure: Erasure) -> list[str]:
    """Return what became of the member, a sentence for each thing that did."""
    return [OUTCOMES[word] for word in dict.fromkeys(erasure.outcomes)]


def facts_of_consent(erasure: Erasure) -> list[dict[str, Any]]:
    """Return what the receipt tells of the ledger, for people."""
    return [
        fact | {"at": datetime.fromisoformat(fact["at"]), "source": ConsentSource(fact["source"]).label}
        for fact in erasure.consent
    ]


def try_again(erasure: Erasure, now: datetime | None = None) -> None:
    """Make a try now, whenever the next one was due."""
    now = now or timezone.now()
    waiting = Erasure.objects.filter(pk=erasure.pk, state__in=Erasure.OPEN)
    if waiting.update(state=Erasure.State.PENDING, next_try_at=now):
        forget.carry_out(erasure.pk, now)


def addresses_to_do(erasure: Erasure) -> list[str]:
    """Return the addresses of an open erasure, for an owner who does it in Mailchimp by hand; none if unreadable."""
    try:
        return list(store.open_errand(erasure).addresses) if erasure.is_open else []
    except vault.CannotOpen:
        return []


def settle_by_hand(erasure: Erasure, actor: Actor) -> None:
    """End an open erasure because an owner says it is done in Mailchimp; the sealed address goes."""
    did = tuple(word for word in erasure.outcomes if word in forget.ACTS)
    told = replace(store.Told.of(erasure), outcomes=(*did, "by_hand"))
    store.done(erasure, actor, told, timezone.now())
