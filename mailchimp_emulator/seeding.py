"""From the body of `reset` to a state, refusing what it does not know by name."""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from mailchimp_emulator import clock, hashing, hooks, merge
from mailchimp_emulator.clock import Clock
from mailchimp_emulator.deliveries import ANSWER_SECONDS
from mailchimp_emulator.faults import KINDS, Fault, Latency, Weather
from mailchimp_emulator.hooks import Webhook
from mailchimp_emulator.rules import BY_ADMIN, BY_PERSON
from mailchimp_emulator.state import (
    MERGE_FIELD_LIMIT,
    STATUSES,
    Account,
    Audience,
    Interest,
    Member,
    MergeField,
    State,
    Tag,
    User,
)

ROLES = ("owner", "admin", "manager", "author", "viewer")
DEFAULT_DC = "us14"
_END_OF_TIME = 253_402_300_800  # the year 10000
_DC = re.compile(r"[a-z]{2,4}[0-9]{1,3}")
_STANDARD_FIELDS = (
    {"tag": "FNAME", "name": "First Name", "type": "text", "options": {"size": 25}},
    {"tag": "LNAME", "name": "Last Name", "type": "text", "options": {"size": 25}},
    {
        "tag": "ADDRESS",
        "name": "Address",
        "type": "address",
        "public": False,
        "options": {"default_country": 164},
    },
    {
        "tag": "PHONE",
        "name": "Phone Number",
        "type": "phone",
        "public": False,
        "options": {"phone_format": "none"},
    },
    {"tag": "BIRTHDAY", "name": "Birthday", "type": "birthday", "options": {"date_format": "MM/DD"}},
)


class UnclearError(ValueError):
    """What is wrong with the body of a control call, naming the place."""


def state_from(body: Any) -> tuple[State, Weather]:
    """A fresh world. `{}` has one account, one owner with one key, and one empty audience."""
    given = known(body, "reset", "accounts", "latency", "faults", "now", "webhook_seconds")
    now = given.get("now")
    state = State(Clock(None if now is None else moment(now, "now")))
    state.outbox.answer_seconds = number_of(given.get("webhook_seconds", ANSWER_SECONDS), "webhook_seconds")
    accounts = rows(given.get("accounts", [{}]), "accounts")
    if not accounts:
        raise UnclearError("accounts: at least one is needed")
    for number, account in enumerate(accounts):
        _add_account(state, account, f"accounts[{number}]")
    weather = Weather(faults(given.get("faults", [])), latencies(given.get("latency", [])))
    return state, weather


def described(state: State) -> dict[str, Any]:
    """The reply to `reset`: what a test needs to begin."""
    return {
        "now": clock.written(state.clock.now()),
        "accounts": [
            {
                "name": account.name,
                "account_id": account.account_id,
                "dc": account.dc,
                "users": [
                    {
                        "name": user.name,
                        "role": user.role,
                        "login_id": user.login_id,
                        "keys": user.keys,
                        "disabled": user.disabled,
                    }
                    for user in account.users
                ],
                "lists": [{"id": item.id, "name": item.name} for item in account.audiences.values()],
            }
            for account in state.accounts
        ],
        "keys": [key for account in state.accounts for user in account.users for key in user.keys],
        "list_ids": [audience.id for audience in state.audiences()],
    }


def faults(body: Any) -> list[Fault]:
    return [_fault(row, f"faults[{number}]") for number, row in enumerate(rows(body, "faults"))]


def latencies(body: Any) -> list[Latency]:
    return [_latency(row, f"latency[{number}]") for number, row in enumerate(rows(body, "latency"))]


def known(body: Any, place: str, *names: str) -> dict[str, Any]:
    """The body as an object with only these keys."""
    for name in mapping(body, place):
        if name not in names:
            raise UnclearError(f"{place}: unknown key {name!r}; known are {', '.join(names)}")
    return mapping(body, place)


def rows(body: Any, place: str) -> list[Any]:
    if not isinstance(body, list):
        raise UnclearError(f"{place}: a list is needed")
    return body


def moment(value: Any, place: str) -> int:
    """A moment written in ISO 8601 or as seconds since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _END_OF_TIME:
        return int(value)
    try:
        return clock.read(value)
    except (TypeError, ValueError):
        raise UnclearError(f"{place}: {value!r} is no moment") from None


def mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnclearError(f"{place}: an object is needed")
    return value


def text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UnclearError(f"{place}: a string is needed")
    return value


def choice(value: Any, place: str, values: tuple[str, ...]) -> str:
    if value not in values:
        raise UnclearError(f"{place}: {value!r} is none of {', '.join(values)}")
    return str(value)


def _add_account(state: State, body: Any, place: str) -> None:
    given = known(body, place, "name", "account_id", "dc", "users", "throttled", "may_create", "lists")
    dc = text(given.get("dc", DEFAULT_DC), f"{place}.dc")
    if not _DC.fullmatch(dc):
        raise UnclearError(f"{place}.dc: {dc!r} is no data centre such as us14")
    number = len(state.accounts) + 1
    name = text(given.get("name", f"Shop {number}"), f"{place}.name")
    account_id = text(given.get("account_id", secrets.token_hex(13)[:25]), f"{place}.account_id")
    account = Account(name, account_id, dc, state.clock.now())
    account.may_create = bool(given.get("may_create", False))
    account.throttled = {text(item, f"{place}.throttled").lower() for item in rows(given.get("throttled", []), place)}
    state.accounts.append(account)
    for count, user in enumerate(rows(given.get("users", [{}]), f"{place}.users")):
        _add_user(state, account, user, f"{place}.users[{count}]")
    for count, audience in enumerate(rows(given.get("lists", [{}]), f"{place}.lists")):
        _add_audience(state, account, audience, f"{place}.lists[{count}]")


def _add_user(state: State, account: Account, body: Any, place: str) -> None:
    given = known(body, place, "name", "role", "login_id", "keys", "disabled")
    number = 100_000_001 + sum(len(known_account.users) for known_account in state.accounts)
    user = User(
        name=text(given.get("name", "owner"), f"{place}.name"),
        role=choice(given.get("role", "owner"), f"{place}.role", ROLES),
        login_id=text(given.get("login_id", str(number)), f"{place}.login_id"),
        account=account,
        disabled=bool(given.get("disabled", False)),
    )
    keys = rows(given.get("keys", [f"{secrets.token_hex(16)}-{account.dc}"]), f"{place}.keys")
    for key in keys:
        if not text(key, f"{place}.keys").endswith(f"-{account.dc}"):
            raise UnclearError(f"{place}.keys: a key of this account ends in -{account.dc}")
        if key in state.users_by_key:
            raise UnclearError(f"{place}.keys: a key belongs to one user only")
        state.users_by_key[key] = user
    user.keys = list(keys)
    account.users.append(user)


def _add_audience(state: State, account: Account, body: Any, place: str) -> None:
    given = known(
        body,
        place,
        "id",
        "name",
        "double_optin",
        "marketing_permissions",
        "interests",
        "merge_fields",
        "merge_field_limit",
        "forgotten",
        "members",
        "generate",
        "webhooks",
    )
    list_id = text(given.get("id", secrets.token_hex(5)), f"{place}.id")
    if state.audience(list_id):
        raise UnclearError(f"{place}.id: {list_id!r} is there already")
    audience = new_audience(state, account, list_id, text(given.get("name", ""), f"{place}.name"))
    audience.double_optin = bool(given.get("double_optin", False))
    for item in rows(given.get("marketing_permissions", []), f"{place}.marketing_permissions"):
        permission = known(item, f"{place}.marketing_permissions", "id", "text")
        key = text(permission.get("id", secrets.token_hex(5)), f"{place}.marketing_permissions.id")
        audience.permissions[key] = text(permission.get("text", ""), f"{place}.marketing_permissions.text")
    for item in rows(given.get("interests", []), f"{place}.interests"):
        interest = _interest(item, f"{place}.interests")
        audience.interests[interest.id] = interest
    audience.merge_field_limit = whole(given.get("merge_field_limit", MERGE_FIELD_LIMIT), f"{place}.merge_field_limit")
    if "merge_fields" not in given:
        add_standard_fields(audience)
    for count, item in enumerate(rows(given.get("merge_fields", []), f"{place}.merge_fields")):
        add_merge_field(audience, item, f"{place}.merge_fields[{count}]")
    for item in rows(given.get("forgotten", []), f"{place}.forgotten"):
        audience.forgotten.add(hashing.subscriber_hash(text(item, f"{place}.forgotten")))
    for count, item in enumerate(rows(given.get("members", []), f"{place}.members")):
        _add_member(state, audience, item, f"{place}.members[{count}]")
    for item in _generated(given.get("generate"), f"{place}.generate"):
        _add_member(state, audience, item, f"{place}.generate")
    for count, item in enumerate(rows(given.get("webhooks", []), f"{place}.webhooks")):
        _add_webhook(audience, item, f"{place}.webhooks[{count}]")
    account.audiences[list_id] = audience


def new_audience(state: State, account: Account, list_id: str, name: str) -> Audience:
    """An audience without merge fields that is in no account yet."""
    number = next(state.audience_numbers)
    return Audience(
        list_id, name or f"Audience {number}", account, web_id=382_000 + number, created_at=state.clock.now()
    )


def add_standard_fields(audience: Audience) -> None:
    """The five merge fields of a new audience."""
    for item in _STANDARD_FIELDS:
        add_merge_field(audience, item, "merge_fields")


def add_merge_field(audience: Audience, body: Any, place: str) -> MergeField:
    given = known(body, place, "tag", "name", "type", "required", "options", "public", "default_value", "help_text")
    number = audience.next_merge_id
    tag = text(given.get("tag", f"MMERGE{number}"), f"{place}.tag")[:10]
    field = MergeField(
        merge_id=number,
        tag=tag,
        name=text(given.get("name", tag), f"{place}.name"),
        type=choice(given.get("type", "text"), f"{place}.type", merge.TYPES),
        required=bool(given.get("required", False)),
        default_value=text(given.get("default_value", ""), f"{place}.default_value"),
        public=bool(given.get("public", True)),
        display_order=number + 1,
        options=dict(mapping(given.get("options", {}), f"{place}.options")),
        help_text=text(given.get("help_text", ""), f"{place}.help_text"),
    )
    if tag in audience.merge_fields:
        raise UnclearError(f"{place}.tag: {tag!r} is there already")
    audience.add_field(field)
    return field


def _add_webhook(audience: Audience, body: Any, place: str) -> None:
    """A webhook as if it had been there long since: its URL is not asked, and without a secret nothing is signed."""
    given = known(body, place, "id", "url", "events", "sources", "signing_secret")
    secret = given.get("signing_secret")
    hook = Webhook(
        id=text(given.get("id", secrets.token_hex(5)), f"{place}.id"),
        list_id=audience.id,
        url=text(given.get("url"), f"{place}.url"),
        events=_flags(hooks.EVENTS, given.get("events", {}), f"{place}.events"),
        sources=_flags(hooks.SOURCES, given.get("sources", {}), f"{place}.sources"),
        secret=None if secret is None else text(secret, f"{place}.signing_secret"),
    )
    audience.webhooks[hook.id] = hook


def _flags(names: tuple[str, ...], body: Any, place: str) -> dict[str, bool]:
    return hooks.flags(names, {name: bool(value) for name, value in known(body, place, *names).items()})


def _add_member(state: State, audience: Audience, body: Any, place: str) -> None:
    given = known(
        body,
        place,
        "email_address",
        "status",
        "merge_fields",
        "tags",
        "interests",
        "unsubscribed_by",
        "compliance",
        "last_changed",
        "timestamp_opt",
        "ip_opt",
        "language",
        "source",
    )
    address = text(given.get("email_address"), f"{place}.email_address")
    if audience.find_address(address):
        raise UnclearError(f"{place}.email_address: the address is a member already")
    status = choice(given.get("status", "subscribed"), f"{place}.status", STATUSES)
    now = state.clock.now()
    changed = moment(given["last_changed"], f"{place}.last_changed") if "last_changed" in given else now
    opted_in = changed if status == "subscribed" else None
    member = Member(
        web_id=audience.next_web_id(),
        email_address=address,
        id=hashing.subscriber_hash(address),
        status=status,
        values={
            audience.merge_fields[tag].merge_id: value
            for tag, value in mapping(given.get("merge_fields", {}), f"{place}.merge_fields").items()
            if value != "" and tag in audience.merge_fields
        },
        last_changed=changed,
        timestamp_opt=moment(given["timestamp_opt"], place) if "timestamp_opt" in given else opted_in,
        ip_opt=text(given.get("ip_opt", ""), f"{place}.ip_opt"),
        compliance=bool(given.get("compliance", status == "cleaned")),
        language=text(given.get("language", ""), f"{place}.language"),
        source=text(given.get("source", "Import"), f"{place}.source"),
        interests=_interests(audience, given.get("interests", []), f"{place}.interests"),
        unsubscribed_at=changed if status == "unsubscribed" else None,
    )
    for item in rows(given.get("tags", []), f"{place}.tags"):
        member.tags += (_tag(audience, item, changed, f"{place}.tags"),)
    by = given.get("unsubscribed_by", "user" if status == "unsubscribed" else "")
    member.unsubscribed_by = choice(by, f"{place}.unsubscribed_by", ("user", "admin", ""))
    member.unsubscribe_reason = {"user": BY_PERSON, "admin": BY_ADMIN, "": ""}[member.unsubscribed_by]
    audience.add(member)


def _interest(body: Any, place: str) -> Interest:
    """Its id alone, or with the name and the group it has on the forms."""
    given = known({"id": body} if isinstance(body, str) else body, place, "id", "name", "group")
    key = text(given.get("id"), f"{place}.id")
    return Interest(
        id=key,
        name=text(given.get("name", key), f"{place}.name"),
        group=text(given.get("group", "Interests"), f"{place}.group"),
    )


def _interests(audience: Audience, body: Any, place: str) -> tuple[str, ...]:
    return tuple(choice(item, place, tuple(audience.interests)) for item in rows(body, place))


def _tag(audience: Audience, body: Any, changed: int, place: str) -> tuple[Tag, int]:
    """A tag by its name, or an object with the moment it was set."""
    given = known({"name": body} if isinstance(body, str) else body, place, "name", "date_added")
    added = moment(given["date_added"], f"{place}.date_added") if "date_added" in given else changed
    return audience.tag(text(given.get("name"), f"{place}.name")), added


def _generated(body: Any, place: str) -> Iterator[dict[str, Any]]:
    """The members of `generate`; `{}` in a text is their number, counted from 1."""
    if body is None:
        return
    given = known(body, place, "count", "email", "status", "merge_fields", "last_changed")
    email = text(given.get("email", "c{}@inbox.example"), f"{place}.email")
    values = mapping(given.get("merge_fields", {}), f"{place}.merge_fields")
    rest: dict[str, Any] = {name: given[name] for name in ("status", "last_changed") if name in given}
    for number in range(1, whole(given.get("count", 0), f"{place}.count") + 1):
        yield {
            "email_address": email.replace("{}", str(number)),
            "merge_fields": {tag: _numbered(value, number) for tag, value in values.items()},
            **rest,
        }


def _numbered(value: Any, number: int) -> Any:
    return value.replace("{}", str(number)) if isinstance(value, str) else value


def _fault(body: Any, place: str) -> Fault:
    given = known(
        body,
        place,
        "kind",
        "method",
        "path",
        "nth",
        "every",
        "probability",
        "times",
        "when",
        "retry_after",
        "body",
        "seconds",
    )
    nth = given.get("nth", [])
    return Fault(
        kind=choice(str(given.get("kind")), f"{place}.kind", KINDS),
        method=text(given.get("method", ""), f"{place}.method").upper(),
        path=_pattern(given.get("path"), f"{place}.path"),
        nth=frozenset(whole(item, f"{place}.nth") for item in (nth if isinstance(nth, list) else [nth])),
        every=whole(given.get("every", 0), f"{place}.every"),
        probability=_optional(number_of, given.get("probability"), f"{place}.probability"),
        times=_optional(whole, given.get("times"), f"{place}.times"),
        when=choice(given.get("when", "before"), f"{place}.when", ("before", "after")),
        retry_after=_optional(whole, given.get("retry_after"), f"{place}.retry_after"),
        body=given.get("body", True) is not False,
        seconds=number_of(given.get("seconds", 120), f"{place}.seconds"),
    )


def _latency(body: Any, place: str) -> Latency:
    given = known(body, place, "method", "path", "base_ms", "per_member_ms", "jitter_ms")
    return Latency(
        base_ms=number_of(given.get("base_ms", 0), f"{place}.base_ms"),
        per_member_ms=number_of(given.get("per_member_ms", 0), f"{place}.per_member_ms"),
        jitter_ms=number_of(given.get("jitter_ms", 0), f"{place}.jitter_ms"),
        method=text(given.get("method", ""), f"{place}.method").upper(),
        path=_pattern(given.get("path"), f"{place}.path"),
    )


def whole(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UnclearError(f"{place}: a whole number is needed")
    return value


def number_of(value: Any, place: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise UnclearError(f"{place}: a number is needed")
    return float(value)


def _optional(read: Callable[[Any, str], Any], value: Any, place: str) -> Any:
    return None if value is None else read(value, place)


def _pattern(value: Any, place: str) -> re.Pattern[str] | None:
    if value is None:
        return None
    try:
        return re.compile(text(value, place))
    except re.error as error:
        raise UnclearError(f"{place}: not a regular expression: {error}") from None
