"""What a sync would do, by the same rules, without doing it (a dry run)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from nexpura.audience.desired import Terms
from nexpura.audience.plan import NoChange
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import deciding, terms
from nexpura.sync.models import AddressStanding, DirtyAddress, KnownAudience, StandingCount
from nexpura.sync.runs import NotConnectedError
from nexpura.sync.store import renames, standings, work
from nexpura.sync.store.connected import audience_of
from nexpura.sync.store.records import kind_of
from nexpura.tenants.models import Tenant

CHUNK = 500


AT_A_PAGE = 5_000
"""Addresses that a page looks at; a command looks at all."""
WORDS = {
    "add": "new members",
    "update": "members whose details change",
    "unsubscribe": "members to unsubscribe: they said no, or their address left the book",
    "resubscribe": "members to subscribe again: we unsubscribed them, and they said yes since",
    "ask": "people who left and said yes again: Mailchimp asks them to confirm",
    "move": "members who move to a new address",
    "retag": "members whose tags change",
}


def preview(tenant: Tenant, at_most: int | None = None) -> dict[str, Any]:
    """Return how many changes of each kind the next sync would make, by what is known of the audience now.

    Nothing is sent and nothing is read from Mailchimp: before the first sync the audience is unknown, which
    `audience_read` says. With `at_most`, only so many addresses are looked at, and `more` tells whether there are
    others. Raises `NotConnectedError`.
    """
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    audience = audience_of(integration)
    if integration is None or audience is None:
        raise NotConnectedError
    under = terms.of(audience, integration.config)
    anew = audience.decided_under not in ("", work.fingerprint(audience.pk, under))
    counted, looked_at, more = _counted(tenant, audience, under, at_most, anew=anew)
    numbers = {
        "add": counted["would_add"],
        "update": counted["would_update"],
        "unsubscribe": counted["would_opt_out"],
        "resubscribe": counted["would_undo"],
        "ask": counted["would_ask"],
        "move": counted["would_move"],
        "retag": counted["would_retag"],
    }
    stand = dict(StandingCount.objects.filter(tenant=tenant).values_list("bucket").annotate(sum=Sum("customers")))
    left = {bucket: stand.get(bucket, 0) + counted[bucket] for bucket in ("agreement", "kept", "withheld", "failed")}
    return {
        "dry_run": True,
        "audience_read": audience.full_read_at is not None,
        **numbers,
        "kept": left["kept"],
        "withheld": left["withheld"],
        "failed": left["failed"],
        "in_agreement": left["agreement"],
        "looked_at": looked_at,
        "marked": _about(tenant, anew=anew),
        "more": more,
        "total": sum(numbers.values()),
        "changes": [(words, numbers[name]) for name, words in WORDS.items() if numbers[name]],
    }


def _counted(
    tenant: Tenant, audience: KnownAudience, under: Terms, at_most: int | None, *, anew: bool
) -> tuple[Counter[str], int, bool]:
    """Decide what a run would, chunk by chunk; returns the counts, how many were looked at, and whether more are left.

    Changes are counted by address, what is left alone by customer, as a difference to where they stood.
    """
    now = timezone.now()
    counted: Counter[str] = Counter()
    last, looked_at = None, 0
    carried_over = renames.foreseen(tenant.pk, audience.pk)
    while marks := standings.to_be_decided(tenant.pk, audience.pk, now, everything=anew, after=last, limit=CHUNK):
        if at_most is not None and looked_at >= at_most:
            return counted, looked_at, True
        last, looked_at = max(marks), looked_at + len(marks)
        proven = audience.listing_complete
        for one in deciding.decide(
            tenant.pk, audience.pk, marks, under, now, absence_proven=proven, carried_over=carried_over
        ):
            counted.update(_counts_of(one))
        if "" in marks:
            counted["withheld"] += Customer.objects.filter(tenant=tenant, address="").count()
        stood = AddressStanding.objects.filter(tenant=tenant, address__in=list(marks))
        counted.subtract(dict(stood.values_list("bucket").annotate(sum=Sum("customers"))))
    return counted, looked_at, False


def _about(tenant: Tenant, *, anew: bool) -> int:
    """Return roughly how many addresses the next run looks at, without counting them all."""
    marked = DirtyAddress.objects.filter(tenant=tenant).count()
    standing = StandingCount.objects.filter(tenant=tenant).aggregate(sum=Sum("addresses"))["sum"] if anew else 0
    return max(marked, standing or 0)


def _counts_of(one: deciding.Decided) -> Counter[str]:
    counts: Counter[str] = Counter(would_retag=int(one.retag is not None))
    if isinstance(one.decision, NoChange):
        counts[one.decision.bucket.value] += len(one.facts.customers)
    else:
        counts[f"would_{kind_of(one.decision)}"] += 1
    return counts


def line(told: dict[str, Any]) -> str:
    """Return the preview as a sentence."""
    unread = "" if told["audience_read"] else " (the audience has not been read yet; people in it are not added)"
    rare = "".join(
        f", {words} {told[name]}"
        for name, words in (("ask", "ask to confirm"), ("move", "move"), ("retag", "change the tags of"))
        if told[name]
    )
    return (
        f"A sync would add {told['add']}, update {told['update']}, unsubscribe {told['unsubscribe']}, subscribe "
        f"again {told['resubscribe']}{rare}; {told['failed']} cannot be synced{unread}. Nothing was sent."
    )
