"""Members whose person gave themselves another address in Mailchimp: what was ours there, carried over or let go."""

from __future__ import annotations

from django.db.models import QuerySet

from nexpura.audience.member import KnownMember as Known
from nexpura.customers.models import Customer
from nexpura.sync.models import KnownMember
from nexpura.sync.store.records import known_from_row

OURS = ["added_by_us", "made_for", "our_tags", "asked_for", "carried_out", "renamed_to", "contact_id"]


def unanswered(tenant_id: int, audience_pk: int) -> QuerySet[KnownMember]:
    """Return the members who left an address for another one, as long as the shop has not said what to do."""
    return KnownMember.objects.filter(tenant_id=tenant_id, audience_id=audience_pk).exclude(renamed_to="")


def follow_the_book(tenant_id: int, audience_pk: int) -> None:
    """Carry over what was ours where the customer whose member it was has the new address now, however they got it."""
    if arrived := _arrived(tenant_id, audience_pk):
        rows = unanswered(tenant_id, audience_pk).filter(pk__in=list(arrived)).order_by("address")
        for row in rows.select_for_update():
            carry_over(row, arrived[row.pk])


def foreseen(tenant_id: int, audience_pk: int) -> dict[str, Known]:
    """Return the members, by address, that would be others once `follow_the_book` was done, as they would be."""
    arrived = _arrived(tenant_id, audience_pk)
    changed: dict[str, Known] = {}
    for row in unanswered(tenant_id, audience_pk).filter(pk__in=list(arrived)).order_by("address"):
        for member in _carried(row, _at_new(row).first(), arrived[row.pk]):
            changed[member.address] = known_from_row(member)
    return changed


def _arrived(tenant_id: int, audience_pk: int) -> dict[int, int]:
    """Return the members of ours that left for where their customer is now, each with that customer."""
    ours = unanswered(tenant_id, audience_pk).filter(added_by_us=True, made_for__isnull=False)
    asked = list(ours.values_list("pk", "made_for", "renamed_to"))
    holders = Customer.objects.filter(tenant_id=tenant_id, pk__in={pk for _, pk, _ in asked})
    now_at = dict(holders.values_list("pk", "address")) if asked else {}
    return {pk: customer for pk, customer, address in asked if customer and now_at.get(customer) == address}


def held(left: QuerySet[KnownMember]) -> KnownMember | None:
    """Lock a member that left an address, and the one at the address it went to; None: there is none."""
    row = left.select_for_update().first()
    if row:
        _at_new(row).select_for_update().first()
    return row


def carry_over(left: KnownMember, customer_id: int) -> None:
    """Let the member at the new address be ours as it was at the one it `left`, for this customer.

    As long as somebody else holds the old address, the question of where it went stays open for them.
    """
    for member in _carried(left, _at_new(left).select_for_update().first(), customer_id):
        member.save(update_fields=OURS)


def _at_new(left: KnownMember) -> QuerySet[KnownMember]:
    return KnownMember.objects.filter(
        tenant_id=left.tenant_id, audience_id=left.audience_id, address=left.renamed_to, contact_id=left.contact_id
    )


def _carried(left: KnownMember, taken: KnownMember | None, customer_id: int) -> list[KnownMember]:
    """Change both members, without saving them; returns those that are changed."""
    if taken:
        taken.added_by_us, taken.our_tags = left.added_by_us, left.our_tags
        taken.made_for = customer_id if left.added_by_us else None
        taken.asked_for = taken.asked_for or left.asked_for
        taken.carried_out = max(filter(None, (taken.carried_out, left.carried_out)), default=None)
    held = Customer.objects.filter(tenant_id=left.tenant_id, address=left.address).exclude(pk=customer_id)
    _forget(left, answered=not held.exists())
    return [taken, left] if taken else [left]


def let_go(left: KnownMember) -> None:
    """Keep nothing of the member that left: whoever comes to its address is somebody else, or added anew."""
    _forget(left, answered=True)
    left.save(update_fields=OURS)


def _forget(left: KnownMember, *, answered: bool) -> None:
    left.added_by_us, left.made_for, left.our_tags, left.asked_for = False, None, [], None
    if answered:
        left.renamed_to, left.contact_id = "", ""
