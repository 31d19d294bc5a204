"""Members whom the mirror holds and a complete listing did not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from nexpura.audience.member import Status
from nexpura.mailchimp.member import subscriber_hash
from nexpura.sync import facts, outcome
from nexpura.sync.distinct import Distinct
from nexpura.sync.drift import Kind
from nexpura.sync.models import AddressStanding, DirtyAddress, KnownMember
from nexpura.sync.store import drift, mirror
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.learn import mark
from nexpura.sync.store.records import fence

CHUNK = 5_000
"""Members of the mirror that are compared with the listing in one go."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Addresses the listing did not show, up to the address `last`: those the book has to do with, and the others."""

    last: str
    of_the_book: tuple[str, ...]
    others: tuple[str, ...]


def missing(run: Begun, shown: Sequence[Distinct], before: datetime, after: str) -> Missing | None:
    """Compare the next few thousand members after the address `after` with the listings; None at the end.

    Only members that last changed `before` the reading began: of the others nobody can say that they had their place
    in the listing all the time.
    """
    known = KnownMember.objects.filter(tenant_id=run.tenant_id, audience_id=run.audience_pk, address__gt=after)
    present = known.exclude(status="").filter(last_changed__lt=before).order_by("address")
    addresses = list(present.values_list("address", flat=True)[:CHUNK])
    if not addresses:
        return None
    hashes = {address: subscriber_hash(address) for address in addresses}
    absent = [address for address, one in hashes.items() if not any(one in listing for listing in shown)]
    ours = _of_the_book(run.tenant_id, absent)
    return Missing(
        addresses[-1],
        tuple(address for address in absent if address in ours),
        tuple(address for address in absent if address not in ours),
    )


def _of_the_book(tenant_id: int, addresses: Sequence[str]) -> set[str]:
    if not addresses:
        return set()
    standing = AddressStanding.objects.filter(tenant_id=tenant_id, address__any_of=addresses)
    marked = DirtyAddress.objects.filter(tenant_id=tenant_id, address__any_of=addresses)
    return {*standing.values_list("address", flat=True), *marked.values_list("address", flat=True)}


def gone(run: Begun, addresses: Sequence[str], before: datetime) -> None:
    """Know these for absent, unless something newer became known of them meanwhile."""
    if not addresses:
        return
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        drift.held(run)
        rows = KnownMember.objects.filter(tenant_id=run.tenant_id, audience_id=run.audience_pk)
        rows = rows.filter(address__any_of=addresses, last_changed__lt=before).exclude(status="").order_by("address")
        held = list(rows.select_for_update(no_key=True).values_list("address", flat=True))
        known = facts.known_members(run.tenant_id, run.audience_pk, held)
        left = {address: member for address, member in known.items() if member.status is not Status.ABSENT}
        if not left:
            return
        mirror.put(run.tenant_id, run.audience_pk, {address: outcome.gone(member) for address, member in left.items()})
        mark(run.tenant_id, list(left))
        drift.note(run, {Kind.GONE: list(left)})
