"""What the emulator holds: accounts with users and keys, audiences with members. No HTTP, no rules.

Made for a million members: they have slots, ids are computed, and the order by `last_changed` is kept as
writes come in, so a question about recent changes looks only at recent changes.
"""

import asyncio
import itertools
import secrets
import zlib
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from mailchimp_emulator import hashing
from mailchimp_emulator.background import Background
from mailchimp_emulator.clock import Clock
from mailchimp_emulator.deliveries import Outbox
from mailchimp_emulator.hooks import Webhook

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
LOG_LENGTH = 100_000
MERGE_FIELD_LIMIT = 30
_KEPT_SELECTIONS = 4
_LONG_BODY = 1_000
_DEFLATED = 0x78  # how deflated data begins, and JSON never does


@dataclass(slots=True)
class MergeField:
    """A typed field of an audience. Its tag may change, its id never does and is never given again."""

    merge_id: int
    tag: str
    name: str
    type: str
    required: bool = False
    default_value: str = ""
    public: bool = True
    display_order: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    help_text: str = ""


@dataclass(slots=True)
class Tag:
    """A label; it belongs to the audience, so its id outlives its removal from a member."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Interest:
    """A choice that members have in one of the audience's groups."""

    id: str
    name: str
    group: str


@dataclass(slots=True, eq=False)
class Member:
    """One address in one audience. `values`, `permissions` and `interests` hold only what was set."""

    web_id: int
    email_address: str
    id: str
    status: str
    values: dict[int, Any]  # of merge fields, by merge id: those of a field that was deleted are never seen again
    last_changed: int
    timestamp_opt: int | None = None
    timestamp_signup: int | None = None
    ip_opt: str = ""
    ip_signup: str = ""
    email_type: str = "html"
    language: str = ""
    vip: bool = False
    location: tuple[float, float] = (0, 0)  # latitude, longitude
    source: str = "API - Generic"
    tags: tuple[tuple[Tag, int], ...] = ()  # with the moment each was set, newest call first
    permissions: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    unsubscribed_at: int | None = None
    unsubscribed_by: str = (
        ""  # "user" or "admin"; kept while archived or pending, for it decides who may bring them back
    )
    unsubscribe_reason: str = ""
    compliance: bool = False
    place: int = 0  # of the newest entry in the audience's order of changes


class Audience:
    """Mailchimp's list of people, with the ways to find a member and the order of changes."""

    def __init__(self, list_id: str, name: str, account: "Account", *, web_id: int, created_at: int) -> None:
        self.id = list_id
        self.name = name
        self.account = account
        self.web_id = web_id
        self.created_at = created_at
        self.double_optin = False
        self.settings: dict[str, Any] = {}  # what its maker said of it, in place of what is usual here
        self.permissions: dict[str, str] = {}  # marketing permissions: id -> text
        self.interests: dict[str, Interest] = {}
        self.merge_fields: dict[str, MergeField] = {}  # by tag, the oldest first
        self.merge_field_limit = MERGE_FIELD_LIMIT
        self.next_merge_id = 1
        self.tags: dict[str, Tag] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.forgotten: set[str] = set()
        self.members: dict[str, Member] = {}
        self.counts = dict.fromkeys(STATUSES, 0)
        self.confirmation_mails = 0
        self.last_sub_at: int | None = None
        self.last_unsub_at: int | None = None
        self.changes = Changes()
        self.version = 0
        self._arrivals: list[Member | None] = []
        self._first_web_id = 400_000_000 + web_id % 1000 * 100_000
        self._selections: dict[object, list[Member]] = {}

    def next_web_id(self) -> int:
        return self._first_web_id + len(self._arrivals)

    def add(self, member: Member) -> None:
        """Take in a member made with `next_web_id`; its address must be free."""
        if member.id in self.members:
            raise ValueError("the address is a member already")
        self.members[member.id] = member
        self._arrivals.append(member)
        self.counts[member.status] += 1
        self.touch(member, member.last_changed)

    def remove(self, member: Member) -> None:
        del self.members[member.id]
        self._arrivals[member.web_id - self._first_web_id] = None
        self.counts[member.status] -= 1
        self.changes.forget(member)
        self._moved_on()

    def touch(self, member: Member, now: int) -> None:
        """Note that the member was changed at this moment."""
        member.last_changed = now
        self.changes.note(member)
        self._moved_on()

    def set_status(self, member: Member, status: str) -> None:
        self.counts[member.status] -= 1
        self.counts[status] += 1
        member.status = status

    def rename(self, member: Member, address: str) -> None:
        del self.members[member.id]
        member.email_address = address
        member.id = hashing.subscriber_hash(address)
        self.members[member.id] = member

    def find(self, key: str) -> Member | None:
        """By subscriber hash in any case, by plain address, or by contact id."""
        if "@" in key:
            return self.find_address(key)
        key = key.lower()
        return self.members.get(key) or self._by_contact_id(key)

    def find_address(self, address: str) -> Member | None:
        return self.members.get(hashing.subscriber_hash(address))

    def tag(self, name: str) -> Tag:
        """The audience's tag of this name, made if it is new."""
        if name not in self.tags:
            self.tags[name] = Tag(self.web_id * 1000 + len(self.tags) * 4 + 4, name)
        return self.tags[name]

    def add_field(self, field: MergeField) -> None:
        """Take in a merge field made with `next_merge_id`; its tag must be free."""
        self.merge_fields[field.tag] = field
        self.next_merge_id = field.merge_id + 1

    def retag(self, field: MergeField, tag: str) -> None:
        """Give the field another, free tag; it keeps its place and what members have in it."""
        field.tag = tag
        self.merge_fields = {item.tag: item for item in self.merge_fields.values()}

    def tagged(self, member: Member) -> dict[str, Any]:
        """What the member has in every merge field, by tag; "" where nothing was set."""
        return {tag: member.values.get(item.merge_id, "") for tag, item in self.merge_fields.items()}

    def in_order_of_arrival(self) -> Iterator[Member]:
        return (member for member in self._arrivals if member is not None)

    def selection(self, key: object, select: Callable[[], list[Member]]) -> list[Member]:
        """The answer to a question about the members, kept until one changes, so paging is cheap."""
        if key not in self._selections:
            if len(self._selections) >= _KEPT_SELECTIONS:
                self._selections.clear()
            self._selections[key] = select()
        return self._selections[key]

    def _by_contact_id(self, key: str) -> Member | None:
        try:
            number = hashing.web_id_of(key) - self._first_web_id
        except ValueError:
            return None
        if not 0 <= number < len(self._arrivals):
            return None
        member = self._arrivals[number]
        return member if member and hashing.contact_id(self.id, member.web_id) == key else None

    def _moved_on(self) -> None:
        self.version += 1
        self._selections.clear()


class Changes:
    """Members in the order of their last change. Superseded entries stay until there are too many."""

    def __init__(self) -> None:
        self._moments = array("q")
        self._places = array("q")
        self._members: list[Member | None] = []
        self._numbers = itertools.count(1)
        self._superseded = 0

    def note(self, member: Member) -> None:
        """Put the member behind all others that changed at or before its `last_changed`."""
        self._superseded += member.place != 0
        member.place = next(self._numbers)
        position = len(self._moments)
        if position and self._moments[-1] > member.last_changed:
            position = bisect_right(self._moments, member.last_changed)
        self._moments.insert(position, member.last_changed)
        self._places.insert(position, member.place)
        self._members.insert(position, member)
        if self._superseded > len(self._moments) // 2 + 1000:
            self._compact()

    def forget(self, member: Member) -> None:
        member.place = -1
        self._superseded += 1

    def after(self, moment: float | None) -> Iterator[Member]:
        """Members changed later than this moment (all, if None), the oldest change first."""
        start = 0 if moment is None else bisect_right(self._moments, moment)
        for position in range(start, len(self._moments)):
            member = self._members[position]
            if member is not None and member.place == self._places[position]:
                yield member

    def _compact(self) -> None:
        live = list(self.after(None))
        self._moments = array("q", (member.last_changed for member in live))
        self._places = array("q", (member.place for member in live))
        self._members = list(live)
        self._superseded = 0


@dataclass(slots=True, eq=False)
class User:
    """A person with keys to one account; Mailchimp counts simultaneous requests by `login_id`."""

    name: str
    role: str
    login_id: str
    account: "Account"
    keys: list[str] = field(default_factory=list)
    disabled: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """Many calls handed in at once, and what has become of them so far."""

    id: str
    operations: list[dict[str, Any]]  # until they have been carried out
    submitted_at: int
    status: str = "pending"
    total_operations: int = 0
    finished_operations: int = 0
    errored_operations: int = 0
    completed_at: int | None = None
    archive: bytes = b""  # the results, once it is finished
    deleted: bool = False


@dataclass(slots=True, eq=False)
class Account:
    name: str
    account_id: str
    dc: str
    created_at: int
    users: list[User] = field(default_factory=list)
    audiences: dict[str, Audience] = field(default_factory=dict)
    throttled: set[str] = field(default_factory=set)
    may_create: bool = False
    batches: dict[str, Batch] = field(default_factory=dict)
    batch_turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by the one batch that runs


@dataclass(slots=True)
class LogRow:
    """One request to the API, as `GET log` tells it."""

    number: int
    time: float
    user: str
    concurrency: int
    method: str
    path: str
    query: str
    call: str = ""
    sent: bytes = b""  # the body as JSON, deflated if it is long: of a million members in bulk it is most of the log
    status: int | None = None  # None until answered, and if the caller hung up or was cut off before that
    writes: int = 0
    fault: str | None = None
    batch: str = ""  # the id of the batch it came in; "" for a request of its own

    def keep(self, body: bytes) -> None:
        """Remember the body, which must be JSON."""
        self.sent = zlib.compress(body, 1) if len(body) > _LONG_BODY else body

    @property
    def body(self) -> Any:
        if not self.sent:
            return None
        return orjson.loads(zlib.decompress(self.sent) if self.sent[0] == _DEFLATED else self.sent)

    def told(self) -> dict[str, Any]:
        """The row with its body, as plain values."""
        row = {name: getattr(self, name) for name in self.__slots__ if name != "sent"}
        return row | {"body": self.body}


@dataclass(slots=True)
class AuditRow:
    """One change of one member, with the number of the request in the log (or the control call)."""

    time: int
    list_id: str
    email_address: str
    event: str  # created, status, field, address, tags or deleted
    field: str
    old: Any
    new: Any  # of a member that was created the status, merge fields and tags, as JSON: there may be a million
    request: int | str

    def told(self) -> dict[str, Any]:
        """The row as plain values."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return row | {"new": orjson.loads(self.new)} if isinstance(self.new, bytes) else row


class State:
    """Everything between two resets."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accounts: list[Account] = []
        self.users_by_key: dict[str, User] = {}
        self.open_requests: dict[str, int] = {}
        self.highest_concurrency: dict[str, int] = {}
        self.calls: dict[str, dict[str, int]] = {}
        self.requests = 0
        self.operations = 0  # of the requests those that came in batches
        self.writes = 0
        self.log: deque[LogRow] = deque(maxlen=LOG_LENGTH)
        self.audit: list[AuditRow] = []
        self.audience_numbers = itertools.count(1)
        self.background = Background()
        self.archive_key = secrets.token_bytes(32)
        self.outbox = Outbox(clock, self.background)

    def audiences(self) -> Iterator[Audience]:
        for account in self.accounts:
            yield from account.audiences.values()

    def audience(self, list_id: str) -> Audience | None:
        """The audience of this id, whichever account has it."""
        return next((audience for audience in self.audiences() if audience.id == list_id), None)

    def delete_audience(self, audience: Audience) -> None:
        """Forget it, and tell its webhooks nothing more."""
        del audience.account.audiences[audience.id]
        for hook in audience.webhooks.values():
            self.outbox.drop(hook)

    def arrive(self, login_id: str) -> int:
        """Count a request that came in; the number of this user's open requests, itself included."""
        count = self.open_requests.get(login_id, 0) + 1
        self.open_requests[login_id] = count
        self.highest_concurrency[login_id] = max(count, self.highest_concurrency.get(login_id, 0))
        return count

    def leave(self, login_id: str) -> None:
        self.open_requests[login_id] -= 1
