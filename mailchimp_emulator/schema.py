"""The shape a body must have before any rule looks at it. All problems are reported in one answer."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mailchimp_emulator import clock, merge
from mailchimp_emulator.problems import Problem, json_parse_exception, not_validated, required

WRITABLE_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
EMAIL_TYPES = ("html", "text")

Errors = list[tuple[str, str]]
Check = Callable[[str, Any], Errors]


def read_json(raw: bytes) -> Any:
    """The body as JSON; None if there is none. Refuses NaN, infinities and lone surrogates."""
    if not raw.strip():
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise json_parse_exception() from None


def an_object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise not_validated(("", f"Schema describes object, {type_name(body)} found instead"))
    return body


def member(body: Any, *, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A member's body, or a Problem naming every field of the wrong kind."""
    problem = member_problem(an_object(body), needs=needs)
    if problem:
        raise problem
    return an_object(body)


def member_problem(body: Mapping[str, Any], *, needs: tuple[str, ...] = ()) -> Problem | None:
    missing = [name for name in needs if body.get(name) is None]
    errors = [required(*missing)] if missing else []
    for name, check in _MEMBER.items():
        if name in body:
            errors += check(name, body[name])
    return not_validated(*errors) if errors else None


def type_name(value: Any) -> str:
    """What Mailchimp's schema checker calls the type of a value."""
    if value is None:
        return "NULL"
    return _TYPE_NAMES.get(type(value), "string")


def of_type(wanted: type, called: str) -> Check:
    def check(name: str, value: Any) -> Errors:
        if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
            return []
        return [(name, f"Schema describes {called}, {type_name(value)} found instead")]

    return check


def _one_of(*values: str, or_null: bool = False) -> Check:
    def check(name: str, value: Any) -> Errors:
        if value in values or (or_null and value is None):
            return []
        if not isinstance(value, str):
            return a_string(name, value)
        return [(name, f"Data presented is not one of the accepted values: {', '.join(values)}.")]

    return check


def _ip(name: str, value: Any) -> Errors:
    errors = a_string(name, value)
    if not errors and value:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return [(name, "Please enter a valid IP address")]
    return errors


def _moment(name: str, value: Any) -> Errors:
    errors = a_string(name, value)
    if not errors and value:
        try:
            clock.read(value)
        except ValueError:
            return [(name, "Please enter the date")]
    return errors


def _merge_fields(name: str, value: Any) -> Errors:
    return list(merge.schema_errors(value)) if isinstance(value, dict) else of_type(dict, "object")(name, value)


def _interests(name: str, value: Any) -> Errors:
    errors = of_type(dict, "object")(name, value)
    for key, wanted in value.items() if not errors else ():
        errors += of_type(bool, "boolean")(f"{name}.{key}", wanted)
    return errors


def _strings(name: str, value: Any) -> Errors:
    errors = of_type(list, "array")(name, value)
    if errors:
        return errors
    return [error for number, item in enumerate(value) for error in a_string(f"{name}.item:{number}", item)]


def _permissions(name: str, value: Any) -> Errors:
    errors = of_type(list, "array")(name, value)
    for number, item in enumerate(value if not errors else []):
        place = f"{name}.item:{number}"
        errors += of_type(dict, "object")(place, item)
        if isinstance(item, dict):
            errors += a_string(f"{place}.marketing_permission_id", item.get("marketing_permission_id"))
            errors += of_type(bool, "boolean")(f"{place}.enabled", item.get("enabled"))
    return errors


_TYPE_NAMES = {bool: "boolean", int: "integer", float: "double", list: "array", dict: "object"}
a_string = of_type(str, "string")
tag_status = _one_of("active", "inactive")
_MEMBER: dict[str, Check] = {
    "email_address": a_string,
    "email_type": _one_of(*EMAIL_TYPES, "", or_null=True),
    "status": _one_of(*WRITABLE_STATUSES),
    "status_if_new": _one_of(*WRITABLE_STATUSES, or_null=True),
    "merge_fields": _merge_fields,
    "interests": _interests,
    "language": a_string,
    "vip": of_type(bool, "boolean"),
    "location": of_type(dict, "object"),
    "marketing_permissions": _permissions,
    "ip_signup": _ip,
    "timestamp_signup": _moment,
    "ip_opt": _ip,
    "timestamp_opt": _moment,
    "tags": _strings,
}
