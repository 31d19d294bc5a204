"""What the query string asks for: which page, which fields, which members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mailchimp_emulator import clock, problems
from mailchimp_emulator.state import STATUSES

DEFAULT_COUNT = 10
MAX_COUNT = 1000
T = TypeVar("T")
_SORT_FIELDS = ("timestamp_opt", "timestamp_signup", "last_changed")


@dataclass(frozen=True, slots=True)
class Page:
    offset: int
    count: int

    def of(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.offset : self.offset + self.count]


@dataclass(frozen=True, slots=True)
class MemberFilter:
    """Which members, in which order; equal filters give equal answers while no member changes."""

    status: str | None
    since_last_changed: float | None
    before_last_changed: float | None
    since_timestamp_opt: float | None
    before_timestamp_opt: float | None
    email_type: str | None
    unique_email_id: str | None
    vip_only: bool
    sort_field: str | None
    descending: bool
    nothing: bool  # a moment whose + became a space: nobody matches, as reported


def flag(query: Mapping[str, str], name: str) -> bool:
    """Mailchimp's booleans: "true" and "1" are true, anything else is false."""
    return query.get(name) in ("true", "1")


def page(query: Mapping[str, str]) -> Page:
    """`count` (10 unless told, more than 1000 gives 1000) and `offset`."""
    return Page(_whole(query, "offset", 0), min(_whole(query, "count", DEFAULT_COUNT), MAX_COUNT))


def member_filter(query: Mapping[str, str]) -> MemberFilter:
    moments = {name: _moment(query, name) for name in _MOMENTS}
    email_type = _one_of(query, "email_type", ("html", "text"))
    return MemberFilter(
        status=_one_of(query, "status", STATUSES),
        since_last_changed=moments["since_last_changed"],
        before_last_changed=moments["before_last_changed"],
        since_timestamp_opt=moments["since_timestamp_opt"],
        before_timestamp_opt=moments["before_timestamp_opt"],
        email_type=email_type,
        unique_email_id=query.get("unique_email_id"),
        vip_only=flag(query, "vip_only"),
        sort_field=_one_of(query, "sort_field", _SORT_FIELDS),
        descending=(_one_of(query, "sort_dir", ("ASC", "DESC")) or "ASC") == "DESC",
        nothing=any(" " in query.get(name, "")[10:].strip() for name in _MOMENTS),
    )


def wants_links(query: Mapping[str, str], prefix: str) -> bool:
    """Whether the inner links of a collection have to be made at all; they are most of its size."""
    if "exclude_fields" in query:
        return f"{prefix}._links" not in query["exclude_fields"].split(",")
    if "fields" in query:
        return any(name in (prefix, f"{prefix}._links") for name in query["fields"].split(","))
    return True


def only_fields(body: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """The body cut to `fields`, or without `exclude_fields`; both, or unknown `fields`: 422."""
    fields, excluded = query.get("fields"), query.get("exclude_fields")
    if fields and excluded:
        raise problems.fields_invalid()
    if fields:
        names = [name.strip() for name in fields.split(",")]
        if any(name.split(".")[0] not in body for name in names):
            raise problems.fields_invalid()
        kept: dict[str, Any] = _kept(body, [name.split(".") for name in names])
        return kept
    if excluded:
        dropped: dict[str, Any] = _dropped(body, [name.strip().split(".") for name in excluded.split(",")])
        return dropped
    return body


def _kept(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    if isinstance(value, list):
        return [_kept(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    below: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path[1:])
    return {
        name: value[name] if [] in below[name] else _kept(value[name], below[name]) for name in value if name in below
    }


def _dropped(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    if isinstance(value, list):
        return [_dropped(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    gone = {path[0] for path in paths if len(path) == 1}
    below: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        if len(path) > 1:
            below.setdefault(path[0], []).append(path[1:])
    return {
        name: _dropped(item, below[name]) if name in below else item for name, item in value.items() if name not in gone
    }


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise problems.not_validated((name, "Schema describes integer, string found instead"))
    return int(text)


def _one_of(query: Mapping[str, str], name: str, values: Sequence[str]) -> str | None:
    value = query.get(name)
    if not value:
        return None
    if value not in values:
        message = f"Data presented is not one of the accepted values: {', '.join(values)}."
        raise problems.not_validated((name, message))
    return value


def _moment(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        return clock.read_exactly(text)
    except ValueError:
        if " " in text[10:].strip():
            return None
        raise problems.not_validated((name, "Please enter the date")) from None


_MOMENTS = ("since_last_changed", "before_last_changed", "since_timestamp_opt", "before_timestamp_opt")
