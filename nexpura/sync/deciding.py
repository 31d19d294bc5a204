"""From marked addresses to decisions, by the book and the mirror: what a run, a preview and an explanation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from nexpura.audience import diff, moves
from nexpura.audience.consent import Granted, Verdict
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, Former
from nexpura.audience.member import UNKNOWN, KnownMember, Status
from nexpura.audience.moves import Held
from nexpura.audience.plan import Decision, Retag
from nexpura.customers.models import Customer
from nexpura.sync import facts, models

UNCHANGED: Mapping[str, KnownMember] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Decided:
    """One address: what the book holds, the member as known, the verdict, and what has to happen."""

    facts: AddressFacts
    known: KnownMember
    verdict: Verdict
    decision: Decision
    retag: Retag | None


def decide(
    tenant_id: int,
    audience_pk: int,
    marks: Mapping[str, int],
    terms: Terms,
    now: datetime,
    *,
    absence_proven: bool,
    carried_over: Mapping[str, KnownMember] = UNCHANGED,
) -> list[Decided]:
    """Decide each address of `marks` (address to the version of its mark; blank ones are left out).

    Members `carried_over` are taken for what a run makes of them before it decides (`store.renames`).
    """
    held = [
        replace(one, known=carried_over[one.facts.address]) if one.facts.address in carried_over else one
        for one in _held(tenant_id, audience_pk, marks, absence_proven=absence_proven)
    ]
    return [_decided(one, terms, now) for one in _with_moves(tenant_id, audience_pk, held, terms)]


def _decided(one: Held, terms: Terms, now: datetime) -> Decided:
    decision = diff.change(one.verdict, one.facts, one.known, terms, now)
    former = one.facts.moves_from.known if one.facts.moves_from else UNKNOWN
    retag = diff.retag(one.verdict, decision, one.known, former)
    return Decided(one.facts, one.known, one.verdict, decision, retag)


def _held(tenant_id: int, audience_pk: int, marks: Mapping[str, int], *, absence_proven: bool) -> list[Held]:
    loaded = facts.load(tenant_id, marks, absence_proven=absence_proven)
    known = facts.known_members(tenant_id, audience_pk, [one.address for one in loaded])
    return [Held.of(one, known[one.address]) for one in loaded]


def _with_moves(tenant_id: int, audience_pk: int, held: Sequence[Held], terms: Terms) -> list[Held]:
    """Say of each address whether a member of ours is moved to it or away from it (B5)."""
    arriving = _arriving(tenant_id, audience_pk, held, terms)
    leaving = _leaving(tenant_id, audience_pk, held, terms)
    return [
        replace(
            one,
            facts=replace(
                one.facts, moves_from=arriving.get(one.facts.address), moves_away=one.facts.address in leaving
            ),
        )
        if one.facts.address in arriving or one.facts.address in leaving
        else one
        for one in held
    ]  # fmt: skip


def _arriving(tenant_id: int, audience_pk: int, held: Sequence[Held], terms: Terms) -> dict[str, Former]:
    """Return the members to be moved, by their new address."""
    newcomers = [
        one
        for one in held
        if one.known.status is Status.ABSENT and isinstance(one.verdict, Granted)
    ]  # fmt: skip
    customer_ids = {number for one in newcomers for number in one.facts.customer_ids}
    if not customer_ids:
        return {}
    made = models.KnownMember.objects.filter(
        tenant_id=tenant_id,
        audience_id=audience_pk,
        made_for__any_of=customer_ids,
        added_by_us=True,
        status="subscribed",
    )
    addresses = set(made.values_list("address", flat=True))
    if not addresses:
        return {}
    others = _held(tenant_id, audience_pk, _marks(tenant_id, addresses), absence_proven=True)
    found = ((one.facts.address, moves.former_of(one, others, terms)) for one in newcomers)
    return {address: former for address, former in found if former}


def _leaving(tenant_id: int, audience_pk: int, held: Sequence[Held], terms: Terms) -> set[str]:
    """Return the addresses whose member is about to be moved, asked from where its customer is now."""
    made_for = {
        one.known.made_for
        for one in held
        if one.known.made_for and one.known.added_by_us and one.known.status is Status.SUBSCRIBED
        and not isinstance(one.verdict, Granted)
    }  # fmt: skip
    if not made_for:
        return set()
    now_at = Customer.objects.filter(tenant_id=tenant_id, pk__any_of=made_for).exclude(address="")
    proven = models.KnownAudience.objects.values_list("listing_complete", flat=True).get(pk=audience_pk)
    addresses = set(now_at.values_list("address", flat=True))
    arrivals = _held(tenant_id, audience_pk, dict.fromkeys(addresses, 0), absence_proven=proven)
    return {former.address for former in _arriving(tenant_id, audience_pk, arrivals, terms).values()}


def _marks(tenant_id: int, addresses: set[str]) -> dict[str, int]:
    """Return the version of each address's mark, 0 for one that is not marked."""
    marked = models.DirtyAddress.objects.filter(tenant_id=tenant_id, address__any_of=addresses)
    return dict.fromkeys(sorted(addresses), 0) | dict(marked.values_list("address", "version"))
