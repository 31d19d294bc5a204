"""What each type of merge field accepts and how it is stored."""

import datetime
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from mailchimp_emulator.problems import FieldErrors, merge_fields_invalid
from mailchimp_emulator.state import MergeField

TYPES = (
    "text",
    "number",
    "address",
    "phone",
    "date",
    "url",
    "imageurl",
    "radio",
    "dropdown",
    "birthday",
    "zip",
)

NO_SCHEMA = "Data did not match any of the schemas described in anyOf."
_TEXT_BYTES = 255
_ADDRESS_PARTS = ("addr1", "addr2", "city", "state", "zip", "country")
_ADDRESS_REQUIRED = ("addr1", "city", "state", "zip")
_DATES = (
    (re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})"), (1, 2, 3)),
    (re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2})"), (1, 2, 3)),
    (re.compile(r"([0-9]{2})-([0-9]{2})-([0-9]{4})"), (3, 2, 1)),
    (re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})"), (3, 1, 2)),
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_US_PHONE = re.compile(r"[0-9]{3}-[0-9]{3}-[0-9]{4}")
_BIRTHDAY = re.compile(r"(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])")
_URL = re.compile(r"https?://[^\s/]+\S*")
_ZIP = re.compile(r"[0-9]{5}")


class WrongValueError(Exception):
    """The message Mailchimp gives for a value of the wrong kind."""


def checked(
    fields: Mapping[str, MergeField],
    sent: Mapping[str, Any],
    held: Mapping[int, Any],
    *,
    check_required: bool,
) -> dict[str, Any]:
    """The values to store, by tag; "" means clear. Unknown tags are ignored; one wrong value refuses all.

    `held` are the member's present values, by merge id.
    """
    errors: list[tuple[str, str]] = []
    accepted: dict[str, Any] = {}
    for tag, merge_field in fields.items():
        if tag in sent:
            try:
                accepted[tag] = "" if sent[tag] == "" else _READERS[merge_field.type](merge_field, sent[tag])
            except WrongValueError as refusal:
                errors.append((tag, str(refusal)))
                continue
        if check_required and merge_field.required and accepted.get(tag, held.get(merge_field.merge_id, "")) == "":
            errors.append((tag, "Please enter a value"))
    if errors:
        raise merge_fields_invalid(errors)
    return accepted


def schema_errors(sent: Mapping[str, Any]) -> FieldErrors:
    """Values no field could take, whatever its type: null, booleans, arrays."""
    return [
        (f"merge_fields.{tag}", NO_SCHEMA)
        for tag, value in sent.items()
        if not isinstance(value, str | int | float | dict) or isinstance(value, bool)
    ]


def _text(_field: MergeField, value: Any) -> str:
    if isinstance(value, dict):
        raise WrongValueError("Please enter a value")
    text = str(value)
    if len(text) * 4 <= _TEXT_BYTES:
        return text
    return text.encode()[:_TEXT_BYTES].decode(errors="ignore")


def _number(_field: MergeField, value: Any) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if re.search("[.eE]", value) else _whole(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise WrongValueError("Please enter a number")
    return float(value) if isinstance(value, float) else int(value)


def _whole(text: str) -> int | float:
    """A number that 64 bits cannot hold loses its last digits, as JSON readers make it do."""
    value = int(text) if len(text) <= 20 else float(text)
    return value if abs(value) < 2**63 else float(value)


def _date(_field: MergeField, value: Any) -> str:
    for pattern, (year, month, day) in _DATES:
        match = pattern.fullmatch(str(value))
        if match and _is_a_day(int(match[year]), int(match[month]), int(match[day])):
            return f"{match[year]}-{match[month]}-{match[day]}"
    raise WrongValueError("Please enter the date")


def _is_a_day(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def _phone(merge_field: MergeField, value: Any) -> str:
    if isinstance(value, dict):
        raise WrongValueError("Please enter a value")
    if merge_field.options.get("phone_format") == "US" and not _US_PHONE.fullmatch(str(value)):
        raise WrongValueError("Please enter a valid phone number (###-###-####)")
    return _text(merge_field, value)


def _choice(merge_field: MergeField, value: Any) -> str:
    choices = [str(choice) for choice in merge_field.options.get("choices", [])]
    if isinstance(value, dict) or str(value) not in choices:
        raise WrongValueError(f"Value must be one of: {', '.join(choices)} (not {value})")
    return str(value)


def _address(_field: MergeField, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
        raise WrongValueError("Please enter a complete address")
    if not all(value.get(part) for part in _ADDRESS_REQUIRED):
        raise WrongValueError("Please enter a complete address")
    return {part: value.get(part, "") for part in _ADDRESS_PARTS}


def _matching(pattern: re.Pattern[str], message: str) -> Callable[[MergeField, Any], str]:
    def read(_field: MergeField, value: Any) -> str:
        if not pattern.fullmatch(str(value)):
            raise WrongValueError(message)
        return str(value)

    return read


_READERS: dict[str, Callable[[MergeField, Any], Any]] = {
    "text": _text,
    "number": _number,
    "address": _address,
    "phone": _phone,
    "date": _date,
    "url": _matching(_URL, "Please enter a valid URL"),
    "imageurl": _matching(_URL, "Please enter a valid URL"),
    "radio": _choice,
    "dropdown": _choice,
    "birthday": _matching(_BIRTHDAY, "Please enter a month (01-12) and a day (01-31)"),
    "zip": _matching(_ZIP, "Please enter a zip code (5 digits)"),
}
