"""From a change to the one call that carries it out. The only place where the two vocabularies meet."""

from __future__ import annotations

from nexpura.audience.desired import Terms
from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Ask, Change, Move, OptOut, Retag, Undo, Update
from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import Call


def call_for(change: Change, audience_id: str, address: str, terms: Terms) -> Call:
    """Return the smallest call for `change`; why it cannot flip a status stands with each of them."""
    lift = terms.lift_required
    match change:
        case Add():
            return calls.upsert(
                audience_id,
                change.email,
                merge_fields=change.merge_fields,
                status_if_new="pending" if change.status_if_new is Status.PENDING else "subscribed",
                timestamp_opt=change.consent_at,
                ip_opt=change.consent_ip or None,
                tags=change.tags,
                permissions=change.permissions,
                lift_required=lift,
            )
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
