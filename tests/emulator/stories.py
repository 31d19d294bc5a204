"""What befell one contact, told by all recordings of it in turn, on one emulator.

In which order the exchanges of several files took place is known by halves: within a file as they stand there,
between files by what the answers say of the contact's last change. An exchange without an answer stands before the
next one of its file that has one. Where two could come next, it is the one that fits what the emulator holds; where
none fits, because exchanges in between were not recorded, a new chapter begins with the world set up anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from mailchimp_emulator import hashing

from . import tapes, worlds
from .tapes import Json, Tape
from .worlds import World

NEVER = "9"
_FIT = ("status", "unsubscribed_by", "last_changed", "timestamp_opt")


@dataclass(frozen=True, slots=True)
class Scene:
    """One exchange in a story and the span of time it must lie in."""

    tape: Tape
    world: World
    after: str
    before: str

    def moment(self, *, fits: bool) -> str:
        """When to play it: refusals as early as they fit, all else when its effect is first told."""
        return self.after if fits and self.tape.status >= 400 else self.before

    def fits(self, rows: Iterable[Json]) -> bool:
        """Whether the emulator's members are as they must have been."""
        members = {row["id"]: row for row in rows}
        return not self.world.absent & members.keys() and all(
            person.id in members and _agree(person.known, members[person.id]) for person in self.world.people
        )


def _agree(known: Json, row: Json) -> bool:
    values = known.get("merge_fields", {})
    return (
        all(row[name] == known[name] for name in _FIT if name in known)
        and all(row["merge_fields"].get(tag, "") == value for tag, value in values.items())
        and set(row["tags"]) == set(known.get("tags", row["tags"]))
    )


def tags_set(tape: Tape) -> list[str]:
    """The tags that a call gives to a contact."""
    if not tape.path.endswith("/tags") or tape.status >= 400:
        return []
    return [tag["name"] for tag in tape.asked.get("tags", ()) if tag["status"] == "active"]


def told_in(library: Iterable[Tape]) -> tuple[tuple[Tape, ...], ...]:
    """The recordings of each contact that has several, in the order of the files."""
    told = [tape for tape in library if tape.provenance == "recorded" and tapes.about_one_member(tape)]
    contacts = _contacts(told)
    by_contact = sorted(told, key=lambda tape: _contact(tape, contacts))
    found = (tuple(group) for _, group in groupby(by_contact, key=lambda tape: _contact(tape, contacts)))
    return tuple(story for story in found if len(story) > 1)


def _contact(tape: Tape, contacts: dict[str, str]) -> tuple[str, str, str]:
    return (tape.age, tapes.list_of(tape), contacts[_hashes(tape)[0]])


def _hashes(tape: Tape) -> list[str]:
    """The subscriber hashes of the contact: of the path or the address sent, and of the answer after a rename."""
    parts = tape.path.split("/")
    first = parts[4].lower() if len(parts) > 4 else hashing.subscriber_hash(tape.asked["email_address"])
    return [first, *([tape.body["id"]] if "id" in tape.body else [])]


def _contacts(told: Iterable[Tape]) -> dict[str, str]:
    """One name for all hashes that a contact had."""
    names: dict[str, str] = {}
    for tape in told:
        hashes = _hashes(tape)
        name = names.get(hashes[0], hashes[0])
        for key in hashes:
            old = names.get(key, key)
            names |= {other: name for other, its in names.items() if its == old} | {key: name}
    return names


def scenes(story: Sequence[Tape]) -> list[list[Scene]]:
    """The scenes of a story, a list for each file."""
    return [_in_file(list(group)) for _, group in groupby(story, key=lambda tape: tape.file)]


def _in_file(told: list[Tape]) -> list[Scene]:
    moments = [tape.body.get("last_changed", "") for tape in told]
    return [
        Scene(
            tape,
            worlds.world_before(tape),
            after=moment or max((earlier for earlier in moments[:place] if earlier), default=""),
            before=moment or next((later for later in moments[place:] if later), NEVER),
        )
        for place, (tape, moment) in enumerate(zip(told, moments, strict=True))
    ]


def next_scene(queues: list[list[Scene]], rows: Sequence[Json]) -> tuple[Scene, bool]:
    """Take the next scene from its file; and whether it fits what is there."""
    heads = [(queue[0], queue[0].fits(rows)) for queue in queues if queue]
    scene, fits = min(heads, key=lambda head: (head[0].moment(fits=head[1]), not head[1], head[0].tape.status < 400))
    next(queue for queue in queues if queue and queue[0] is scene).pop(0)
    return scene, fits
