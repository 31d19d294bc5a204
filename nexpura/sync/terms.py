"""The conditions a run works under: the audience's own, and what the tenant chose about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexpura.audience.desired import MAPPING, Terms
from nexpura.sync.models import KnownAudience

FILLABLE = ("text", "phone", "number")
"""Types of merge fields that values of the book can fill."""


def of(audience: KnownAudience, config: Mapping[str, Any]) -> Terms:
    """Return the terms for an audience as last read and the config of the integration that uses it.

    An audience that was never read has the fields every new one has.
    """
    fields = {field["tag"]: field for field in audience.merge_fields if field["type"] in FILLABLE}
    if not audience.merge_fields:
        return Terms(double_optin=audience.double_optin)
    offered = {one["id"] for one in audience.permissions or ()}
    return Terms(
        merge_tags=frozenset(fields),
        double_optin=audience.double_optin,
        mapping=config.get("mapping") or MAPPING,
        us_phones=frozenset(tag for tag, field in fields.items() if field["options"].get("phone_format") == "US"),
        permissions=tuple(one for one in config.get("permissions", ()) if one in offered),
        may_ask=bool(config.get("ask_to_confirm")),
        lift_required=any(field["required"] for field in audience.merge_fields),
    )
