"""What may be asked of Mailchimp about one member, as values. Pure translation: nothing is sent here.

Consent by construction: `status` overwrites whatever a member's state is, so only the opt-out and the undoing of
an opt-out carry it. Everything else either names a status for people who are not in the audience yet
(`status_if_new`), or none at all. Values that are left out keep what Mailchimp has; an empty text would wipe it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Required, TypedDict, Unpack
from urllib.parse import quote

from nexpura.mailchimp.member import MergeValue, subscriber_hash

NewStatus = Literal["subscribed", "pending"]
NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One request about one member. The repr leaves out who it is about."""

    method: str
    path: str = field(repr=False)
    query: Mapping[str, str]
    body: Mapping[str, Any] | None = field(repr=False)
    about: str = field(repr=False)
    """The address, for whoever matches results; never logged."""
    audience_id: str
    repeatable: bool
    """Whether it may be sent again when nobody knows if it was carried out."""
    tells_member: bool = True
    """Whether the reply is the member's document; otherwise it has no body."""


@dataclass(frozen=True, slots=True)
class BulkCall:
    """One request about up to 500 members. The repr leaves out who it is about.

    https://mailchimp.com/developer/marketing/api/lists/batch-subscribe-or-unsubscribe/

    Cannot flip a status: its members carry `status_if_new` and never `status`, which counts for addresses that are
    not in the audience only. Without `update_existing` whoever is there already is not touched at all.
    """

    path: str = field(repr=False)
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(repr=False)
    about: tuple[str, ...] = field(repr=False)
    """The addresses, in order; never logged."""
    audience_id: str
    repeatable: bool
    """Whether it may be sent again when nobody knows if it was carried out."""


BULK_LIMIT: Final = 500


def bulk(
    audience_id: str, members: Sequence[Mapping[str, Any]], *, update_existing: bool, lift_required: bool = False
) -> BulkCall:
    """Put members made by `upserted` into one call. ValueError for too many, or one twice.

    Without `update_existing` it is not repeatable: members made by a call whose reply was lost would be refused as
    existing. A reading tells.
    """
    about = tuple(member["email_address"] for member in members)
    if len(members) > BULK_LIMIT or len({address.lower() for address in about}) < len(about):
        raise ValueError(f"a bulk call has up to {BULK_LIMIT} members, each once")
    if any("status_if_new" not in member for member in members):
        raise ValueError("a member of a bulk call needs the status it gets if it is new")
    body = {"members": members, "update_existing": update_existing}
    return BulkCall(
        audience_path(audience_id), _lifting(lift_required), body, about, audience_id, repeatable=update_existing
    )


class Person(TypedDict, total=False):
    """What an upsert says of one address besides the address itself."""

    merge_fields: Required[Mapping[str, MergeValue]]
    status_if_new: NewStatus | None
    timestamp_opt: datetime | None
    ip_opt: str | None
    tags: Sequence[str]
    permissions: Sequence[str]


def upserted(address: str, **person: Unpack[Person]) -> dict[str, Any]:
    """Return one member as `upsert` and `bulk` send it. `permissions` are taken by `upsert` only."""
    told = _person(
        person["merge_fields"], person.get("timestamp_opt"), person.get("ip_opt"), person.get("permissions", ())
    )
    tags = list(person.get("tags", ()))
    return _filled({"email_address": address, "status_if_new": person.get("status_if_new"), "tags": tags} | told)


def upsert(audience_id: str, address: str, *, lift_required: bool = False, **person: Unpack[Person]) -> Call:
    """Add the address, or bring the fields of its member up to date.

    https://mailchimp.com/developer/marketing/api/list-members/add-or-update-list-member/

    Cannot flip a status: `status_if_new` counts for addresses that are not in the audience, and `status` is never
    sent, so an unsubscribed, cleaned or archived member stays what it is. Look at the status in the reply.
    `timestamp_opt`, `ip_opt`, `tags` and `permissions` belong to adds: on a member they overwrite Mailchimp's own
    evidence. `lift_required` lifts the check that required merge fields are filled, and nothing else.
    """
    return _write(audience_id, "PUT", address, upserted(address, **person), query=_lifting(lift_required))


def update_fields(
    audience_id: str, address: str, merge_fields: Mapping[str, MergeValue], *, lift_required: bool = False
) -> Call:
    """Bring the fields of an existing member up to date.

    https://mailchimp.com/developer/marketing/api/list-members/update-list-member/

    Cannot flip a status: none is sent. Cannot add anybody: PATCH of an address that is not in the audience is a 404.
    """
    return _write(audience_id, "PATCH", address, _person(merge_fields), query=_lifting(lift_required))


def rename(
    audience_id: str,
    address: str,
    new_address: str,
    *,
    merge_fields: Mapping[str, MergeValue] = NOTHING,
    lift_required: bool = False,
) -> Call:
    """Give a member another address, keeping its history, its tags and its opt-in.

    https://mailchimp.com/developer/marketing/api/list-members/update-list-member/

    Cannot flip a status: none is sent. Cannot add anybody: 404 if the old address is not in the audience, and a
    refusal if the new one is. Not repeatable: repeated after a lost reply, the old address would be missing.
    """
    body = {"email_address": new_address} | _person(merge_fields)
    return _write(audience_id, "PATCH", address, body, query=_lifting(lift_required), repeatable=False)


def retag(audience_id: str, address: str, *, add: Sequence[str], remove: Sequence[str]) -> Call:
    """Set and take off tags; `is_syncing` keeps automations from being set off by it.

    https://mailchimp.com/developer/marketing/api/list-member-tags/add-or-remove-member-tags/

    Only an explicit `inactive` removes a tag, so what others set stays. The reply has no body.
    """
    tags = [{"name": name, "status": "active"} for name in add]
    tags += [{"name": name, "status": "inactive"} for name in remove]
    body = {"tags": tags, "is_syncing": True}
    path = f"{_path(audience_id, address)}/tags"
    return Call("POST", path, NOTHING, body, address, audience_id, repeatable=True, tells_member=False)


def unsubscribe(audience_id: str, address: str) -> Call:
    """Opt the member out. Cannot add anybody: an address that is not in the audience is a 404.

    https://mailchimp.com/developer/marketing/api/list-members/update-list-member/

    The check for required merge fields is lifted: nobody stays subscribed for want of a last name.
    """
    return _write(audience_id, "PATCH", address, {"status": "unsubscribed"}, query=_lifting(True))


def resubscribe(
    audience_id: str,
    address: str,
    *,
    as_pending: bool = False,
    merge_fields: Mapping[str, MergeValue] = NOTHING,
    timestamp_opt: datetime | None = None,
    ip_opt: str | None = None,
    permissions: Sequence[str] = (),
    lift_required: bool = False,
) -> Call:
    """Undo an opt-out of our own, or (`as_pending`) have Mailchimp ask the person to confirm.

    https://mailchimp.com/developer/marketing/api/list-members/update-list-member/

    The only call that makes an existing member subscribed. For the caller to know: a newer grant exists, and the
    member was not touched since our opt-out. Not repeatable: if the person unsubscribes between a try whose reply
    was lost and the next, the repetition would subscribe them again.
    """
    body = {"status": "pending" if as_pending else "subscribed"}
    body |= _person(merge_fields, timestamp_opt, ip_opt, permissions)
    return _write(audience_id, "PATCH", address, body, query=_lifting(lift_required), repeatable=False)


def forget(audience_id: str, address: str) -> Call:
    """Delete the member and all that Mailchimp holds about the person, at the person's request: never to be undone.

    https://mailchimp.com/developer/marketing/api/list-members/delete-list-member-permanent/

    From then on no call brings the address back, only the person's own sign-up. Repeatable: repeated after a lost
    reply it is a 404, as for an address that was never in the audience. The reply has no body.
    """
    path = f"{_path(audience_id, address)}/actions/delete-permanent"
    return Call("POST", path, NOTHING, None, address, audience_id, repeatable=True, tells_member=False)


def get_member(audience_id: str, address: str) -> Call:
    """Read one member. A 404 is the only proof that an address is not in the audience.

    https://mailchimp.com/developer/marketing/api/list-members/get-member-info/
    """
    # The whole document: asking for a field that this member happens not to have might be an error.
    return Call("GET", _path(audience_id, address), NOTHING, None, address, audience_id, repeatable=True)


def audience_path(audience_id: str) -> str:
    """The path of an audience; the id, typed in by a person, cannot reach beyond its place in it."""
    return f"/lists/{quote(audience_id, safe='').replace('.', '%2E')}"


def _path(audience_id: str, address: str) -> str:
    return f"{audience_path(audience_id)}/members/{subscriber_hash(address)}"


def _write(
    audience_id: str,
    method: str,
    address: str,
    body: Mapping[str, Any],
    *,
    query: Mapping[str, str] = NOTHING,
    repeatable: bool = True,
) -> Call:
    return Call(method, _path(audience_id, address), query, _filled(body), address, audience_id, repeatable)


def _filled(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value}


def _person(
    merge_fields: Mapping[str, MergeValue],
    timestamp_opt: datetime | None = None,
    ip_opt: str | None = None,
    permissions: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "merge_fields": dict(merge_fields),
        "timestamp_opt": written(timestamp_opt) if timestamp_opt else None,
        "ip_opt": ip_opt,
        "marketing_permissions": [{"marketing_permission_id": name, "enabled": True} for name in permissions],
    }


def _lifting(required_fields: bool) -> Mapping[str, str]:
    return {"skip_merge_validation": "true"} if required_fields else NOTHING


def written(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z: a plus sign in a query would be read as a space. ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
