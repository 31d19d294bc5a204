"""POST /lists/{list_id}: up to 500 members in one call, each judged on its own."""

from collections.abc import Mapping
from typing import Any

from mailchimp_emulator import asked, bodies, problems, rules, schema
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.problems import Problem
from mailchimp_emulator.state import Audience, Member

LIMIT = 500
CONTACT_EXISTS = "ERROR_CONTACT_EXISTS"
GENERIC = "ERROR_GENERIC"
_KNOWN = {
    "email_address",
    "email_type",
    "status",
    "status_if_new",
    "merge_fields",
    "interests",
    "language",
    "vip",
    "location",
    "ip_signup",
    "timestamp_signup",
    "ip_opt",
    "timestamp_opt",
    "tags",
}


def post_list(call: Call) -> Reply:
    """Add and, with `update_existing`, update. 200 whatever became of the single members."""
    audience = call.audience()
    body = schema.an_object(call.body)
    items = _items(call, body)
    new: list[dict[str, Any]] = []
    updated: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for item in items:
        try:
            created, member = _write(call, audience, body, item)
        except Problem as problem:
            errors.append(_error(item, problem))
        else:
            (new if created else updated).append(bodies.bulk_member(audience, member))
    reply = {
        "new_members": new,
        "updated_members": updated,
        "errors": errors,
        "total_created": len(new),
        "total_updated": len(updated),
        "error_count": len(errors),
        "_links": bodies.bulk_links(audience),
    }
    return Reply(asked.only_fields(reply, call.query), "Lists/Instance", members=len(items))


def _items(call: Call, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The members of the call; too many, or one address twice, refuses the whole call."""
    items = body.get("members")
    if items is None:
        raise problems.not_validated(problems.required("members"))
    errors = schema.of_type(list, "array")("members", items)
    for name in ("update_existing", "sync_tags"):
        if body.get(name) is not None:
            errors += schema.of_type(bool, "boolean")(name, body[name])
    for number, item in enumerate(items if isinstance(items, list) else []):
        errors += schema.of_type(dict, "object")(f"members.item:{number}", item)
    if not errors and len(items) > LIMIT:
        errors.append(("members", f"Schema describes array with at most {LIMIT} items, {len(items)} found instead"))
    if errors:
        raise problems.not_validated(*errors)
    return _without_duplicates(call, items)


def _without_duplicates(call: Call, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items):
        address = item.get("email_address")
        first.setdefault(address.lower() if isinstance(address, str) else f" {number}", item)
    if len(first) < len(items) and not asked.flag(call.query, "skip_duplicate_check"):
        raise problems.not_validated(("members", "The same email address was submitted more than once."))
    return list(first.values())


def _write(call: Call, audience: Audience, body: Mapping[str, Any], item: dict[str, Any]) -> tuple[bool, Member]:
    """One member: whether it counts as created, and the member."""
    item = _without_nulls(item)
    for name in ("interests", "location"):
        if isinstance(item.get(name), dict):
            item[name] = _without_nulls(item[name])
    if item.keys() - _KNOWN or item.keys().isdisjoint(("status", "status_if_new")):
        raise problems.not_validated()
    problem = schema.member_problem(item, needs=("email_address",))
    if problem:
        raise problem
    member = audience.find_address(item["email_address"])
    check_required = call.check_required()
    if member is None:
        status = item.get("status_if_new") or item["status"]
        return True, rules.create(audience, item, status, call.writer, check_required=check_required)
    returns = member.status == "archived" and item.get("status", "archived") != "archived"
    if not body.get("update_existing") and not returns:
        raise AlreadyMember(item["email_address"])
    if returns:
        item = {"merge_fields": {}, **item}
    rules.update(audience, member, item, call.writer, check_required=check_required)
    _write_tags(call, audience, member, body, item)
    return returns, member


def _without_nulls(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _write_tags(
    call: Call, audience: Audience, member: Member, body: Mapping[str, Any], item: Mapping[str, Any]
) -> None:
    """Tags of a member that was there already: added, or with `sync_tags` put in place of those it had."""
    if "tags" not in item:
        return
    off = {tag.name for tag, _ in member.tags}.difference(item["tags"]) if body.get("sync_tags") else set()
    if rules.set_tags(audience, member, item["tags"], off, call.writer):
        audience.touch(member, call.writer.now())
        call.writer.wrote(audience, member)


class AlreadyMember(Problem):
    def __init__(self, address: str) -> None:
        detail = (
            f"{address} is already a list member, do you want to update?"
            " please provide update_existing:true in the request body"
        )
        super().__init__(400, "Member Exists", detail)


def _error(item: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    field, message = problem.errors[0] if problem.errors else ("", "")
    address = item.get("email_address")
    return {
        "email_address": address if isinstance(address, str) else "",
        "error": problem.detail,
        "error_code": CONTACT_EXISTS if isinstance(problem, AlreadyMember) else GENERIC,
        "field": field,
        "field_message": message,
    }
