"""From a change to the one call that carries it out. The only place where the two vocabularies meet."""

from __future__ import annotations

from nexpura.audience.member import Status
from nexpura.audience.plan import Add, Change, OptOut, Undo, Update
from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import Call


def call_for(change: Change, audience_id: str, address: str) -> Call:
    """Return the smallest call for `change`; why it cannot flip a status stands with each of them."""
    match change:
        case Add():
            return calls.upsert(
                audience_id,
                change.email,
                merge_fields=change.merge_fields,
                status_if_new="pending" if change.status_if_new is Status.PENDING else "subscribed",
                timestamp_opt=change.consent_at,
                ip_opt=change.consent_ip or None,
            )
        case Update():
            return calls.update_fields(audience_id, address, change.merge_fields)
        case OptOut():
            return calls.unsubscribe(audience_id, address)
        case Undo():
            return calls.resubscribe(
                audience_id,
                address,
                merge_fields=change.merge_fields,
                timestamp_opt=change.consent_at,
                ip_opt=change.consent_ip or None,
            )
