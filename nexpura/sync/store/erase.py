"""A customer erased: whatever names them goes in one transaction, and a receipt without an address stays (B11).

Who holds what meanwhile, in this order: the integration (no run begins or ends), the run under way (none of its chunks
is between reading and writing), whatever takes members in, the shop (no import), the customer. So nobody writes what
they read before the erasure after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Q
from django.db.models.functions import Now

from nexpura.audience import desired, diff
from nexpura.audience.address import address_of
from nexpura.customers import ledger, returning
from nexpura.customers.models import ConsentEvent, Customer, Visit
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import queue
from nexpura.sync.models import (
    AddressStanding,
    AddressToLookAt,
    DirtyAddress,
    Erasure,
    KnownAudience,
    KnownMember,
    LoginLease,
    MemberResult,
    SyncRun,
)
from nexpura.sync.store import standings
from nexpura.sync.store.connected import connected_audience
from nexpura.tenants import audit, erased, vault
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent, Tenant

FIELD = "erasure_errand"
"""What the vault binds an errand to, besides tenant and erasure, until Mailchimp has been told."""
NAMELESS = "(erased)"
CLOCKS_APART = timedelta(minutes=1)
"""How far Mailchimp's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an erasure is about. The repr names nobody."""

    customer: Customer
    addresses: frozenset[str]
    """Every address the records show they have had, whoever holds it now."""
    numbers: frozenset[str]
    shared: Mapping[str, tuple[int, ...]]
    """Those of the addresses that other customers hold, with the ids of these."""
    sending: tuple[MemberResult, ...] = ()
    """Changes of theirs that were on their way to Mailchimp at this moment."""

    def __repr__(self) -> str:
        return f"<customer {self.customer.pk}, to be erased>"

    @property
    def own(self) -> frozenset[str]:
        """The addresses that nobody else in the book holds."""
        return self.addresses - self.shared.keys()


@dataclass(frozen=True, slots=True)
class Errand:
    """What has to be known until Mailchimp has been told, and is kept sealed so long. The repr names nobody."""

    addresses: tuple[str, ...]
    values: tuple[str, ...] = ()
    """Their names and numbers, to find them in a member whose address somebody else in the book holds."""

    def __repr__(self) -> str:
        return f"<errand at {len(self.addresses)} address(es)>"


def erase(tenant: Tenant, actor: Actor, customer_id: int, choice: str) -> Erasure:
    """Erase one customer and queue what is to be done in Mailchimp, in one transaction.

    Raises `Customer.DoesNotExist`, and `OperationalError` if an import or a run holds what is needed for too long.
    """
    with transaction.atomic():
        now = _hold(tenant, customer_id)
        audience = connected_audience(tenant)
        person = person_of(Customer.objects.get(tenant=tenant, pk=customer_id))
        consent = _facts_of_consent(person.customer)
        errand = errand_of(person, targets_of(person, audience))
        erasure = _receipt(person, actor, choice, audience, _why_nothing(choice, audience, errand), consent, now)
        erased.remember(tenant, _marks(person, now), now)
        _forget(person)
        if erasure.state == Erasure.State.PENDING:
            erasure.sealed = _sealed(erasure, errand)
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
    list(SyncRun.objects.select_for_update().filter(tenant=tenant, status__in=SyncRun.ACTIVE))
    erased.hold_still(tenant.pk, erasing=True)
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    Customer.objects.select_for_update().get(tenant=tenant, pk=customer_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone() or (None,)
    assert isinstance(now, datetime)
    return now


# --- who it is about ------------------------------------------------------------------------------


def person_of(customer: Customer) -> Person:
    """Return what the records hold of a customer by which they could be found."""
    told = _told(customer)
    addresses = {customer.address, *(address_of(one["email"]) for one in told if one.get("email"))}
    addresses |= set(_events(customer).values_list("address", flat=True))
    members = _members(customer, addresses)
    addresses |= set(members.values_list("address", flat=True))
    theirs_alone = members.exclude(address__in=_shared(customer, addresses))
    addresses |= set(theirs_alone.values_list("renamed_to", flat=True))
    sending = tuple(_results(customer, addresses).filter(state=MemberResult.State.SENDING))
    addresses |= {address for result in sending for address in (result.address, result.change.get("from_address", ""))}
    addresses.discard("")
    numbers = {customer.external_id, *(one.get("external_id") for one in told)}
    numbers |= set(customer.former_records.values_list("external_id", flat=True))
    return Person(
        customer=customer,
        addresses=frozenset(addresses),
        numbers=frozenset(number for number in numbers if number),
        shared=_shared(customer, addresses),
        sending=sending,
    )


def targets_of(person: Person, audience: KnownAudience | None) -> list[str]:
    """Return the addresses whose member in the audience is this person's: the one they hold first.

    Besides it, the members we made for them or under an address they had, what they renamed themselves to, and what
    is on its way. Other addresses of the past are left alone: one may have been typed wrong, and be a stranger's.
    """
    if audience is None:
        return []
    members = _members(person.customer, person.addresses).filter(audience=audience)
    ours = Q(made_for=person.customer.pk) | Q(added_by_us=True, status__in=diff.MAILABLE)
    targets = set(members.filter(ours).values_list("address", flat=True))
    targets |= person.addresses & set(members.values_list("renamed_to", flat=True))
    targets |= {result.address for result in person.sending}
    targets |= {result.change.get("from_address", "") for result in person.sending}
    current = person.customer.address
    return [address for address in (current, *sorted(targets - {current})) if address]


def errand_of(person: Person, targets: Sequence[str]) -> Errand:
    """Return what has to be known until Mailchimp has been told, and not a word more."""
    if not person.shared.keys() & set(targets):
        return Errand(tuple(targets))
    told = [person.customer.snapshot(), *_told(person.customer)]
    values = {str(one.get(name) or "") for one in told for name in ("first_name", "last_name", "phone", "external_id")}
    values |= {f"{one.get('first_name', '')} {one.get('last_name', '')}".strip() for one in told}
    values |= {desired.us_phone_of(value) for value in values}
    members = _members(person.customer, person.addresses).filter(address__in=list(person.shared))
    rewritten = [pair for fields in members.values_list("rewritten", flat=True) for pair in fields.values()]
    values |= {pair["got"] for pair in rewritten if pair["sent"] in values}
    return Errand(tuple(targets), tuple(sorted(values - {""})))


def _told(customer: Customer) -> list[dict[str, Any]]:
    """Return what the audit trail tells of the customer, and of records merged into theirs, with each change."""
    ids = [customer.pk, *customer.former_records.values_list("former_id", flat=True)]
    lines = AuditEvent.objects.filter(tenant_id=customer.tenant_id, subject_kind="customer", subject_id__in=ids)
    return [told for line in lines.values_list("before", "after") for told in line]


def _events(customer: Customer) -> Any:
    return ConsentEvent.objects.filter(tenant_id=customer.tenant_id, customer_id=customer.pk)


def _members(customer: Customer, addresses: set[str] | frozenset[str]) -> Any:
    of_them = Q(address__in=addresses - {""}) | Q(made_for=customer.pk)
    return KnownMember.objects.filter(of_them, tenant_id=customer.tenant_id)


def _results(customer: Customer, addresses: set[str] | frozenset[str]) -> Any:
    named = sorted(addresses - {""})
    of_them = Q(customer_ids__contains=[customer.pk]) | Q(address__in=named) | Q(change__from_address__in=named)
    return MemberResult.objects.filter(of_them, tenant_id=customer.tenant_id)


def _shared(customer: Customer, addresses: set[str]) -> dict[str, tuple[int, ...]]:
    others = Customer.objects.filter(tenant_id=customer.tenant_id, address__in=addresses).exclude(pk=customer.pk)
    shared: dict[str, tuple[int, ...]] = {}
    for address, pk in others.order_by("id").values_list("address", "id"):
        shared[address] = (*shared.get(address, ()), pk)
    return shared


# --- what stays -----------------------------------------------------------------------------------


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
    contacts = _members(person.customer, person.own).filter(address__in=sorted(person.own)).exclude(contact_id="")
    marks |= {erased.by_contact(contact): now for contact in contacts.values_list("contact_id", flat=True)}
    marks |= {erased.by_address(address): last_no(person.customer, address) for address in person.shared}
    return marks


def last_no(customer: Customer, address: str) -> datetime | None:
    """Return when the customer said no for an address, theirs now or then; None: never, or they took it back."""
    noes = _events(customer).filter(state=ledger.WITHDRAWN)
    if customer.address != address:
        noes = noes.filter(address=address)
    newest: datetime | None = noes.aggregate(newest=Max("effective_at"))["newest"]
    taken_back = newest and _events(customer).filter(state=ledger.GRANTED, effective_at__gt=newest).exists()
    return None if taken_back else newest


# --- what goes ------------------------------------------------------------------------------------


def _forget(person: Person) -> None:
    customer, own, shared = person.customer, sorted(person.own), sorted(person.shared)
    with connection.cursor() as cursor:
        cursor.execute("SELECT nexpura_erase_evidence(%s, %s)", [customer.tenant_id, customer.pk])
    visits = Visit.objects.filter(tenant_id=customer.tenant_id, customer_id=customer.pk)
    visits.filter(kind=Visit.Kind.INTAKE).delete()
    visits.update(customer=None, description=NAMELESS)  # a sale stays in the shop's sums
    _results(customer, person.own).delete()
    members = KnownMember.objects.filter(tenant_id=customer.tenant_id)
    members.filter(address__in=own).delete()
    members.filter(made_for=customer.pk).update(made_for=None)
    members.filter(renamed_to__in=own).update(renamed_to="")
    Customer.objects.filter(tenant_id=customer.tenant_id, pk=customer.pk).delete()
    # What the deletion has just marked is among these; the address of somebody else is looked at again.
    DirtyAddress.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    AddressStanding.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    AddressToLookAt.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    _forget_fields(customer.tenant_id, shared)


def _forget_fields(tenant_id: int, shared: Sequence[str]) -> None:
    """Forget what members at addresses of somebody else are called; the next sync reads and writes it anew."""
    MemberResult.objects.filter(tenant_id=tenant_id, address__in=shared).delete()  # first, as a settling run does
    KnownMember.objects.filter(tenant_id=tenant_id, address__in=shared).update(
        merge_fields={}, rewritten={}, refusal=None
    )
    standings.mark(tenant_id, shared)


# --- until Mailchimp has been told ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of how the member fared, over all tries.

    `outcomes` has a word for each address, `opt_outs` Mailchimp's moment and words in the replies to our unsubscribe.
    """

    outcomes: tuple[str, ...]
    opt_outs: frozenset[tuple[datetime, str]] = frozenset()

    @classmethod
    def of(cls, erasure: Erasure) -> Told:
        """What earlier tries found."""
        moments = {(datetime.fromisoformat(one["changed"]), one["words"]) for one in erasure.opt_outs}
        return cls(tuple(erasure.outcomes), frozenset(moments))

    def as_kept(self) -> tuple[list[str], list[dict[str, str]]]:
        """Return the values of the two columns."""
        kept = [{"changed": changed.isoformat(), "words": words} for changed, words in sorted(self.opt_outs)]
        return [*self.outcomes], kept


def _sealed(erasure: Erasure, errand: Errand) -> bytes:
    return vault.seal(json.dumps(asdict(errand)), tenant_id=erasure.tenant_id, row_id=erasure.pk, field=FIELD)


def open_errand(erasure: Erasure) -> Errand:
    """Open what an erasure that is not done has to know; raises `vault.CannotOpen`."""
    sealed = bytes(erasure.sealed or b"")
    opened = json.loads(vault.unseal(sealed, tenant_id=erasure.tenant_id, row_id=erasure.pk, field=FIELD))
    return Errand(tuple(opened["addresses"]), tuple(opened["values"]))


def seal_anew() -> int:
    """Seal with today's key what waits under an older one; returns how many."""
    resealed = 0
    for erasure in Erasure.objects.filter(sealed__isnull=False):
        if erasure.sealed is None or bytes(erasure.sealed).startswith(vault.of_today()):
            continue
        try:
            sealed = _sealed(erasure, open_errand(erasure))
        except vault.CannotOpen:
            continue  # told by the next try
        # Unless it was done meanwhile.
        resealed += Erasure.objects.filter(pk=erasure.pk, sealed=erasure.sealed).update(sealed=sealed)
    return resealed


def take(erasure_id: int, now: datetime, claim: timedelta) -> Erasure | None:
    """Take an erasure for one try, so that no other begins within `claim`; None: it is not due, or it is done.

    The problem of the last try is returned with it; a try that is killed leaves none.
    """
    with transaction.atomic():
        due = Erasure.objects.select_for_update().filter(state=Erasure.State.PENDING, next_try_at__lte=now)
        erasure = due.filter(pk=erasure_id).first()
        if erasure is None:
            return None
        last = erasure.problem
        erasure.attempts, erasure.next_try_at, erasure.problem = erasure.attempts + 1, now + claim, None
        erasure.save(update_fields=["attempts", "next_try_at", "problem"])
    erasure.problem = last
    return erasure


def in_doubt(erasure: Erasure) -> bool:
    """Tell whether an earlier try may have done what nobody knows of: its reply was lost, or its worker was killed."""
    unknown = erasure.problem is None or bool(erasure.problem.get("in_doubt"))
    return erasure.attempts > 1 and not erasure.outcomes and unknown


def put_off(
    erasure: Erasure,
    *,
    told: Told,
    problem: dict[str, Any] | None,
    next_try_at: datetime | None,
    failed: bool = False,
) -> None:
    """Write down a try that did not end it; queue the next one, if there is to be one."""
    with transaction.atomic():
        held = _still_open(erasure)
        if held is None:
            return
        held.state = Erasure.State.FAILED if failed else Erasure.State.PENDING
        held.outcomes, held.opt_outs = told.as_kept()
        held.problem, held.next_try_at = problem, next_try_at
        held.save(update_fields=["state", "outcomes", "opt_outs", "problem", "next_try_at"])
        if next_try_at and not failed:
            queue.enqueue_erasure(held, at=next_try_at)


def done(erasure: Erasure, actor: Actor, told: Told, now: datetime, shared: Sequence[str] = ()) -> None:
    """End an erasure: what became of the member is kept, the address is not.

    At `shared` addresses, those of others, a sync may have read the old names meanwhile: they are forgotten again.
    """
    with transaction.atomic():
        held = _still_open(erasure)
        if held is None:
            return
        held.state, held.done_at = Erasure.State.DONE, now
        held.outcomes, held.opt_outs = told.as_kept()
        held.sealed, held.problem, held.next_try_at = None, None, None
        held.save(update_fields=["state", "outcomes", "opt_outs", "done_at", "sealed", "problem", "next_try_at"])
        _forget_fields(held.tenant_id, shared)
        audit.record(
            held.tenant,
            actor,
            "customer.erased_in_mailchimp",
            held,
            after={"receipt": held.number, "did": held.outcomes},
        )


def perhaps_ours(audience_pk: int, unsubscribed: Mapping[str, datetime]) -> set[str]:
    """Return those of the addresses that an erasure may have unsubscribed whose tries have had no good reply yet.

    `unsubscribed` tells since when each of them is. For whichever shop of this installation the audience is; somebody
    else who leaves while such an erasure waits is not among them.
    """
    if not unsubscribed:
        return set()
    this = KnownAudience.objects.get(pk=audience_pk)
    tried = Erasure.objects.filter(
        audience__data_centre=this.data_centre,
        audience__audience_id=this.audience_id,
        state=Erasure.State.PENDING,
        choice=Erasure.Choice.UNSUBSCRIBE,
        attempts__gt=0,
        opt_outs=[],
    )
    found: set[str] = set()
    for erasure in tried:
        with suppress(vault.CannotOpen):  # then nobody can tell: rather a no too many than one that is lost
            since = erasure.requested_at - CLOCKS_APART
            asked = open_errand(erasure).addresses
            found |= {one for one in asked if one in unsubscribed and unsubscribed[one] >= since}
    return found


def _still_open(erasure: Erasure) -> Erasure | None:
    return Erasure.objects.select_for_update().filter(pk=erasure.pk, state__in=Erasure.OPEN).first()


def is_over(tenant_id: int, run_id: int | None) -> bool:
    """Tell whether nothing that a run sent can reach Mailchimp any more."""
    if run_id is None:
        return True
    run = SyncRun.objects.filter(tenant_id=tenant_id, pk=run_id).first()
    if run is None:
        return True
    reserved = LoginLease.objects.filter(token=run.token, expires_at__gt=Now()).exists()
    return not run.is_active and not reserved


def wake(tenant_id: int) -> None:
    """Have the open erasures of a tenant tried again at once: there is a key again, or another one."""
    waiting = Erasure.objects.filter(tenant_id=tenant_id, state__in=Erasure.OPEN)
    waiting.update(state=Erasure.State.PENDING, next_try_at=Now())


def queue_due(now: datetime) -> int:
    """Queue the erasures whose time has come and whose job was lost, or never made; returns how many."""
    due = Erasure.objects.filter(state=Erasure.State.PENDING, next_try_at__lte=now).order_by("next_try_at")[:500]
    queued = 0
    for erasure in due:
        with transaction.atomic():
            queued += queue.enqueue_erasure(erasure)
    return queued
