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
    Reason.NOT_IN_BOOK: Explanation(
        "No customer in the book has this address, so a sync leaves it alone.",
        "Nothing to do. Somebody who should be synced has to be in the book, with their consent.",
    ),
    Reason.WITHDRAWN: Explanation(
        "Marketing consent was withdrawn.",
        "Leave it at that. Only a new yes from the customer changes it: record it in the Overview when they give it.",
    ),
    Reason.ERASED: Explanation(
        "Somebody with this address was erased on request, so a yes from before that no longer counts for it.",
        "Only a yes given since then changes this: record it in the Overview when they give it.",
    ),
    Reason.INVALID_EMAIL: Explanation(
        "This is not a complete e-mail address, or has a mistake in it (invalid email).",
        "Open the customer and correct the e-mail address.",
    ),
    Reason.FAKE_EMAIL: Explanation(
        "Mailchimp says this address looks fake or invalid.",
        "Check the address with the customer, and correct it on their page.",
    ),
    Reason.COMPLIANCE: Explanation(
        "Mailchimp lets nobody subscribe this address: the person unsubscribed, their mail came back, or Mailchimp is "
        "reviewing it.",
        "Only they can change this: give them the link to your Mailchimp signup form.",
    ),
    Reason.FORGOTTEN: Explanation(
        "This address was permanently deleted in Mailchimp and cannot be brought back by a sync.",
        "Only they can change this: give them the link to your Mailchimp signup form.",
    ),
    Reason.MERGE_FIELDS: Explanation(
        "Mailchimp did not accept what should go into this audience's fields.",
        "Correct the customer's details, or choose what fills the field that Mailchimp names: Integrations, What goes "
        "to Mailchimp.",
    ),
    Reason.TAGS: Explanation(
        "Mailchimp did not accept this customer's tags.",
        "Read what Mailchimp says, correct the customer's tags, and sync again.",
    ),
    Reason.REFUSED: Explanation(
        "Mailchimp refused this member, for a reason of its own.",
        "Read what Mailchimp says, correct the customer's details, and sync again.",
    ),
    Reason.THROTTLED: Explanation(
        "This address has signed up to many lists lately; Mailchimp accepts no more for now.",
        "Nothing to do: the first sync after a day tries again.",
        permanent=False,
    ),
    Reason.BUSY: Explanation(
        "Mailchimp could not take this change just now.",
        "Nothing to do: the next sync tries again.",
        permanent=False,
    ),
    Reason.CHANGED_MEANWHILE: Explanation(
        "The customer, or the member in Mailchimp, changed while the sync was running.",
        "Nothing to do: the next sync takes the newest state.",
        permanent=False,
    ),
    Reason.BRAKE: Explanation(
        "An unusual number of people would be unsubscribed at once, so the automatic sync stopped before that.",
        "Look at that sync under Integrations. If the people are right, press Sync Customers Now to go ahead.",
        permanent=False,
    ),
    Reason.NEXT_SYNC: Explanation(
        "This has not reached Mailchimp yet: it came after the last sync.",
        "Press Sync Customers Now under Integrations, or, with auto-sync on, wait for the daily sync.",
        permanent=False,
    ),
    Reason.NOT_CONNECTED: Explanation(
        "Nothing is sent while Mailchimp is not connected.",
        "An owner or manager connects it under Integrations.",
        permanent=False,
    ),
    Reason.UNSUBSCRIBED_THERE: Explanation(
        "Unsubscribed in Mailchimp, and not by us: the person left, or somebody unsubscribed them there. A sync leaves "
        "that as it is.",
        "Only they can change this: give them the link to your Mailchimp signup form. Or record their new yes: "
        "Mailchimp then asks them to confirm, if that is allowed under Integrations, What goes to Mailchimp.",
    ),
    Reason.SUBSCRIBED_AGAIN: Explanation(
        "The customer said no and was unsubscribed. Since then somebody subscribed this member again in Mailchimp.",
        "If it was the customer's wish, record their yes in the Overview; if not, unsubscribe the member in Mailchimp.",
    ),
    Reason.CLEANED: Explanation(
        "Mail to this address came back (bounced), so Mailchimp sends it nothing any more.",
        "Check the address with the customer, and correct it on their page.",
    ),
    Reason.ARCHIVED: Explanation(
        "This member was archived in Mailchimp, and gets no mail.",
        "If that was a mistake, unarchive the member in Mailchimp.",
    ),
    Reason.NON_SUBSCRIBED: Explanation(
        "Mailchimp knows this person from an order or the like (non-subscribed), not as a subscriber, and a sync never "
        "changes that.",
        "Give them the link to your Mailchimp signup form, or subscribe the member in Mailchimp.",
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
        "Mailchimp has sent this person an e-mail to confirm their subscription, and they have not done so yet.",
        "Nothing to do: they are subscribed once they follow the link in it.",
        permanent=False,
    ),
}


def explanation(reason: str) -> Explanation:
    """Return what to say about `reason`; an unknown code is explained as a refusal."""
    return CATALOGUE[Reason(reason) if reason in set(Reason) else Reason.REFUSED]
