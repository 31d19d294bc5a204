"""Why is this customer, or this address, in the audience or not? By the very rules a sync uses."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from nexpura.audience import diff
from nexpura.audience.address import address_of
from nexpura.audience.consent import Granted, Verdict
from nexpura.audience.desired import Terms
from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Ask, Bucket, Move, NoChange, OptOut, Retag, Undo, Update
from nexpura.audience.reasons import Reason, explanation
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import deciding, terms
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.sync.store import renames
from nexpura.sync.store.connected import audience_of
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
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    audience = audience_of(integration)
    read = audience is not None and audience.full_read_at is not None
    if not address:
        return _told(address, (), None, "Not in the audience", Reason.NO_EMAIL, "", "", "never asked", ())
    one = _decided(tenant, integration, audience, address)
    known, verdict = one.known, one.verdict
    headline, reason, detail = _answer(one, known.status, held_back=_stopped_by_brake(tenant))
    if audience is None:
        headline = "Mailchimp is not connected"
        reason = Reason.NOT_CONNECTED if reason is Reason.NEXT_SYNC else reason
    return _told(
        address,
        one.facts.customer_ids,
        known.status in diff.MAILABLE if read else None,
        headline,
        reason,
        detail,
        known.status.value or "not a member",
        _consent(verdict),
        tuple(
            ConsentEvent.objects.filter(tenant=tenant, customer_id__in=one.facts.customer_ids).order_by(
                "-effective_at", "-id"
            )
        ),
    )


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


def _decided(
    tenant: Tenant, integration: Integration | None, audience: KnownAudience | None, address: str
) -> deciding.Decided:
    """Decide the one address as the next run would; without an audience, as if nobody were in it yet."""
    known_terms = terms.of(audience, integration.config) if audience and integration else Terms()
    proven = audience is None or audience.listing_complete
    decided = deciding.decide(
        tenant.pk,
        audience.pk if audience else 0,
        {address: 0},
        known_terms,
        timezone.now(),
        absence_proven=proven,
        carried_over=renames.foreseen(tenant.pk, audience.pk) if audience else {},
    )
    return decided[0]


def _stopped_by_brake(tenant: Tenant) -> bool:
    """Tell whether the newest sync that is over stopped before its opt-outs (B9)."""
    run = tenant.sync_runs.exclude(status__in=SyncRun.ACTIVE).order_by("-id").first()
    return run is not None and run.status == SyncRun.Status.STOPPED


def _answer(one: deciding.Decided, status: Status, *, held_back: bool) -> tuple[str, Reason, str]:
    match one.decision:
        case Add():
            return "Will be added at the next sync", Reason.NEXT_SYNC, ""
        case Update():
            return "In the audience; changed details go at the next sync", Reason.NEXT_SYNC, ""
        case OptOut() if held_back:
            return "Not unsubscribed yet: a person should look first", Reason.BRAKE, ""
        case OptOut():
            return "Will be unsubscribed at the next sync", Reason.NEXT_SYNC, ""
        case Undo():
            return "Will be subscribed again at the next sync", Reason.NEXT_SYNC, ""
        case Ask():
            return "Will be asked by Mailchimp to confirm at the next sync", Reason.NEXT_SYNC, ""
        case Move():
            return "The member moves to this address at the next sync", Reason.NEXT_SYNC, ""
        case Retag():
            return "In the audience; changed tags go at the next sync", Reason.NEXT_SYNC, ""
        case NoChange(bucket=Bucket.AGREEMENT) if one.retag:
            return "In the audience; changed tags go at the next sync", Reason.NEXT_SYNC, ""
        case NoChange(reason=reason, detail=detail):
            if status is Status.SUBSCRIBED:
                return "In the audience", reason, detail
            return "Not in the audience" if status is not Status.PENDING else "Asked to confirm", reason, detail


def _consent(verdict: Verdict) -> str:
    if isinstance(verdict, Granted):
        return "granted"
    return "withdrawn" if verdict.withdrawal else "never asked"
