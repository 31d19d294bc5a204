"""What the query string asks for: which page, which fields, which members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mailchimp_emulator import clock, problems
from mailchimp_emulator.state import STATUSES

DEFAULT_COUNT = 10
MAX_COUNT = 1000
T = TypeVar("T")
# Fields that Mailchimp has only where they apply, and those whose keys are tags or ids.
_SOMETIMES_THERE = {
    *("unsubscribe_reason", "interests", "marketing_permissions", "last_note", "total_contacts", "ecommerce_data"),
    *("sms_phone_number", "sms_subscription_status", "sms_subscription_last_updated"),
}
_KEYS_ARE_DATA = {"merge_fields", "interests", "options"}
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
    unsubscribed_since: float | None
    vip_only: bool
    interests: frozenset[str]
    interest_match: str | None
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
    given = moments(query, _MOMENTS)
    status = one_of(query, "status", STATUSES)
    if flag(query, "since_last_campaign") and status is None:
        raise problems.invalid_resource("Status is required when using since_last_campaign filter.")
    if given["unsubscribed_since"] is not None and status != "unsubscribed":
        raise problems.invalid_resource("Status must be unsubscribed when using unsubscribed_since filter.")
    return MemberFilter(
        status=status,
        since_last_changed=given["since_last_changed"],
        before_last_changed=given["before_last_changed"],
        since_timestamp_opt=given["since_timestamp_opt"],
        before_timestamp_opt=given["before_timestamp_opt"],
        email_type=one_of(query, "email_type", ("html", "text")),
        unique_email_id=query.get("unique_email_id"),
        unsubscribed_since=given["unsubscribed_since"],
        vip_only=flag(query, "vip_only"),
        interests=frozenset(query.get("interest_ids", "").split(",")) - {""},
        interest_match=_interest_match(query),
        sort_field=one_of(query, "sort_field", _SORT_FIELDS),
        descending=descending(query),
        nothing=swallowed_plus(query, _MOMENTS),
    )


def moments(query: Mapping[str, str], names: Sequence[str]) -> dict[str, float | None]:
    return {name: _moment(query, name) for name in names}


def swallowed_plus(query: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether one of these moments had a + that became a space: then nothing is found, as reported."""
    return any(" " in query.get(name, "")[10:].strip() for name in names)


def descending(query: Mapping[str, str]) -> bool:
    return one_of(query, "sort_dir", ("ASC", "DESC")) == "DESC"


def one_of(query: Mapping[str, str], name: str, values: Sequence[str]) -> str | None:
    """A parameter that can only be one of these words; None if it is not there."""
    value = query.get(name)
    if not value:
        return None
    if value not in values:
        message = f"Data presented is not one of the accepted values: {', '.join(values)}."
        raise problems.not_validated((name, message))
    return value


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
        paths = [name.strip().split(".") for name in fields.split(",")]
        if not all(_is_there(body, path) for path in paths):
            raise problems.fields_invalid()
        kept: dict[str, Any] = _kept(body, paths)
        return kept
    if excluded:
        dropped: dict[str, Any] = _dropped(body, [name.strip().split(".") for name in excluded.split(",")])
        return dropped
    return body


def _is_there(value: Any, path: Sequence[str]) -> bool:
    """Whether a reply of this kind can have this field. Of a collection the first entry is looked at, if any."""
    if not path:
        return True
    if isinstance(value, list):
        return not value or _is_there(value[0], path)
    if not isinstance(value, dict):
        return False
    if path[0] not in value:
        return path[0] in _SOMETIMES_THERE
    return (path[0] in _KEYS_ARE_DATA and isinstance(value[path[0]], dict)) or _is_there(value[path[0]], path[1:])


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


def _interest_match(query: Mapping[str, str]) -> str | None:
    """How to filter by interests; the three parameters of that filter come together or not at all."""
    missing = [name for name in _INTEREST_FILTER if not query.get(name)]
    if missing and len(missing) < len(_INTEREST_FILTER):
        raise problems.not_validated(problems.required(*missing))
    return one_of(query, "interest_match", ("any", "all", "none"))


_MOMENTS = (
    "since_last_changed",
    "before_last_changed",
    "since_timestamp_opt",
    "before_timestamp_opt",
    "unsubscribed_since",
)
_INTEREST_FILTER = ("interest_category_id", "interest_ids", "interest_match")
