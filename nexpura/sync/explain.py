"""Why is this customer, or this address, in the audience or not? By the very rules a sync uses."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from nexpura.audience import consent, diff
from nexpura.audience.address import address_of
from nexpura.audience.consent import Granted, Verdict
from nexpura.audience.desired import Terms
from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Decision, NoChange, OptOut, Undo, Update
from nexpura.audience.reasons import Reason, explanation
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import facts
from nexpura.sync.models import KnownAudience
from nexpura.tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `in_audience` is None while no audience has been read; `member_status` is Mailchimp's word."""

    address: str
    customer_ids: tuple[int, ...]
    in_audience: bool | None
    headline: str
    reason: str
    sentence: str
    remedy: str
    detail: str
    member_status: str
    consent: str
    events: tuple[ConsentEvent, ...]


def explain(tenant: Tenant, about: Customer | str) -> Explanation:
    """Explain one customer, or one address as somebody typed it."""
    address = about.address if isinstance(about, Customer) else address_of(about)
    audience = _audience(tenant)
    read = audience is not None and audience.full_read_at is not None
    terms = Terms(frozenset(audience.merge_tags), audience.double_optin) if audience and read else Terms()
    loaded = facts.load(tenant.pk, {address: 0}, absence_proven=True)
    if not loaded:
        return _told(address, (), None, "Not in the audience", Reason.NO_EMAIL, "", "", "never asked", ())
    one = loaded[0]
    known = facts.known_members(tenant.pk, audience.pk if audience else 0, [address])[address]
    verdict = consent.decide(one)
    decision = diff.change(verdict, one, known, terms, timezone.now())
    headline, reason, detail = _answer(decision, known.status)
    if audience is None:
        headline = "Mailchimp is not connected"
    return _told(
        address,
        one.customer_ids,
        known.status in diff.MAILABLE if read else None,
        headline,
        reason,
        detail,
        known.status.value or "not a member",
        _consent(verdict),
        tuple(
            ConsentEvent.objects.filter(tenant=tenant, customer_id__in=one.customer_ids).order_by(
                "-effective_at", "-id"
            )
        ),
    )


def _events(tenant: Tenant, customer_ids: tuple[int, ...]) -> tuple[ConsentEvent, ...]:
    events = ConsentEvent.objects.filter(tenant=tenant, customer_id__in=customer_ids)
    return tuple(events.order_by("-effective_at", "-id"))


def _told(
    address: str,
    customer_ids: tuple[int, ...],
    in_audience: bool | None,
    headline: str,
    reason: Reason,
    detail: str,
    member_status: str,
    told_consent: str,
    events: tuple[ConsentEvent, ...],
) -> Explanation:
    said = explanation(reason)
    return Explanation(
        address=address,
        customer_ids=customer_ids,
        in_audience=in_audience,
        headline=headline,
        reason=reason.value,
        sentence=said.sentence,
        remedy=said.remedy,
        detail=detail,
        member_status=member_status,
        consent=told_consent,
        events=events,
    )


def _answer(decision: Decision, status: Status) -> tuple[str, Reason, str]:
    match decision:
        case Add():
            return "Will be added at the next sync", Reason.NEXT_SYNC, ""
        case Update():
            return "In the audience; changed details go at the next sync", Reason.NEXT_SYNC, ""
        case OptOut():
            return "Will be unsubscribed at the next sync", Reason.NEXT_SYNC, ""
        case Undo():
            return "Will be subscribed again at the next sync", Reason.NEXT_SYNC, ""
        case NoChange(reason=reason, detail=detail):
            if status is Status.SUBSCRIBED:
                return "In the audience", reason, detail
            return "Not in the audience" if status is not Status.PENDING else "Asked to confirm", reason, detail


def _consent(verdict: Verdict) -> str:
    if isinstance(verdict, Granted):
        return "granted"
    return "withdrawn" if verdict.withdrawal else "never asked"


def _audience(tenant: Tenant) -> KnownAudience | None:
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    if integration is None or not integration.is_connected:
        return None
    return KnownAudience.objects.filter(
        tenant=tenant,
        data_centre=integration.config["data_centre"],
        audience_id=integration.config["audience_id"],
    ).first()
