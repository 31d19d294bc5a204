"""Every no has a reason (B8): the one catalogue of codes, sentences and remedies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a customer is not, or not simply, a subscribed member in agreement with the book."""

    NONE = ""
    NO_EMAIL = "no_email"
    NEVER_ASKED = "never_asked"
    NOT_IN_BOOK = "not_in_book"
    WITHDRAWN = "consent_withdrawn"
    ERASED = "erased"
    INVALID_EMAIL = "invalid_email"
    FAKE_EMAIL = "fake_email"
    COMPLIANCE = "compliance_state"
    FORGOTTEN = "forgotten"
    MERGE_FIELDS = "merge_fields"
    TAGS = "tags"
    REFUSED = "refused"
    THROTTLED = "throttled"
    BUSY = "mailchimp_busy"
    CHANGED_MEANWHILE = "changed_meanwhile"
    BRAKE = "brake"
    NEXT_SYNC = "next_sync"
    NOT_CONNECTED = "not_connected"
    UNSUBSCRIBED_THERE = "unsubscribed_in_mailchimp"
    SUBSCRIBED_AGAIN = "subscribed_again_in_mailchimp"
    CLEANED = "cleaned_in_mailchimp"
    ARCHIVED = "archived_in_mailchimp"
    NON_SUBSCRIBED = "non_subscribed_in_mailchimp"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    RENAMED = "renamed_in_mailchimp"
    MOVING = "moving_address"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What to tell a person: the sentence, what they can do, and whether it ends only when something changes."""

    sentence: str
    remedy: str
    permanent: bool = True


CATALOGUE: dict[Reason, Explanation] = {
    Reason.NONE: Explanation("The member agrees with the book.", "Nothing to do."),
    Reason.NO_EMAIL: Explanation(
        "There is no e-mail address on this customer.", "Add an e-mail address to the customer."
    ),
    Reason.NEVER_ASKED: Explanation(
        "This customer has not been asked for marketing consent.",
        "Ask, and if the answer is yes, switch Marketing consent on in the Overview.",
    ),
    Reason.NOT_IN_BOOK: Explanation("No customer in the book has this address.", "Nothing to do."),
    Reason.WITHDRAWN: Explanation(
        "Marketing consent was withdrawn.",
        "Only a new yes from the customer changes this: record it in the Overview when they give it.",
    ),
    Reason.ERASED: Explanation(
        "Somebody with this address was erased on request, so a yes from before that no longer counts for it.",
        "Only a yes given since then changes this: record it in the Overview when they give it.",
    ),
    Reason.INVALID_EMAIL: Explanation(
        "The e-mail address is not well-formed (invalid email).",
        "Open the customer and correct the e-mail address.",
    ),
    Reason.FAKE_EMAIL: Explanation(
        "Mailchimp says this address looks fake or invalid.",
        "Open the customer and enter their real address.",
    ),
    Reason.COMPLIANCE: Explanation(
        "Mailchimp will not subscribe this address: the person unsubscribed, bounced or is under review there.",
        "Only the person can change this, by signing up on a Mailchimp form of yours.",
    ),
    Reason.FORGOTTEN: Explanation(
        "This address was permanently deleted in Mailchimp and cannot be brought back by a sync.",
        "Only the person can change this, by signing up on a Mailchimp form of yours.",
    ),
    Reason.MERGE_FIELDS: Explanation(
        "Mailchimp did not accept the values for this audience's fields.",
        "Correct the customer's details, or choose what fills the named field: Integrations, What goes to Mailchimp.",
    ),
    Reason.TAGS: Explanation(
        "Mailchimp did not accept this customer's tags.",
        "Read Mailchimp's words below and correct the customer's tags.",
    ),
    Reason.REFUSED: Explanation(
        "Mailchimp refused this member.",
        "Read Mailchimp's words below, correct the customer, and sync again.",
    ),
    Reason.THROTTLED: Explanation(
        "This address has signed up to many lists lately; Mailchimp accepts no more for now.",
        "Nothing to do: it is tried again by itself.",
        permanent=False,
    ),
    Reason.BUSY: Explanation(
        "Mailchimp could not take this change just now.",
        "Nothing to do: the next sync tries again.",
        permanent=False,
    ),
    Reason.CHANGED_MEANWHILE: Explanation(
        "The customer changed while the sync was running.",
        "Nothing to do: the next sync takes the newest state.",
        permanent=False,
    ),
    Reason.BRAKE: Explanation(
        "An unusual number of people would be unsubscribed at once, so a person has to say yes first.",
        "Look at the run, then press Sync Customers Now to go ahead.",
        permanent=False,
    ),
    Reason.NEXT_SYNC: Explanation(
        "The book has changed since the last sync.", "Sync, or wait for the daily sync.", permanent=False
    ),
    Reason.NOT_CONNECTED: Explanation(
        "Nothing is sent while Mailchimp is not connected.",
        "An owner or manager connects it under Integrations.",
        permanent=False,
    ),
    Reason.UNSUBSCRIBED_THERE: Explanation(
        "Unsubscribed in Mailchimp, and not by us: that stays as it is.",
        "Only the person can change this: by signing up on a Mailchimp form of yours; or record their new yes, and, if "
        "the shop allows it under Integrations, Mailchimp asks them to confirm.",
    ),
    Reason.SUBSCRIBED_AGAIN: Explanation(
        "Consent was withdrawn here and carried out, but somebody subscribed this member again in Mailchimp.",
        "If that was not the customer's wish, unsubscribe the member in Mailchimp.",
    ),
    Reason.CLEANED: Explanation(
        "Mail to this address bounced, so Mailchimp has cleaned it.", "Check the address with the customer."
    ),
    Reason.ARCHIVED: Explanation(
        "This member was archived in Mailchimp.", "Unarchive the member in Mailchimp if that was a mistake."
    ),
    Reason.NON_SUBSCRIBED: Explanation(
        "Mailchimp holds this person as non-subscribed; a sync never changes that.",
        "Subscribe the member in Mailchimp, or ask the person to sign up on a form of yours.",
    ),
    Reason.RENAMED: Explanation(
        "In Mailchimp this person gave themselves another e-mail address.",
        "On the customer's page, take the new address over, or keep the one you have.",
    ),
    Reason.MOVING: Explanation(
        "The member is about to be moved to the customer's new address.",
        "Nothing to do: the next sync does it.",
        permanent=False,
    ),
    Reason.AWAITING_CONFIRMATION: Explanation(
        "Mailchimp has asked this person to confirm, and they have not yet.",
        "Nothing to do: it counts from the person's own click.",
        permanent=False,
    ),
}


def explanation(reason: str) -> Explanation:
    """Return what to say about `reason`; an unknown code is explained as a refusal."""
    return CATALOGUE[Reason(reason) if reason in set(Reason) else Reason.REFUSED]
