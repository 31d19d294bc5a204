"""Recorded exchanges with Mailchimp, played again: the world is set up, the request sent, the answers compared.

Exchanges that are not followed, because a newer source says otherwise, stand in COVERAGE.md and nowhere else.
"""

import re

import pytest

from . import coverage, likeness, playing, stories, tapes, worlds
from .likeness import Names
from .tapes import TAPES

LIBRARY = tapes.library() if TAPES.is_dir() else ()
NOT_FOLLOWED = coverage.not_followed()
PLAYED = [tape for tape in LIBRARY if tape.id not in NOT_FOLLOWED]
CONTRADICTED = [tape for tape in LIBRARY if tape.id in NOT_FOLLOWED]
STORIES = stories.told_in(PLAYED)

pytestmark = pytest.mark.skipif(
    not LIBRARY, reason=f"NO RECORDINGS: {TAPES} is not there, so the emulator was not held against them"
)


@pytest.mark.parametrize("tape", PLAYED, ids=lambda tape: tape.id)
def test_a_recorded_exchange_comes_out_the_same(server, tape):
    assert not playing.differences(server, tape)


@pytest.mark.parametrize("tape", CONTRADICTED, ids=lambda tape: tape.id)
def test_an_exchange_that_is_not_followed_comes_out_otherwise(server, tape):
    assert playing.differences(server, tape), f"{tape.id} is followed: take it off the list in COVERAGE.md"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story[0].id} and {len(story) - 1} more")
def test_the_recordings_of_one_contact_are_one_story(server, story):
    """Exchange after exchange on one emulator; ids that Mailchimp made up once have to stay what they are."""
    queues, fields, chapters = stories.scenes(story), worlds.fields_in(story), 0
    rows, names, tag_calls = [], Names(), []
    while any(queues):
        scene, fits = stories.next_scene(queues, rows)
        if not (fits and chapters):
            scene.world.audience["merge_fields"] = fields
            server.reset(**scene.world.seed())
            names, chapters = Names(), chapters + 1
            tag_calls = [[tag] for person in scene.world.people for tag in person.known.get("tags", ())]
        if scene.tape.status < 400 and scene.before != stories.NEVER:
            server.control("clock", {"now": scene.before})

        heard = playing.send(server, scene.tape, scene.world)

        assert not likeness.differences(scene.tape, heard, names, tag_calls), scene.tape.id
        rows = server.members(tapes.list_of(scene.tape))
        tag_calls = [stories.tags_set(scene.tape), *tag_calls]
    assert chapters < len(story)


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_has_a_newer_source_against_it(name):
    row = NOT_FOLLOWED[name]
    [tape] = [tape for tape in LIBRARY if tape.id == name]
    others = [other for other in LIBRARY if f"`{other.id}`" in row.source]

    assert row.why
    assert others or re.search(r"`(openapi\.json|API\.md)`", row.source)
    assert all(other.age > tape.age or other.provenance != "recorded" for other in others)
    assert tape.provenance != "recorded" or any(other.age for other in others) or "documented" in row.source
