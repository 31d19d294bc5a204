"""What a sync would do, by the same rules, without doing it (a dry run)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils import timezone

from nexpura.audience.plan import NoChange
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import deciding, terms
from nexpura.sync.models import AddressStanding, DirtyAddress, KnownAudience
from nexpura.sync.runs import NotConnectedError
from nexpura.sync.store.records import kind_of
from nexpura.tenants.models import Tenant

CHUNK = 500


def preview(tenant: Tenant) -> dict[str, Any]:
    """Return how many changes of each kind the next sync would make, by what is known of the audience now.

    Nothing is sent and nothing is read from Mailchimp: before the first sync the audience is unknown, which
    `audience_read` says. Raises `NotConnectedError`.
    """
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    if integration is None or not integration.is_connected:
        raise NotConnectedError
    audience = KnownAudience.objects.get(
        tenant=tenant, data_centre=integration.config["data_centre"], audience_id=integration.config["audience_id"]
    )
    under = terms.of(audience, integration.config)
    now = timezone.now()
    counted: Counter[str] = Counter()
    last = ""
    while marks := _marks(tenant, last):
        last = max(marks)
        proven = audience.listing_complete
        for one in deciding.decide(tenant.pk, audience.pk, marks, under, now, absence_proven=proven):
            if one.retag:
                counted["would_retag"] += 1
            if isinstance(one.decision, NoChange):
                counted[one.decision.bucket.value] += len(one.facts.customers)
            else:
                counted[f"would_{kind_of(one.decision)}"] += 1
    unmarked = AddressStanding.objects.filter(tenant=tenant, bucket="agreement").count()
    return {
        "dry_run": True,
        "audience_read": audience.full_read_at is not None,
        "add": counted["would_add"],
        "update": counted["would_update"],
        "unsubscribe": counted["would_opt_out"],
        "resubscribe": counted["would_undo"],
        "ask": counted["would_ask"],
        "move": counted["would_move"],
        "retag": counted["would_retag"],
        "kept": counted["kept"],
        "withheld": counted["withheld"] + Customer.objects.filter(tenant=tenant, address="").count(),
        "failed": counted["failed"],
        "in_agreement": unmarked,
    }


def line(told: dict[str, Any]) -> str:
    """Return the preview as a sentence."""
    unread = "" if told["audience_read"] else " (the audience has not been read yet; people in it are not added)"
    return (
        f"A sync would add {told['add']}, update {told['update']}, unsubscribe {told['unsubscribe']} and subscribe "
        f"again {told['resubscribe']}; {told['failed']} cannot be synced{unread}. Nothing was sent."
    )


def _marks(tenant: Tenant, after: str) -> dict[str, int]:
    listed = DirtyAddress.objects.filter(tenant=tenant, address__gt=after).order_by("address")
    return dict(listed.values_list("address", "version")[:CHUNK])
