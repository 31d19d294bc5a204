"""What Mailchimp's refusals and failures mean for whoever asked.

    MailchimpError
    ├── TryLater          429, 408, 5xx, time-outs, cut connections and replies: the same call may succeed
    ├── AccessLost        401, 403: no further call with this key will succeed; reconnect
    ├── NotFound          404 about one member: not in the audience
    ├── AudienceNotFound  404 about the audience itself: deleted, or of another account
    ├── MemberRefused     400 about one address: keep the reason (`kind`), go on with the others
    ├── WebhookRefused    400 about a webhook: Mailchimp could not reach its URL, or will not have it
    └── UnexpectedReply   anything else: fail loudly, there is something to learn

All are made here, by `from_response` or one of the functions below it. Decided by status and title: Mailchimp
writes its texts in the account's language, so `detail` is a hint where there is no title of its own, and `OTHER`
the answer where the hint fails. `str()` of an error holds status and title only: `detail` may still name a person,
though not by their address.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

import orjson

LONGEST_RETRY_AFTER: Final = 86_400.0
_LONGEST_TITLE: Final = 100


class Refusal(StrEnum):
    """Why Mailchimp refuses an address."""

    INVALID_ADDRESS = "invalid_address"
    FAKE_ADDRESS = "fake_address"
    THROTTLED_ADDRESS = "throttled_address"
    COMPLIANCE = "compliance"
    FORGOTTEN = "forgotten"
    EXISTS = "exists"
    MERGE_FIELDS = "merge_fields"
    OTHER = "other"


class MailchimpError(Exception):
    """A call that did not end well. `status` is 0 if no reply came; `detail` is Mailchimp's, without addresses."""

    def __init__(self, status: int, title: str, detail: str = "") -> None:
        self.status = status
        self.title = title
        self.detail = _without_address(detail)
        super().__init__(f"{status} {title}".strip() if status else title)


class TryLater(MailchimpError):
    """The same call may succeed later. `retry_after` is Mailchimp's wish in seconds, if it named one."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        retry_after: float | None = None,
        perhaps_done: bool = False,
    ) -> None:
        super().__init__(status, title, detail)
        self.retry_after = retry_after
        self.perhaps_done = perhaps_done
        """Whether Mailchimp may have carried the call out all the same."""


class AccessLost(MailchimpError):
    """The key is refused: revoked, its user disabled, or not allowed to do this."""


class NotFound(MailchimpError):
    """The member asked for is not in the audience."""


class AudienceNotFound(MailchimpError):
    """The audience is gone, or belongs to another account."""


class MemberRefused(MailchimpError):
    """Mailchimp refuses this one address or its fields; `fields` maps merge tags to Mailchimp's words."""

    def __init__(
        self, status: int, title: str, detail: str, kind: Refusal, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, title, detail)
        self.kind = kind
        self.fields = {name: _without_address(said) for name, said in (fields or {}).items()}


class UnexpectedReply(MailchimpError):
    """A reply this package does not understand; `fields` holds what it says about single fields of the body sent."""

    def __init__(self, status: int, title: str, detail: str = "", fields: Mapping[str, str] | None = None) -> None:
        super().__init__(status, title, detail)
        self.fields = {name: _without_address(said) for name, said in (fields or {}).items()}


class WebhookRefused(MailchimpError):
    """Mailchimp will not have this webhook; `detail` says why in its words, without the URL."""


def from_response(status: int, headers: Mapping[str, str], body: bytes, *, about_member: bool = True) -> MailchimpError:
    """The error that a reply outside 2xx stands for. `about_member`: whether the call was about one address."""
    problem = _problem(body)
    title, detail = _title(problem, status), _text(problem, "detail")
    if status in (408, 429) or status >= 500 or (status == 403 and problem is None):
        return TryLater(status, title, detail, retry_after=_retry_after(headers), perhaps_done=_perhaps_done(status))
    if status in (401, 403):
        return AccessLost(status, title, detail)
    if problem is None:
        return UnexpectedReply(status, title)
    if status == 404:
        return NotFound(status, title, detail)
    if status == 400 and about_member:
        errors = _field_errors(problem)
        return MemberRefused(status, title, detail, _kind(title, detail, errors), _of_merge_fields(errors))
    return UnexpectedReply(status, title, detail, _field_errors(problem))


def from_item(item: Mapping[str, Any]) -> MemberRefused:
    """The refusal of one member of a bulk call. It has no title: `OTHER` where neither its code nor its words tell."""
    detail, field = _text(item, "error"), _text(item, "field")
    errors = {field: _text(item, "field_message")} if field else {}
    exists = item.get("error_code") == "ERROR_CONTACT_EXISTS"
    kind = Refusal.EXISTS if exists else _kind("", detail, errors)
    return MemberRefused(400, "Invalid Resource", detail, kind, _of_merge_fields(errors))


def no_reply(title: str, *, perhaps_done: bool) -> TryLater:
    """No reply came: a time-out, or a connection that was cut or never made."""
    return TryLater(0, title, perhaps_done=perhaps_done)


def webhook_refused(refused: UnexpectedReply) -> WebhookRefused:
    """What a 400 about a webhook means. The URL is a secret, so no word with a slash in it is kept."""
    said = " ".join(refused.fields.values()) or refused.detail
    detail = " ".join(word for word in said.split() if "/" not in word)
    return WebhookRefused(refused.status, refused.title, detail)


def cut_short(status: int) -> TryLater:
    """A reply of 2xx whose body is no JSON."""
    return TryLater(status, "The reply was cut short", perhaps_done=True)


def misunderstood(status: int, what: str) -> UnexpectedReply:
    """A reply of 2xx whose JSON is not what the endpoint promises."""
    return UnexpectedReply(status, what)


_OWN_TITLES: Final = {
    "member exists": Refusal.EXISTS,
    "member in compliance state": Refusal.COMPLIANCE,
    "forgotten email not subscribed": Refusal.FORGOTTEN,
}
_HINTS: Final = (
    ("looks fake or invalid", Refusal.FAKE_ADDRESS),
    ("signed up to a lot of lists", Refusal.THROTTLED_ADDRESS),
    ("compliance state", Refusal.COMPLIANCE),  # an older wording holds "already a list member" too
    ("permanently deleted", Refusal.FORGOTTEN),
    ("already a list member", Refusal.EXISTS),
    ("provide a valid email", Refusal.INVALID_ADDRESS),
    ("merge fields were invalid", Refusal.MERGE_FIELDS),
)
_MERGE_FIELD = re.compile(r"(?:merge_fields\.)?([A-Z][A-Z0-9_]{0,49})|merge_fields")
_ADDRESS_FIELDS: Final = ("email_address", "email address")


def _without_address(words: str) -> str:
    """Return what Mailchimp says without any e-mail address in it, which it likes to repeat."""
    told = " ".join("the address" if "@" in word else word for word in words.split())
    return told[:1].upper() + told[1:] if "@" in words.partition(" ")[0] else told


def _kind(title: str, detail: str, errors: Mapping[str, str]) -> Refusal:
    if title.lower() in _OWN_TITLES:
        return _OWN_TITLES[title.lower()]
    if any(name in errors for name in _ADDRESS_FIELDS):
        taken = any("already in this list" in errors.get(name, "") for name in _ADDRESS_FIELDS)
        return Refusal.EXISTS if taken else Refusal.INVALID_ADDRESS
    if errors and all(_MERGE_FIELD.fullmatch(name) for name in errors):
        return Refusal.MERGE_FIELDS
    hinted = (kind for words, kind in _HINTS if words in detail.lower())
    return next(hinted, Refusal.OTHER)


def _of_merge_fields(errors: Mapping[str, str]) -> dict[str, str]:
    """Only what is said about merge fields: what is said about the address may repeat it."""
    matches = ((_MERGE_FIELD.fullmatch(name), message) for name, message in errors.items())
    return {match[1] or match[0]: message for match, message in matches if match}


def _field_errors(problem: Mapping[str, Any]) -> dict[str, str]:
    errors = problem.get("errors")
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    return {str(entry.get("field", "")): str(entry.get("message", "")) for entry in entries}


def _problem(body: bytes) -> dict[str, Any] | None:
    """The problem document; None if the body is something else, as the pages of a proxy in between are."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _title(problem: Mapping[str, Any] | None, status: int) -> str:
    title = _text(problem, "title")[:_LONGEST_TITLE]
    return title if title and "@" not in title else f"HTTP {status}"


def _text(problem: Mapping[str, Any] | None, key: str) -> str:
    value = (problem or {}).get(key)
    return value if isinstance(value, str) else ""


def _perhaps_done(status: int) -> bool:
    """429 and the edge's 403 turn a call away; after 408 and 5xx nobody knows."""
    return status not in (403, 429)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either form of Retry-After; a date is compared with Mailchimp's clock, not ours."""
    named = {name.lower(): value.strip() for name, value in headers.items()}
    wish = named.get("retry-after", "")
    try:
        seconds = float(wish)
    except ValueError:
        moment, now = http_date(wish), http_date(named.get("date", "")) or datetime.now(UTC)
        seconds = (moment - now).total_seconds() if moment else math.nan
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


def http_date(text: str) -> datetime | None:
    """The moment of an HTTP date header; None if the text is none."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
