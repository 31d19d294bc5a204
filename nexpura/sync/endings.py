"""How a run can end, with words that say what to do."""

from __future__ import annotations

from nexpura.audience.plan import Plan
from nexpura.mailchimp import errors
from nexpura.sync.store import Ending
from nexpura.tenants.vault import FORMER_KEYS, OTHER_KEYS

RECONNECT = "In Mailchimp, check the key under Account → Extras → API keys; then put the key in again here."

SUCCEEDED = Ending("succeeded")
CANCELLED = Ending("cancelled", "cancelled", "Cancelled", "The sync was ended before it was done.", "Sync again.")
INTERNAL = Ending(
    "failed",
    "internal",
    "Something went wrong on our side",
    "What was done is kept; nothing was lost.",
    "Sync again. If it happens again, tell whoever runs this installation.",
    reached=False,
)

CANNOT_TELL = Ending(
    "failed",
    "erasure_key_unreadable",
    "Nobody can tell who was erased",
    f"The key for that cannot be opened: {OTHER_KEYS} Nothing was sent.",
    FORMER_KEYS,
)


def of(error: errors.MailchimpError) -> Ending:
    """Return the ending for what Mailchimp, or the way there, answered."""
    match error:
        case errors.AudienceNotFound():
            return Ending(
                "failed",
                "audience_not_found",
                "Audience not found",
                "The audience this shop is connected to no longer exists in Mailchimp, or the key cannot see it.",
                "Disconnect, then connect again with the new Audience ID.",
                breaks=True,
            )
        case errors.AccessLost():
            return Ending(
                "failed", "access_lost", "Mailchimp API error", f"{error.title}: {error.detail}", RECONNECT, breaks=True
            )
        case errors.TryLater():
            return Ending(
                "failed",
                "mailchimp_unavailable",
                "Mailchimp does not answer",
                f"The last answer was: {error}.",
                "What was done is kept. Sync again in a few minutes; the next sync goes on where this one ended.",
                reached=False,
            )
        case _:
            return Ending(
                "failed",
                "unexpected_reply",
                "Mailchimp API error",
                f"Mailchimp answered in a way we do not understand: {error}.",
                "What was done is kept. Sync again; if it happens again, tell whoever runs this installation.",
            )


def stopped_by_brake(plan: Plan) -> Ending:
    """A scheduled run that would unsubscribe unusually many (B9)."""
    return Ending(
        "stopped",
        "brake",
        "Stopped: a person should look first",
        f"This sync would unsubscribe {plan.opt_outs} of {plan.subscribed} subscribers. Nobody was unsubscribed.",
        "If that is right, press Sync Customers Now (or run nexpura sync with --confirm).",
    )
