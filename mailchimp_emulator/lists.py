"""Audiences themselves: listed, told, made."""

import secrets
from collections.abc import Mapping
from typing import Any

from mailchimp_emulator import asked, bodies, problems, schema, seeding
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.schema import Check
from mailchimp_emulator.state import Account, Audience

_MOMENTS = (
    "since_date_created",
    "before_date_created",
    "since_campaign_last_sent",
    "before_campaign_last_sent",
)
_PERMISSIONS = ("Email", "Direct Mail", "Customized Online Advertising")
_UNLIMITED = -1


def get_lists(call: Call) -> Reply:
    account = call.user.account
    audiences = _wanted(account, call.query)
    with_all = asked.flag(call.query, "include_total_contacts")
    body = {
        "lists": [bodies.list_of(item, total_contacts=with_all) for item in asked.page(call.query).of(audiences)],
        "total_items": len(audiences),
        "constraints": _constraints(account),
        "_links": bodies.list_collection_links(account),
    }
    return Reply(asked.only_fields(body, call.query), "Lists/Collection", total_items=len(audiences))


def get_list(call: Call) -> Reply:
    body = bodies.list_of(call.audience(), total_contacts=asked.flag(call.query, "include_total_contacts"))
    return Reply(asked.only_fields(body, call.query), "Lists/Instance")


def post_lists(call: Call) -> Reply:
    """Make an audience with the five fields of a new one; refused where the plan allows no more."""
    account = call.user.account
    if not account.may_create:
        raise problems.action_not_permitted()
    body = schema.checked(call.body, _CHECKS, needs=_NEEDED)
    schema.checked(body["contact"], _CONTACT, needs=_CONTACT_NEEDED, place="contact.")
    schema.checked(body["campaign_defaults"], _DEFAULTS, needs=tuple(_DEFAULTS), place="campaign_defaults.")
    audience = seeding.new_audience(call.state, account, secrets.token_hex(5), body["name"])
    seeding.add_standard_fields(audience)
    audience.double_optin = body.get("double_optin", False)
    if body.get("marketing_permissions"):
        audience.permissions = {secrets.token_hex(5): text for text in _PERMISSIONS}
    audience.settings = {name: body[name] for name in _SETTINGS if name in body}
    for name, parts in (("contact", _CONTACT), ("campaign_defaults", _DEFAULTS)):
        audience.settings[name] = {part: body[name].get(part, "") for part in parts}
    account.audiences[audience.id] = audience
    return Reply(bodies.list_of(audience), "Lists/Instance")


def _constraints(account: Account) -> dict[str, Any]:
    count = len(account.audiences)
    return {
        "may_create": account.may_create,
        "max_instances": _UNLIMITED if account.may_create else count,
        "current_total_instances": _UNLIMITED if account.may_create else count,
    }


def _wanted(account: Account, query: Mapping[str, str]) -> list[Audience]:
    """The account's audiences that were asked for; no campaign was ever sent, no store ever connected."""
    given = asked.moments(query, _MOMENTS)
    by_date = asked.one_of(query, "sort_field", ("date_created",)) is not None
    if asked.swallowed_plus(query, _MOMENTS) or asked.flag(query, "has_ecommerce_store"):
        return []
    if given["since_campaign_last_sent"] is not None or given["before_campaign_last_sent"] is not None:
        return []
    audiences = [
        audience
        for audience in account.audiences.values()
        if _created(audience, given["since_date_created"], given["before_date_created"])
        and _has(audience, query.get("email", ""))
    ]
    if by_date:
        audiences.sort(key=lambda audience: audience.created_at)
    return audiences[::-1] if asked.descending(query) else audiences


def _created(audience: Audience, since: float | None, before: float | None) -> bool:
    return (since is None or audience.created_at > since) and (before is None or audience.created_at < before)


def _has(audience: Audience, address: str) -> bool:
    member = audience.find_address(address) if address else None
    return not address or (member is not None and member.status != "archived")


_CONTACT: dict[str, Check] = dict.fromkeys(
    ("company", "address1", "address2", "city", "state", "zip", "country", "phone"), schema.a_string
)
_CONTACT_NEEDED = ("company", "address1", "city", "state", "zip", "country")
_DEFAULTS: dict[str, Check] = dict.fromkeys(("from_name", "from_email", "subject", "language"), schema.a_string)
_NEEDED = ("name", "contact", "permission_reminder", "email_type_option", "campaign_defaults")
_CHECKS: dict[str, Check] = {
    "name": schema.a_name,
    "contact": schema.an_object_of(_CONTACT),
    "permission_reminder": schema.a_string,
    "use_archive_bar": schema.a_boolean,
    "campaign_defaults": schema.an_object_of(_DEFAULTS),
    "notify_on_subscribe": schema.a_string,
    "notify_on_unsubscribe": schema.a_string,
    "email_type_option": schema.a_boolean,
    "double_optin": schema.a_boolean,
    "marketing_permissions": schema.a_boolean,
}
_SETTINGS = (
    *("contact", "permission_reminder", "use_archive_bar", "campaign_defaults"),
    *("notify_on_subscribe", "notify_on_unsubscribe", "email_type_option"),
)
