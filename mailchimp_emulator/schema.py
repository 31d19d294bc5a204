"""The shape a body must have before any rule looks at it. All problems are reported in one answer."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from mailchimp_emulator import clock, merge
from mailchimp_emulator.problems import Problem, json_parse_exception, not_validated, required

WRITABLE_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
EMAIL_TYPES = ("html", "text")

_TWO_FORMS = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9]{2}:[0-9]{2}:[0-9]{2}|T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:?[0-9]{2}))"
)
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)\s*")

DEEPEST = 100
Errors = list[tuple[str, str]]
Check = Callable[[str, Any], Errors]


def read_json(raw: bytes) -> Any:
    """The body as JSON; None if there is none. Refuses NaN, infinities, lone surrogates and deep nesting."""
    if not raw.strip():
        return None
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise json_parse_exception() from None
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and _is_deep(body):
        raise json_parse_exception()
    return body


def _is_deep(body: Any) -> bool:
    """Whether anything is nested more than `DEEPEST` deep."""
    level = [body]
    for _ in range(DEEPEST + 1):
        level = [inner for value in level for inner in _inside(value)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def an_object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise not_validated(("", f"Schema describes object, {type_name(body)} found instead"))
    return body


def checked(body: Any, checks: Mapping[str, Check], *, needs: tuple[str, ...] = (), place: str = "") -> dict[str, Any]:
    """The body, or a Problem naming every field that is missing or of the wrong kind; other fields are ignored."""
    found = an_object(body)
    errors = errors_in(found, checks, needs=needs, place=place)
    if errors:
        raise not_validated(*errors)
    return found


def member(body: Any, *, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A member's body, or a Problem naming every field of the wrong kind."""
    return checked(body, _MEMBER, needs=needs)


def member_problem(body: Mapping[str, Any], *, needs: tuple[str, ...] = ()) -> Problem | None:
    errors = errors_in(body, _MEMBER, needs=needs)
    return not_validated(*errors) if errors else None


def errors_in(
    body: Mapping[str, Any], checks: Mapping[str, Check], *, needs: tuple[str, ...] = (), place: str = ""
) -> Errors:
    """What is wrong with the fields of an object; those that were left out first. `place` ends in a dot."""
    missing = [name for name in needs if body.get(name) is None]
    errors = [required(*missing, place=place.rstrip("."))] if missing else []
    for name, check in checks.items():
        if name in body:
            errors += check(f"{place}{name}", body[name])
    return errors


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


def an_object_of(checks: Mapping[str, Check]) -> Check:
    """An object whose fields, where they are there, are of these kinds."""

    def check(name: str, value: Any) -> Errors:
        return an_object_there(name, value) or errors_in(value, checks, place=f"{name}.")

    return check


def one_of(*values: str, or_null: bool = False) -> Check:
    def check(name: str, value: Any) -> Errors:
        if value in values or (or_null and value is None):
            return []
        if not isinstance(value, str):
            return a_string(name, value)
        return [(name, f"Data presented is not one of the accepted values: {', '.join(values)}.")]

    return check


def array_of(check_item: Check) -> Check:
    def check(name: str, value: Any) -> Errors:
        return an_array(name, value) or [
            error for number, item in enumerate(value) for error in check_item(f"{name}.item:{number}", item)
        ]

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
    """One of the two documented forms, or nothing."""
    errors = a_string(name, value)
    if not errors and value:
        try:
            clock.read(value if _TWO_FORMS.fullmatch(value) else "")
        except ValueError:
            return [(name, "Please enter the date")]
    return errors


def _coordinate(name: str, value: Any) -> Errors:
    """A number, or a text that is one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return [] if number or (isinstance(value, str) and _NUMBER.fullmatch(value)) else [(name, merge.NO_SCHEMA)]


def _merge_fields(name: str, value: Any) -> Errors:
    return list(merge.schema_errors(value)) if isinstance(value, dict) else an_object_there(name, value)


def _interests(name: str, value: Any) -> Errors:
    errors = an_object_there(name, value)
    for key, wanted in value.items() if not errors else ():
        errors += a_boolean(f"{name}.{key}", wanted)
    return errors


def a_name(name: str, value: Any) -> Errors:
    return a_string(name, value) or ([] if value.strip() else [(name, "Please enter a value")])


def _permissions(name: str, value: Any) -> Errors:
    errors = an_array(name, value)
    for number, item in enumerate(value if not errors else []):
        place = f"{name}.item:{number}"
        errors += an_object_there(place, item)
        if isinstance(item, dict):
            errors += a_string(f"{place}.marketing_permission_id", item.get("marketing_permission_id"))
            errors += a_boolean(f"{place}.enabled", item.get("enabled"))
    return errors


_TYPE_NAMES = {bool: "boolean", int: "integer", float: "double", list: "array", dict: "object"}
an_array = of_type(list, "array")
a_string = of_type(str, "string")
a_boolean = of_type(bool, "boolean")
an_integer = of_type(int, "integer")
an_object_there = of_type(dict, "object")
tag_status = one_of("active", "inactive")
_MEMBER: dict[str, Check] = {
    "email_address": a_string,
    "email_type": one_of(*EMAIL_TYPES, "", or_null=True),
    "status": one_of(*WRITABLE_STATUSES),
    "status_if_new": one_of(*WRITABLE_STATUSES, or_null=True),
    "merge_fields": _merge_fields,
    "interests": _interests,
    "language": a_string,
    "vip": a_boolean,
    "location": an_object_of({"latitude": _coordinate, "longitude": _coordinate}),
    "marketing_permissions": _permissions,
    "ip_signup": _ip,
    "timestamp_signup": _moment,
    "ip_opt": _ip,
    "timestamp_opt": _moment,
    "tags": array_of(a_name),
}
