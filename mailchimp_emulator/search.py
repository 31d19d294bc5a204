"""Finding members, tags, and what a member did. The long searches let other requests in between."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mailchimp_emulator import asked, bodies, clock, hashing, problems, schema
from mailchimp_emulator.handlers import Call, Reply
from mailchimp_emulator.state import Audience, AuditRow, Member, State

MOST_FOUND = 30
MOST_EVENTS = 50
_ACTIONS = schema.one_of("abuse", "bounce", "click", "open", "sent", "unsub", "ecomm")
_AT_A_TIME = 5_000
T = TypeVar("T")


@dataclass(slots=True)
class Found:
    """One part of the answer: the first members found, and how many there are in all."""

    members: list[tuple[Audience, Member]] = field(default_factory=list)
    total: int = 0

    def add(self, audience: Audience, member: Member) -> None:
        self.total += 1
        if len(self.members) < MOST_FOUND:
            self.members.append((audience, member))

    def body(self) -> dict[str, Any]:
        return {
            "members": [bodies.member(audience, member) for audience, member in self.members],
            "total_items": self.total,
        }


async def search_members(call: Call) -> Reply:
    """Members of one audience or of all, by address and name; who matches exactly is not told as partial again."""
    query = call.query.get("query", "").strip().lower()
    if not query:
        raise problems.not_validated(problems.required("query"))
    exact, partial = Found(), Found()
    for audience in _audiences(call):
        for members in _in_chunks(audience.in_order_of_arrival()):
            await asyncio.sleep(0)
            for member in members:
                texts = _texts(audience, member)
                if query in texts:
                    exact.add(audience, member)
                elif any(query in text for text in texts):
                    partial.add(audience, member)
    body = {
        "exact_matches": exact.body(),
        "full_search": partial.body(),
        "_links": [bodies.link(call.user.account, "self", "GET", "/search-members", "SearchMembers/Response")],
    }
    shown = len(exact.members) + len(partial.members)
    return Reply(asked.only_fields(body, call.query), "SearchMembers/Collection", members=shown)


def search_tags(call: Call) -> Reply:
    """The audience's tags whose name begins so, whether or not a member has them; all, without a name."""
    beginning = call.query.get("name", "").lower()
    tags = [tag for tag in call.audience().tags.values() if tag.name.lower().startswith(beginning)]
    body = {"tags": [{"id": tag.id, "name": tag.name} for tag in tags], "total_items": len(tags)}
    return Reply(asked.only_fields(body, call.query), "Lists/TagSearch/Collection")


async def get_activity(call: Call) -> Reply:
    """The member's last 50 events, the newest first. Without campaigns there are only leaving and bouncing."""
    audience, member = call.member()
    wanted = _wanted_actions(call.query)
    past = await _past(call.state, audience, member)
    events = [event for event in map(_event, past) if event and (not wanted or event["action"] in wanted)]
    events = events[:MOST_EVENTS]
    path = f"/lists/{audience.id}/members/{member.id}"
    body = {
        "activity": events,
        "email_id": member.id,
        "contact_id": hashing.contact_id(audience.id, member.web_id),
        "list_id": audience.id,
        "total_items": len(events),
        "_links": [
            bodies.link(audience.account, "self", "GET", f"{path}/activity", "Lists/Members/Activity/Response"),
            bodies.link(audience.account, "parent", "GET", path, "Lists/Members/Response"),
        ],
    }
    return Reply(asked.only_fields(body, call.query), "Lists/Members/Activity/Collection")


def _audiences(call: Call) -> list[Audience]:
    """The audience asked for, or all; that of another account is as unknown as one that was deleted."""
    audiences = call.user.account.audiences
    list_id = call.query.get("list_id")
    if not list_id:
        return list(audiences.values())
    if list_id not in audiences:
        raise problems.not_found()
    return [audiences[list_id]]


def _texts(audience: Audience, member: Member) -> tuple[str, ...]:
    """What a member is found by; an archived one by nothing."""
    if member.status == "archived":
        return ()
    address = member.email_address.lower()
    first, last = _value(audience, member, "FNAME"), _value(audience, member, "LNAME")
    return (address, first, last, f"{first} {last}") if first or last else (address,)


def _value(audience: Audience, member: Member, tag: str) -> str:
    merge_field = audience.merge_fields.get(tag)
    return str(member.values.get(merge_field.merge_id, "")).lower() if merge_field else ""


async def _past(state: State, audience: Audience, member: Member) -> list[AuditRow]:
    """What happened to the member since they came, the newest first; their address may have been another then."""
    address = member.email_address
    past: list[AuditRow] = []
    for rows in _in_chunks(reversed(state.audit)):
        await asyncio.sleep(0)
        for row in rows:
            if row.list_id != audience.id:
                continue
            if row.event == "address" and row.new == address:
                address = row.old
            elif row.email_address == address:
                past.append(row)
                if row.event == "created":
                    return past
    return past


def _event(row: AuditRow) -> dict[str, str] | None:
    if row.event != "status" or row.new not in ("unsubscribed", "cleaned"):
        return None
    complained = row.request == "member_event complaint"
    action = "bounce" if row.new == "cleaned" else "abuse" if complained else "unsub"
    return {"action": action, "timestamp": clock.written(row.time)}


def _wanted_actions(query: Mapping[str, str]) -> list[str]:
    """The actions asked for; all, if none is named."""
    actions = [name.strip() for name in query["action"].split(",")] if query.get("action") else []
    errors = schema.array_of(_ACTIONS)("action", actions)
    if errors:
        raise problems.not_validated(*errors)
    return actions


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(itertools.islice(remaining, _AT_A_TIME)):
        yield chunk
