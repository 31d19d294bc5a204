"""From a change to the one call that carries it out. The only place where the two vocabularies meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nexpura.audience.desired import Terms
from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Ask, Change, Move, OptOut, Retag, Undo, Update
from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import BulkCall, Call, Person


def may_be_bulk(change: Change) -> bool:
    """Tell whether the change may go with others: adds, and updates of members known to be subscribed.

    Marketing permissions are not accepted in bulk.
    """
    match change:
        case Add():
            return not change.permissions
        case Update():
            return change.status is Status.SUBSCRIBED
        case _:
            return False


def bulk_call_for(changes: Sequence[tuple[str, Change]], audience_id: str, terms: Terms) -> BulkCall:
    """Return the one call for these changes (address and change), all adds or all updates.

    Adds leave whoever is there already untouched; updates name the status they are known to have, which counts only
    for somebody who is not there any more.
    """
    adding = all(isinstance(change, Add) for _, change in changes)
    members = [_member(address, change) for address, change in changes]
    return calls.bulk(audience_id, members, update_existing=not adding, lift_required=terms.lift_required)


def _member(address: str, change: Change) -> Mapping[str, Any]:
    if isinstance(change, Add):
        return calls.upserted(change.email, **_added(change))
    assert isinstance(change, Update)
    return calls.upserted(address, merge_fields=change.merge_fields, status_if_new="subscribed")


def _added(change: Add) -> Person:
    return {
        "merge_fields": change.merge_fields,
        "status_if_new": "pending" if change.status_if_new is Status.PENDING else "subscribed",
        "timestamp_opt": change.consent_at,
        "ip_opt": change.consent_ip or None,
        "tags": change.tags,
        "permissions": change.permissions,
    }


def call_for(change: Change, audience_id: str, address: str, terms: Terms) -> Call:
    """Return the smallest call for `change`; why it cannot flip a status stands with each of them."""
    lift = terms.lift_required
    match change:
        case Add():
            return calls.upsert(audience_id, change.email, lift_required=lift, **_added(change))
        case Update():
            return calls.update_fields(audience_id, address, change.merge_fields, lift_required=lift)
        case Move():
            return calls.rename(
                audience_id, change.from_address, change.email, merge_fields=change.merge_fields, lift_required=lift
            )
        case OptOut():
            return calls.unsubscribe(audience_id, address)
        case Undo():
            return calls.resubscribe(
                audience_id,
                address,
                as_pending=change.status is Status.PENDING,
                merge_fields=change.merge_fields,
                timestamp_opt=change.consent_at,
                ip_opt=change.consent_ip or None,
                permissions=change.permissions,
                lift_required=lift,
            )
        case Ask():
            return calls.resubscribe(
                audience_id,
                address,
                as_pending=True,
                merge_fields=change.merge_fields,
                permissions=change.permissions,
                lift_required=lift,
            )
        case Retag():
            return calls.retag(audience_id, address, add=change.add, remove=change.remove)
