"""Whether an answer is the recorded one.

Everything is compared as it stands: status, keys and their order, values, headers. What cannot be, because Mailchimp
made it up or because newer recordings say otherwise, is listed here by name, with how it is compared instead and why.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailchimp_emulator import clock

from . import tapes
from .calling import Heard
from .tapes import Json, Tape

CALLER = "127.0.0.1"
HEADERS = ("content-type", "vary", "link", "allow", "content-length")
_LINK = re.compile(r'<([^>]*)>; rel="(\w+)"')


class Names:
    """Which of the emulator's ids stands for which recorded one; each for one only, for as long as this lives."""

    def __init__(self) -> None:
        self._ours: dict[object, object] = {}
        self._theirs: dict[object, object] = {}

    def agree(self, theirs: object, ours: object) -> bool:
        return self._ours.setdefault(theirs, ours) == ours and self._theirs.setdefault(ours, theirs) == theirs

    def stands(self, ours: object, theirs: object) -> bool:
        """Whether that is known already."""
        return self._theirs.get(ours) == theirs

    def translated(self, text: str) -> str:
        """A recorded text with the emulator's ids in it."""
        for theirs, ours in self._ours.items():
            text = text.replace(str(theirs), str(ours))
        return text


@dataclass(slots=True)
class Comparison:
    """What is on a tape beside what came now, and what is different."""

    tape: Tape
    request_id: str = ""
    names: Names = field(default_factory=Names)
    tag_calls: Sequence[Collection[str]] | None = None  # in a story, what each call set, the newest first
    described: bool = True  # whether every key of it is held against Mailchimp's description as well
    differences: list[str] = field(default_factory=list)

    def differ(self, place: str, why: str) -> None:
        self.differences.append(f"{place or 'the body'}: {why}")


def differences(
    tape: Tape, heard: Heard, names: Names | None = None, tag_calls: Sequence[Collection[str]] | None = None
) -> list[str]:
    """What is not as recorded; empty if nothing is."""
    it = Comparison(tape, heard.headers.get("x-request-id", ""), names or Names(), tag_calls)
    if heard.status != tape.status:
        it.differ("status", f"{heard.status}, recorded {tape.status} ({heard.body})")
    else:
        _compare(it, "", tape.answer, heard.body)
        _compare_headers(it, heard)
    return it.differences


def differences_between(tape: Tape, recorded: Any, ours: Any) -> list[str]:
    """The same for what is no answer of the API: a delivery to a webhook, a line of a batch's results."""
    it = Comparison(tape, described=False)
    _compare(it, "", recorded, ours)
    return it.differences


@dataclass(frozen=True, slots=True)
class Otherwise:
    """How something is compared that is not compared as it stands, and why."""

    place: str  # regular expression of the place: keys joined by dots
    same: Callable[[Comparison, Any, Any], bool]
    why: str
    only: Callable[[Tape, Any], bool] = lambda _tape, _recorded: True

    def covers(self, tape: Tape, place: str, recorded: Any) -> bool:
        return re.fullmatch(self.place, place) is not None and self.only(tape, recorded)


def _shaped(pattern: str) -> Callable[[Comparison, Any, Any], bool]:
    def same(it: Comparison, recorded: Any, ours: Any) -> bool:
        return re.fullmatch(pattern, str(ours)) is not None and it.names.agree(recorded, ours)

    return same


def _of_the_same_kind(_it: Comparison, recorded: Any, ours: Any) -> bool:
    if isinstance(recorded, dict):
        return list(recorded) == list(ours) and all(_of_the_same_kind(_it, recorded[key], ours[key]) for key in ours)
    numbers = (int, float)
    return isinstance(ours, numbers if isinstance(recorded, numbers) else type(recorded))


def _newest_type(it: Comparison, recorded: Any, ours: Any) -> bool:
    return ours == type_of_problems() and recorded in types_of_problems()


def _the_request_id(it: Comparison, _recorded: Any, ours: Any) -> bool:
    return bool(ours) and ours == it.request_id


def _the_callers(it: Comparison, recorded: Any, ours: Any) -> bool:
    if ours == CALLER and recorded not in it.tape.asked.values():
        return (tapes.makes_a_member(it.tape) or it.names.stands(ours, recorded)) and it.names.agree(recorded, ours)
    return bool(ours == recorded)


def _empty(_it: Comparison, recorded: Any, ours: Any) -> bool:
    return list(ours)[: len(recorded)] == list(recorded) and not any(ours.values())


def _a_guess(_tape: Tape, recorded: Any) -> bool:
    return any(recorded.values())


def _the_moment(_it: Comparison, recorded: Any, ours: Any) -> bool:
    return bool(ours == clock.written(clock.read(recorded)))


def _with_a_blank(_tape: Tape, recorded: Any) -> bool:
    return " " in recorded


def _of_a_batch(tape: Tape, recorded: Any) -> bool:
    return tape.path.startswith("/batches") and bool(recorded)


def _of_a_problem(_tape: Tape, recorded: Any) -> bool:
    return recorded in types_of_problems()


def _an_archive(it: Comparison, _recorded: Any, ours: Any) -> bool:
    return re.fullmatch(rf"http.*/{it.names.translated(it.tape.body['id'])}-response\.tar\.gz\?.*", ours) is not None


def _tags(it: Comparison, recorded: list[Json], ours: list[Json]) -> bool:
    """The same tags in the same order; those that one call set have none among themselves."""
    theirs, now = ([tag["name"] for tag in tags] for tags in (recorded, ours))
    if it.tag_calls is None:
        return now == theirs
    calls = [next(number for number, call in enumerate(it.tag_calls) if name in call) for name in now]
    return set(now) == set(theirs) and calls == sorted(calls)


_ACCOUNT = "email|first_name|last_name|username|avatar_url|member_since|pricing_plan_type|first_payment"
_ACCOUNT += "|account_timezone|account_industry|contact|last_login"
_AUDIENCE = "contact|permission_reminder|campaign_defaults|date_created|subscribe_url_short|subscribe_url_long"
_AUDIENCE += "|beamer_address|visibility|stats.last_sub_date|stats.last_unsub_date"
OTHERWISE = (
    Otherwise(r"(.*\.)?unique_email_id", _shaped("[0-9a-f]{10}"), "made up, one for each address"),
    Otherwise(r"(.*\.)?contact_id", _shaped("[0-9a-f]{32}"), "made up, one for each contact"),
    Otherwise(r"(.*\.)?web_id", _shaped("[1-9][0-9]*"), "made up, one for each contact and audience"),
    Otherwise(r"data\.id", _shaped("[0-9a-f]{10}"), "the made-up id of an address"),
    Otherwise(r"data\.merges\.GROUPINGS\.id", _shaped("[1-9][0-9]*"), "made up, one for each group of interests"),
    Otherwise(
        r"data\.merges\.GROUPINGS\.unique_id", _shaped("[0-9a-f]{10}"), "made up, one for each group of interests"
    ),
    Otherwise("id", _shaped("[0-9a-f]{10}"), "made up, one for each batch", _of_a_batch),
    Otherwise("response_body_url", _an_archive, "another for each look, on another host", _of_a_batch),
    Otherwise(r"(.*\.)?tags\.id", _shaped("[1-9][0-9]*"), "made up, one for each tag of an audience"),
    Otherwise("instance", _the_request_id, "another for each request, and empty before 2020; it is the X-Request-Id"),
    Otherwise(
        r"(.*\.)?type",
        _newest_type,
        "the list of errors moved in 2016 and 2021; its last address counts",
        _of_a_problem,
    ),
    Otherwise(r"(.*\.)?ip_opt", _the_callers, "unless it is sent it is the caller's, and here the caller is another"),
    Otherwise(r"(.*\.)?location", _empty, "guessed from the IP address, if Mailchimp knows where that is", _a_guess),
    Otherwise(r"(.*\.)?timestamp_opt", _the_moment, "written with a blank and no zone until 2015", _with_a_blank),
    Otherwise(_ACCOUNT, _of_the_same_kind, "what the account happened to be"),
    Otherwise(r"login\.(email|login_name|login_email)", _of_the_same_kind, "what the account happened to be"),
    Otherwise(rf"lists\.({_AUDIENCE})", _of_the_same_kind, "what the audience happened to be"),
    Otherwise(r"lists\.stats\.(avg_sub_rate|member_count_since_send)", _of_the_same_kind, "history that no call tells"),
)
# Keys that today's answers have and these recordings, though whole, have not.
ADDED = {
    r"fired_at": "left out by those who put deliveries into their tests",
    r"lists\.contact": "taken out by the project that recorded the collections of 2020 to 2022",
}
# Keys of old recordings that today's answers do not have, with a newer recording without them.
GONE = {
    "industry_stats": "account/root-2020",
}


def _compare(it: Comparison, place: str, recorded: Any, ours: Any) -> None:
    known = next((item for item in OTHERWISE if item.covers(it.tape, place, recorded)), None)
    if known:
        if not known.same(it, recorded, ours):
            it.differ(place, f"{ours!r} cannot stand for {recorded!r} ({known.why})")
    elif isinstance(recorded, dict) and isinstance(ours, dict):
        _compare_objects(it, place, recorded, ours)
    elif isinstance(recorded, list) and isinstance(ours, list):
        _compare_lists(it, place, recorded, ours)
    elif isinstance(recorded, str) and isinstance(ours, str):
        _compare_texts(it, place, it.names.translated(recorded), ours)
    elif type(recorded) is not type(ours) or recorded != ours:
        it.differ(place, f"{ours!r}, recorded {recorded!r}")


def _compare_objects(it: Comparison, place: str, recorded: Json, ours: Json) -> None:
    shared = [key for key in recorded if key in ours]
    if shared != [key for key in ours if key in recorded] and _order_is_known(it.tape):
        it.differ(place, f"the keys come as {list(ours)}, recorded {list(recorded)}")
    for key in recorded.keys() - ours.keys():
        if not _may_be_gone(recorded, key):
            it.differ(_below(place, key), "is missing")
    for key in ours.keys() - recorded.keys():
        if not _may_be_more(it, place, key):
            it.differ(_below(place, key), f"is not on the tape: {ours[key]!r}")
    for key in shared:
        _compare(it, _below(place, key), recorded[key], ours[key])


def _compare_lists(it: Comparison, place: str, recorded: list[Any], ours: list[Any]) -> None:
    """Item by item. Of a list that was cut the first ones are on the tape."""
    if place == "tags" or place.endswith(".tags"):
        if not _tags(it, recorded, ours):
            it.differ(place, f"{ours}, recorded {recorded}")
        ours = sorted(ours, key=lambda tag: [item["name"] for item in recorded].index(tag["name"]))
    length = len(recorded)
    if (whole := it.tape.kept(place)) is not None:
        length = min(whole, int(it.tape.query.get("count", 10)))
    more_is_fine = it.tape.partial or it.tape.lost(place)
    if len(ours) < length or (len(ours) > length and not more_is_fine):
        it.differ(place, f"{len(ours)} items, recorded {length}")
    for before, now in zip(recorded, ours, strict=False):
        _compare(it, place, before, now)


def _compare_texts(it: Comparison, place: str, recorded: str, ours: str) -> None:
    """Of an answer that is on the tape in part, a text may be there in part too."""
    if ours != recorded and not (it.tape.partial and ours.startswith(recorded)):
        it.differ(place, f"{ours!r}, recorded {recorded!r}")


def _order_is_known(tape: Tape) -> bool:
    """Whether the keys stand as Mailchimp sent them: not where authors wrote them, or two of them disagree."""
    others = [other for other in tapes.library() if other.path == tape.path and other.method == tape.method]
    orders = {tuple(item) for other in others if isinstance(other.answer, list) for item in other.answer}
    return tape.provenance != "test-double" and len({frozenset(order) for order in orders}) == len(orders)


def _may_be_gone(recorded: Json, key: str) -> bool:
    if key == "type" and recorded[key] in types_of_problems()[:-1]:
        return lost_their_type(recorded["title"])
    return key in GONE


def _may_be_more(it: Comparison, place: str, key: str) -> bool:
    """A key that the tape lacks: cut off, not wanted by who put it there, or younger than the tape."""
    if not it.tape.whole or it.tape.lost(place.rpartition(".")[2]):
        return True
    if key == "_links":
        return "_links" in it.tape.trimmed or ("inner _links" in it.tape.trimmed and place != "")
    if any(re.fullmatch(known, _below(place, key)) for known in ADDED):
        return True
    younger = first_seen().get(key, "") > it.tape.age
    return it.tape.status < 400 and (
        younger or not it.tape.age
    )  # what is described may be younger than an undated paste


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _compare_headers(it: Comparison, heard: Heard) -> None:
    recorded = {name.lower(): value for name, value in it.tape.headers.items()}
    for name in HEADERS:
        was, now = recorded.get(name), heard.headers.get(name)
        if name == "link":
            _compare_links(it, dict(_links(was)), dict(_links(now)), heard.body)
        elif was is None:
            if now is not None and recorded and it.tape.whole and name in ("vary", "allow"):
                it.differ(name, f"{now!r} is not on the tape")
        elif now != was and not _seen_later(it.tape, name, now):
            it.differ(name, f"{now!r}, recorded {was!r}")


def _compare_links(it: Comparison, recorded: dict[str, str], ours: dict[str, str], body: Any) -> None:
    """The schema as recorded, or as recorded later; the dashboard as recorded last."""
    schema, schema_now = recorded.get("describedBy"), ours.get("describedBy")
    if schema and schema_now != schema and not _seen_later(it.tape, "link", schema_now):
        it.differ("link", f"described by {schema_now}, recorded {schema}")
    if "dashboard" in ours:
        if ours["dashboard"] != _dashboard(body):
            it.differ("link", f"the dashboard is {ours['dashboard']}")
    elif "dashboard" in recorded:
        it.differ("link", "no dashboard")


def _dashboard(body: Json) -> str:
    """The page of a contact, as on the newest tape that has one."""
    tape = max(
        (tape for tape in tapes.library() if "dashboard" in tape.headers.get("Link", "")), key=lambda tape: tape.age
    )
    address = dict(_links(tape.headers["Link"]))["dashboard"]
    for name in ("contact_id", "web_id"):
        address = address.replace(str(tape.body[name]), str(body[name]))
    return address


def _links(header: str | None) -> Iterator[tuple[str, str]]:
    return ((rel, address) for address, rel in _LINK.findall(header or ""))


def _seen_later(tape: Tape, name: str, value: str | None) -> bool:
    """Whether newer recordings of answers of this kind have this header so."""
    later = [
        {key.lower(): text for key, text in other.headers.items()}
        for other in tapes.library()
        if other.headers and other.age > tape.age and _kind(other.status) == _kind(tape.status)
    ]
    if name == "link":
        return any(dict(_links(headers.get("link"))).get("describedBy") == value for headers in later)
    return any(headers.get(name) == value for headers in later)


def _kind(status: int) -> int:
    return min(status, 400)


@functools.cache
def first_seen() -> dict[str, str]:
    """The day each key was first recorded."""
    found: dict[str, str] = {}
    for tape in tapes.everything():
        trimmed = ["_links"] if any("_links" in text for text in tape.trimmed) else []
        for key in (*_keys(tape.answer), *trimmed):
            if tape.age:
                found[key] = min(tape.age, found.get(key, tape.age))
    return found


@functools.cache
def types_of_problems() -> tuple[str, ...]:
    """Every `type` that was recorded, each once, the latest last."""
    dated = sorted((tape.age, tape.body["type"]) for tape in tapes.library() if tape.problem and "type" in tape.body)
    return tuple(reversed(dict.fromkeys(kind for _, kind in reversed(dated))))


def type_of_problems() -> str:
    return types_of_problems()[-1]


@functools.cache
def lost_their_type(title: str) -> bool:
    """Whether a problem of this title was recorded whole and without a `type`."""
    return any(tape.problem == title and tape.whole and "type" not in tape.body for tape in tapes.library())


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(item)
