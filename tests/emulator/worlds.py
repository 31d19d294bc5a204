"""The world in which an exchange must have come about, worked out from its request and its answer.

A member who is answered must have been there, in the state that the request does not name; a refusal tells what stood
in the way. Each function below reads one kind of evidence.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailchimp_emulator import hashing

from . import tapes
from .tapes import DC, KEY, MEMBER_PATH, Json, Tape, addresses, could_make, list_of, makes_a_member, members_of, sent_by

_LIST_PATH = re.compile(r"/lists/(?P<list_id>[^/]+).*")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who must have been a member. `known` is what the exchange tells of them, `supposed` what it does not."""

    email_address: str
    known: Json = field(default_factory=dict)
    supposed: Json = field(default_factory=dict)

    @property
    def id(self) -> str:
        return hashing.subscriber_hash(self.email_address)

    def seed(self) -> Json:
        return {"email_address": self.email_address, **self.supposed, **self.known}


@dataclass(slots=True)
class World:
    """What is there just before an exchange."""

    path: str
    now: str = "2021-11-23T22:52:00+00:00"
    key: str = KEY
    crowd: int = 0  # requests of the same user that are under way
    user: Json = field(default_factory=dict)
    account: Json = field(default_factory=dict)
    audience: Json = field(default_factory=dict)  # the one of the path
    audiences: list[Json] | None = None  # all of them, if the exchange is about that
    people: list[Person] = field(default_factory=list)
    batches: list[Json] = field(default_factory=list)  # as they are told when they are finished
    url_answers: int | None = None  # the status that a URL of ours in the request answers with
    absent: set[str] = field(default_factory=set)  # hashes of those who must not be members

    def seed(self) -> Json:
        """The body of `reset` that makes this world."""
        audience = {"members": [person.seed() for person in self.people], **self.audience}
        lists = [audience] if self.audiences is None else self.audiences
        return {
            "now": self.now,
            "accounts": [{"users": [{"keys": [KEY], **self.user}], "lists": lists, **self.account}],
        }


def world_before(tape: Tape) -> World:
    """The world in which this exchange must have come about, as far as it tells."""
    world = World(path=tape.path, now=_moment(tape))
    for read in EVIDENCE:
        read(tape, world)
    return world


def _moment(tape: Tape) -> str:
    """When the answer was given: no sooner than anything it tells."""
    told = [
        item[name]
        for item in (tape.body, *members_of(tape.body))
        for name in ("last_changed", "submitted_at")
        if item.get(name)
    ]
    return max(told, default=f"{max(tape.age, '2021-11-23')}T22:52:00+00:00")


def _door(tape: Tape, world: World) -> None:
    """What a refusal of the caller tells: a missing or wrong key, a disabled user, too many at once."""
    if tape.problem == "API Key Missing":
        world.key = ""
    elif tape.problem == "API Key Invalid":
        world.key = f"{'0' * 32}-{DC}"
    elif tape.problem == "User Disabled":
        world.user["disabled"] = True
    elif tape.problem == "Too Many Requests":
        world.crowd = 10


def _account(tape: Tape, world: World) -> None:
    """The root of the API tells who asks, for which account, and how many subscribers it has."""
    if tape.path != "/" or tape.status != 200:
        return
    body = tape.body
    world.account = {"name": body["account_name"], "account_id": body["account_id"]}
    world.user = {name: body[name] for name in ("role", "login_id") if name in body}
    world.audience["generate"] = {"count": body["total_subscribers"]}


def _login(tape: Tape, world: World) -> None:
    """The login host tells the same of the owner of a token."""
    if "accountname" not in tape.body:
        return
    body = tape.body
    world.account = {"name": body["accountname"], "account_id": str(body["user_id"])}
    world.user = {"role": body["role"], "login_id": str(body["login"]["login_id"])}


def _audience(tape: Tape, world: World) -> None:
    """The audience named in the path."""
    if match := _LIST_PATH.fullmatch(tape.path):
        world.audience["id"] = match["list_id"]


def _members(tape: Tape, world: World) -> None:
    """Who must have been there, and who must not, for a call about one member to come out so."""
    match = MEMBER_PATH.fullmatch(tape.path)
    if not match or (tape.method == "GET" and not match["hash"]):
        return
    person = _person_in(tape, world, match["hash"])
    sent = tape.asked.get("email_address") or person
    if "id" in tape.body:
        _answered(tape, world, person)
    elif tape.status == 404:
        world.absent.add(match["hash"])
    elif "is already a list member" in tape.body.get("detail", ""):
        world.people = [Person(sent)]
        world.absent = {match["hash"]} if match["hash"] else set()
    elif tape.problem == "Member In Compliance State":
        world.people = [Person(sent, {"status": "unsubscribed", "unsubscribed_by": "user"})]
    elif tape.problem == "Method Not Allowed":
        world.people = [Person(person, {"status": "archived"})] if match["hash"] else []
    elif match["tags"] and tape.method == "GET":
        world.people = [Person(person, {"tags": [_tag(tag) for tag in tape.body["tags"]]})]
    elif tape.status < 300 or tape.method == "PATCH" or (tape.method == "PUT" and not could_make(tape)):
        world.people = [Person(person)]
    if "is already in this list" in str(tape.body.get("errors")):
        world.people = [Person(person), Person(sent)]


def _person_in(tape: Tape, world: World, key: str | None) -> str:
    """The address of the member in the path. If no tape tells it, somebody else stands in, in the path too."""
    if key is None:
        return ""
    if key.lower() not in addresses() and tape.status != 404:
        stand_in = f"{key[:12]}@inbox.example".lower()
        world.path = world.path.replace(key, hashing.subscriber_hash(stand_in))
        return stand_in
    return addresses().get(key.lower(), "")


def _answered(tape: Tape, world: World, person: str) -> None:
    """The member of the answer: nobody, if the answer made them; else as they are, but for what was sent."""
    body, sent = tape.body, sent_by(tape)
    if makes_a_member(tape):
        world.absent.add(body["id"])
        return
    known = {"merge_fields": {tag: value for tag, value in body["merge_fields"].items() if tag not in _values(sent)}}
    seeded = ("timestamp_opt", "ip_opt", "language", "source")
    known |= {name: body[name] for name in seeded if name in body and name not in sent}
    if "tags" in body:
        known["tags"] = [tag["name"] for tag in body["tags"]]
    if tape.method == "GET":
        known["last_changed"] = body["last_changed"]
    if "interests" in body:
        known["interests"] = [
            key for key, on in body["interests"].items() if on and key not in sent.get("interests", {})
        ]
    if "status" in sent:
        supposed = ("unsubscribed", "admin") if body["status"] == "subscribed" else ("subscribed", "")
        world.people = [Person(person, known, {"status": supposed[0], "unsubscribed_by": supposed[1]})]
    else:
        by = {"unsubscribed_by": "admin"} if "by admin" in body.get("unsubscribe_reason", "") else {}
        world.people = [Person(person, {**known, "status": body["status"], **by})]


def _values(sent: Json) -> Json:
    found = sent.get("merge_fields")
    return found if isinstance(found, dict) else {}


def _tag(tag: Json) -> Json:
    return {"name": tag["name"], "date_added": tag["date_added"]}


def _unwelcome(tape: Tape, world: World) -> None:
    """Addresses that were refused for what they had done before."""
    errors = tape.body.get("errors", ())
    told = [tape.body.get("detail", ""), *(str(error.get("error", "")) for error in errors)]
    for text in told:
        if "was permanently deleted" in text:
            world.audience.setdefault("forgotten", []).append(text.split(" ")[0])
        if "signed up to a lot of lists" in text:
            world.account.setdefault("throttled", []).append(text.split(" ")[0])


COMPLAINTS = {
    "Please enter a number": {"type": "number"},
    "Please enter the date": {"type": "date"},
    "Please enter a value": {"type": "text", "required": True},
    "Please enter a month (01-12) and a day (01-31)": {"type": "birthday"},
}


def _fields_of_members(tape: Tape, world: World) -> None:
    """The audience's merge fields, from a member's values or from complaints about them."""
    found: dict[str, Json] = {}
    for error in tape.body.get("errors", ()):
        choices = re.fullmatch(r"Value must be one of: (.*) \(not .*\)", error.get("message", ""))
        if choices:
            found[error["field"]] = {"type": "dropdown", "options": {"choices": choices[1].split(", ")}}
        elif error.get("message") in COMPLAINTS:
            found[error["field"]] = COMPLAINTS[error["message"]]
    for member in (tape.body, *members_of(tape.body)):
        for tag, value in member.get("merge_fields", {}).items() if "email_address" in member else ():
            found[tag] = found.get(tag, {}) | _field_holding(tape, tag, value)
    if found:
        world.audience["merge_fields"] = [{"tag": tag, **definition} for tag, definition in found.items()]


def _field_holding(tape: Tape, tag: str, value: Any) -> Json:
    """A field of the type its value shows; an empty one as another tape of the same audience has it, or a text."""
    if isinstance(value, dict):
        return {"type": "address"}
    if isinstance(value, int | float):
        return {"type": "number"}
    told = fields_of(list_of(tape)).get(tag, {"type": "text"})
    return {"type": "text"} if value and told["type"] in ("number", "address") else told


@functools.cache
def fields_of(list_id: str) -> Mapping[str, Json]:
    """The fields that recorded collections of this audience tell, by tag."""
    return {
        item["tag"]: {name: item[name] for name in ("type", "options")}
        for tape in tapes.library()
        if tape.path == f"/lists/{list_id}/merge-fields" and tape.method == "GET"
        for item in tape.body["merge_fields"]
    }


def fields_in(several: Iterable[Tape]) -> list[Json]:
    """The merge fields of the audience that all these exchanges are about."""
    found: dict[str, Json] = {}
    for tape in several:
        world = World("")
        _fields_of_members(tape, world)
        for item in world.audience.get("merge_fields", ()):
            found.setdefault(item["tag"], item)
    return list(found.values())


def _interests(tape: Tape, world: World) -> None:
    """Interests that are answered, or that were sent and not complained of, are the audience's."""
    if "Invalid interest ID" in json.dumps(tape.answer):
        return
    members = (tape.body, tape.asked, *members_of(tape.body), *members_of(tape.asked))
    known = {key: True for member in members for key in member.get("interests") or ()}
    if known:
        world.audience["interests"] = list(known)


def _permissions(tape: Tape, world: World) -> None:
    if found := tape.body.get("marketing_permissions"):
        world.audience["marketing_permissions"] = [
            {"id": item["marketing_permission_id"], "text": item["text"]} for item in found
        ]


def _listing(tape: Tape, world: World) -> None:
    """Members of a page, with others before and behind them so that the whole is as large as was told."""
    if "members" not in tape.body:
        return
    offset, found = int(tape.query.get("offset", 0)), tape.body["members"]
    changed = {"last_changed": found[0]["last_changed"]} if "last_changed" in found[0] else {}
    behind = tape.body["total_items"] - offset - len(found)
    world.people = [
        *_others(offset, "before", changed),
        *(Person(member["email_address"], _seeded(member)) for member in found),
        *_others(behind, "behind", changed),
    ]
    if tape.query.get("sort_dir") == "DESC":
        world.people.reverse()


def _others(count: int, name: str, known: Json) -> Iterator[Person]:
    return (Person(f"{name}-{number}@inbox.example", dict(known)) for number in range(count))


def _seeded(member: Json) -> Json:
    names = ("status", "merge_fields", "timestamp_opt", "ip_opt", "last_changed", "language", "source")
    seed = {name: member[name] for name in names if name in member}
    if "interests" in member:
        seed["interests"] = [key for key, on in member["interests"].items() if on]
    return seed


def _bulk(tape: Tape, world: World) -> None:
    """Of a call with many members: who was there, and which fields were required of those who were refused."""
    if tape.method != "POST" or not re.fullmatch("/lists/[^/]+", tape.path):
        return
    errors = tape.body.get("errors", ())
    there = [*tape.body.get("updated_members", ())]
    there += [error for error in errors if "is already a list member" in error["error"]]
    world.people = [Person(item["email_address"]) for item in there]
    taken = members_of(tape.body)
    shown = {tag for member in taken for tag, value in member.get("merge_fields", {}).items() if value}
    if any("merge fields were invalid" in error["error"] for error in errors):
        shown = shown or {"MUST"}
    elif not tape.body.get("error_count"):
        return
    world.audience["merge_fields"] = [{"tag": tag, "required": True} for tag in sorted(shown)]


def _merge_fields(tape: Tape, world: World) -> None:
    """Merge fields that are listed, in the order of their ids, with others in between and behind."""
    found = {item["merge_id"]: item for item in tape.body.get("merge_fields", ()) if "merge_id" in item}
    if "merge_id" in tape.body and tape.method == "GET":
        found = {tape.body["merge_id"]: tape.body}
    elif match := re.fullmatch(r"/lists/[^/]+/merge-fields/(\d+)", tape.path):
        found = {int(match[1]): {"tag": "HERE", **tape.asked}}
    if not found:
        return
    names = ("tag", "name", "type", "required", "default_value", "public", "options", "help_text")
    total = max(tape.body.get("total_items", 0), *found)
    world.audience["merge_fields"] = [
        {name: found[number][name] for name in names if name in found[number]}
        if number in found
        else {"tag": f"ZZ{number}"}
        for number in range(1, total + 1)
    ]


def _audiences(tape: Tape, world: World) -> None:
    """Audiences that are listed, with others behind them."""
    if "lists" not in tape.body:
        return
    found = [_listed(item) for item in tape.body["lists"]]
    behind = tape.body["total_items"] - len(found)
    world.audiences = [*found, *({"name": f"Another {number}"} for number in range(behind))]


def _listed(item: Json) -> Json:
    stats = item["stats"]
    fields = [{"tag": f"FIELD{number}"} for number in range(stats["merge_field_count"])]
    return {
        "id": item["id"],
        "name": item["name"],
        "double_optin": item.get("double_optin", False),
        "marketing_permissions": [{"text": "Email"}] if item.get("marketing_permissions") else [],
        "merge_fields": fields,
        "generate": {"count": stats["member_count"]},
        "members": [
            {"email_address": f"{status}-{number}@inbox.example", "status": status}
            for status, name in (("unsubscribed", "unsubscribe_count"), ("cleaned", "cleaned_count"))
            for number in range(stats[name])
        ],
    }


def _new_audience(tape: Tape, world: World) -> None:
    """Whether the account may make audiences, if it tried to."""
    if (tape.method, tape.path) == ("POST", "/lists"):
        world.account["may_create"] = tape.status != 403


def _webhooks(tape: Tape, world: World) -> None:
    """Webhooks that are listed; what a URL answered that was not good enough."""
    if hooks := tape.body.get("webhooks"):
        world.audience["webhooks"] = [{"url": hook["url"]} for hook in hooks]
    if code := re.search(r"couldn't verify the URL is working\..* HTTP Code: (\d+)", json.dumps(tape.answer)):
        world.url_answers = int(code[1])


def _batches(tape: Tape, world: World) -> None:
    """Batches that are told of, each handed in and finished when it says."""
    if tape.method == "GET" and tape.path.startswith("/batches"):
        world.batches = tape.body.get("batches", [tape.body])
        world.path = "/batches" if "batches" in tape.body else "/batches/{batch_id}"


Evidence = Callable[[Tape, World], None]
EVIDENCE: tuple[Evidence, ...] = (
    _door,
    _account,
    _login,
    _audience,
    _members,
    _unwelcome,
    _fields_of_members,
    _interests,
    _permissions,
    _listing,
    _bulk,
    _merge_fields,
    _audiences,
    _new_audience,
    _webhooks,
    _batches,
)
