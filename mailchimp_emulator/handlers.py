"""One function per call of the API: a `Call` in, a `Reply` out, refusals raised as `Problem`."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mailchimp_emulator import asked, bodies, hashing, problems, rules, schema
from mailchimp_emulator.rules import Writer
from mailchimp_emulator.state import Audience, Member, State, User

MEMBER_SCHEMA = "Lists/Members/Instance"


@dataclass(frozen=True, slots=True)
class Operation:
    """A call that came in a batch; its body is as it was sent there, a string of JSON if all is well."""

    batch: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation: the status and the text a direct call would have got."""

    status: int
    text: str
    total_items: int | None = None


Operate = Callable[[Operation], Awaitable[Outcome]]


@dataclass(slots=True)
class Call:
    """A request that has been let in."""

    state: State
    user: User
    writer: Writer
    query: Mapping[str, str]
    body: Any
    keys: Mapping[str, str]  # the named parts of the path
    server_url: str
    operate: Operate  # carries out an operation as the same user

    def audience(self) -> Audience:
        """The audience in the path; that of another account is as unknown as one that was deleted."""
        audience = self.user.account.audiences.get(self.keys["list_id"])
        if audience is None:
            raise problems.not_found()
        return audience

    def member(self) -> tuple[Audience, Member]:
        audience = self.audience()
        member = audience.find(self.keys["member"])
        if member is None:
            raise problems.not_found()
        return audience, member

    def check_required(self) -> bool:
        return not asked.flag(self.query, "skip_merge_validation")


@dataclass(slots=True)
class Reply:
    """What goes out; `body` None is 204.

    `members` is how many members the call dealt with, for latency; `total_items` the size of the collection
    this is a page of.
    """

    body: dict[str, Any] | None
    schema: str = ""
    dashboard: str = ""
    members: int = 1
    total_items: int | None = None


def get_root(call: Call) -> Reply:
    return _fields(call, bodies.root(call.user), "Root")


def get_ping(_call: Call) -> Reply:
    return Reply({"health_status": "Everything's Chimpy!"}, "Ping")


def get_members(call: Call) -> Reply:
    audience = call.audience()
    wanted = asked.member_filter(call.query)
    for interest in sorted(wanted.interests.difference(audience.interests)):
        raise problems.invalid_interest(interest)
    members = audience.selection(wanted, lambda: select(audience, wanted))
    page = asked.page(call.query).of(members)
    with_links = asked.wants_links(call.query, "members")
    body = {
        "members": [bodies.member(audience, member, with_links=with_links) for member in page],
        "list_id": audience.id,
        "total_items": len(members),
        "_links": bodies.member_collection_links(audience),
    }
    reply = _fields(call, body, "Lists/Members/Collection")
    reply.members = len(page)
    return reply


def get_member(call: Call) -> Reply:
    return _member(call, *call.member())


def post_member(call: Call) -> Reply:
    """Add a member. An archived one comes back, if subscribed with a new opt-in; any other that exists is refused."""
    audience = call.audience()
    body = schema.member(call.body, needs=("email_address", "status"))
    member = audience.find_address(body["email_address"])
    if member is None:
        member = rules.create(audience, body, body["status"], call.writer, check_required=call.check_required())
        return _member(call, audience, member)
    if not rules.may_become(member, body["status"]):
        raise problems.compliance_state(body["email_address"])
    if member.status != "archived":
        raise problems.member_exists(body["email_address"])
    rules.update(
        audience,
        member,
        {"merge_fields": {}, **body},
        call.writer,
        check_required=call.check_required(),
        renew_opt_in=body["status"] == "subscribed",
    )
    _set_tags(call, audience, member, body.get("tags", ()), ())
    return _member(call, audience, member)


def put_member(call: Call) -> Reply:
    """Add or update. For a member that exists `status` overwrites and `status_if_new` counts for nothing."""
    audience = call.audience()
    body = schema.member(call.body)
    member = audience.find(call.keys["member"])
    if member is None:
        return _member(call, audience, _put_new(call, audience, body))
    rules.update(
        audience,
        member,
        body,
        call.writer,
        check_required=call.check_required(),
        taken=problems.address_taken,
    )
    return _member(call, audience, member)


def _put_new(call: Call, audience: Audience, body: dict[str, Any]) -> Member:
    """A PUT to an unknown hash takes the identity from the body; the path need not match."""
    if "@" in call.keys["member"]:
        body = {"email_address": call.keys["member"]} | body
    status = body.get("status_if_new") or body.get("status")
    missing = [] if body.get("email_address") else ["email_address"]
    missing += [] if status else ["status_if_new"]
    if missing:
        raise problems.not_validated(problems.required(*missing))
    if audience.find_address(body["email_address"]):
        raise problems.member_exists(body["email_address"])
    return rules.create(audience, body, str(status), call.writer, check_required=call.check_required())


def patch_member(call: Call) -> Reply:
    audience, member = call.member()
    body = schema.member(call.body)
    rules.update(audience, member, body, call.writer, check_required=call.check_required())
    return _member(call, audience, member)


def delete_member(call: Call) -> Reply:
    audience, member = call.member()
    rules.archive(audience, member, call.writer)
    return Reply(None)


def delete_member_permanently(call: Call) -> Reply:
    audience, member = call.member()
    rules.forget(audience, member, call.writer)
    return Reply(None)


def get_member_tags(call: Call) -> Reply:
    audience, member = call.member()
    tags = bodies.member_tags(member)
    path = f"/lists/{audience.id}/members/{member.id}/tags"
    body = {
        "tags": asked.page(call.query).of(tags),
        "total_items": len(tags),
        "_links": [
            bodies.link(audience.account, "self", "GET", path, "Lists/Members/Tags/CollectionResponse"),
            bodies.link(audience.account, "update", "POST", path, "", "Definitions/Lists/Members/Tags/POST"),
        ],
    }
    return _fields(call, body, "Lists/Members/Tags/Collection")


def post_member_tags(call: Call) -> Reply:
    """Add the active, remove the inactive; nothing else is touched, and an empty list changes nothing."""
    audience, member = call.member()
    tags = _tag_changes(schema.an_object(call.body))
    on = [name for name, status in tags.items() if status == "active"]
    off = [name for name, status in tags.items() if status == "inactive"]
    _set_tags(call, audience, member, on, off)
    return Reply(None)


def _set_tags(call: Call, audience: Audience, member: Member, on: Iterable[str], off: Iterable[str]) -> None:
    if rules.set_tags(audience, member, on, off, call.writer):
        audience.touch(member, call.writer.now())
        call.writer.wrote(audience, member)


def _tag_changes(body: Mapping[str, Any]) -> dict[str, str]:
    """The status asked for, by name; of several words about one name the last counts."""
    tags = body.get("tags")
    if tags is None:
        raise problems.not_validated(problems.required("tags"))
    errors = schema.errors_in(body, {"is_syncing": schema.a_boolean})
    if not isinstance(tags, list):
        raise problems.not_validated(*schema.an_array("tags", tags), *errors)
    for number, item in enumerate(tags):
        place = f"tags.item:{number}"
        errors += schema.an_object_there(place, item)
        if isinstance(item, dict):
            errors += schema.a_name(f"{place}.name", item.get("name"))
            errors += schema.tag_status(f"{place}.status", item.get("status"))
    if errors:
        raise problems.not_validated(*errors)
    return {item["name"]: item["status"] for item in tags}


def select(audience: Audience, wanted: asked.MemberFilter) -> list[Member]:
    """The members a listing shows, in order. Without a status filter archived ones are not shown."""
    if wanted.nothing:
        return []
    if wanted.since_last_changed is not None or wanted.sort_field == "last_changed":
        members = audience.changes.after(wanted.since_last_changed)
    else:
        members = audience.in_order_of_arrival()
    chosen = [member for member in members if _wanted(audience, member, wanted)]
    if wanted.sort_field == "timestamp_opt":
        chosen.sort(key=lambda member: member.timestamp_opt or 0)
    elif wanted.sort_field == "timestamp_signup":
        chosen.sort(key=lambda member: member.timestamp_signup or 0)
    elif wanted.sort_field is None and wanted.since_last_changed is not None:
        chosen.sort(key=lambda member: member.web_id)
    return chosen[::-1] if wanted.descending else chosen


def _wanted(audience: Audience, member: Member, wanted: asked.MemberFilter) -> bool:
    if wanted.status is None:
        if member.status == "archived":
            return False
    elif member.status != wanted.status:
        return False
    if wanted.before_last_changed is not None and member.last_changed >= wanted.before_last_changed:
        return False
    if wanted.since_timestamp_opt is not None and (member.timestamp_opt or 0) <= wanted.since_timestamp_opt:
        return False
    if wanted.before_timestamp_opt is not None and (member.timestamp_opt or 0) >= wanted.before_timestamp_opt:
        return False
    if wanted.email_type is not None and member.email_type != wanted.email_type:
        return False
    if wanted.vip_only and not member.vip:
        return False
    if wanted.unsubscribed_since is not None and (member.unsubscribed_at or 0) <= wanted.unsubscribed_since:
        return False
    if wanted.interest_match is not None and not _shares(member, wanted):
        return False
    return wanted.unique_email_id is None or wanted.unique_email_id == bodies.unique_email_id(audience, member)


def _shares(member: Member, wanted: asked.MemberFilter) -> bool:
    """Whether the member has any, all or none of the interests asked for."""
    shared = len(wanted.interests.intersection(member.interests))
    return {"any": shared > 0, "all": shared == len(wanted.interests), "none": not shared}[str(wanted.interest_match)]


def _member(call: Call, audience: Audience, member: Member) -> Reply:
    reply = _fields(call, bodies.member(audience, member), MEMBER_SCHEMA)
    contact = hashing.contact_id(audience.id, member.web_id)
    reply.dashboard = f"https://{audience.account.dc}.admin.mailchimp.com/audience/contact-profile?contact_id={contact}"
    return reply


def _fields(call: Call, body: dict[str, Any], schema_name: str) -> Reply:
    return Reply(asked.only_fields(body, call.query), schema_name, total_items=body.get("total_items"))


Handler = Callable[[Call], Reply | Awaitable[Reply]]
