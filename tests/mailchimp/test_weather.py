"""Failures on the way: repeated with patience, never more at once than Mailchimp allows, nothing lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nexpura.mailchimp import calls
from nexpura.mailchimp.calls import Call
from nexpura.mailchimp.errors import AccessLost, AudienceNotFound, TryLater
from nexpura.mailchimp.pace import SERVER_LIMIT, Patience
from nexpura.mailchimp.result import Accepted, Deferred

from .audiences import AUDIENCE, joining, numbered
from .conftest import HASTY

pytestmark = pytest.mark.anyio

ALICE = "alice@inbox.example"
FAILURES = ["429", "500", "502", "503", "reset", "truncate", "malformed"]
SHORT_READ = replace(HASTY, read=0.15)


class Pauses:
    """Stands in for sleep and remembers how long it was to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_that_failed_is_sent_again_and_lands_once(emulator, shop, open_client, kind, when):
    key = shop()
    emulator.control("faults", [{"kind": kind, "method": "PUT", "times": 2, "when": when}])

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(joining(1))

    assert isinstance(result, Accepted)
    assert [member["email_address"] for member in emulator.members(AUDIENCE)] == ["c1@inbox.example"]


@pytest.mark.parametrize("kind", [*FAILURES, "403"])
async def test_a_call_that_keeps_failing_is_deferred(emulator, shop, open_client, kind):
    key = shop()
    emulator.control("faults", [{"kind": kind, "method": "PUT", "body": False}])

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(joining(1))

    assert isinstance(result, Deferred)
    assert len([row for row in emulator.log() if row["method"] == "PUT"]) >= HASTY.attempts


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_reading_that_keeps_failing_says_try_later(emulator, shop, open_client, kind):
    key = shop(members=[{"email_address": ALICE}])
    emulator.control("faults", [{"kind": kind}])

    async with open_client(key) as mailchimp:
        with pytest.raises(TryLater):
            await mailchimp.audience(AUDIENCE)
        with pytest.raises(TryLater):
            await anext(mailchimp.members(AUDIENCE))


async def test_mailchimps_retry_after_is_kept(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "429", "times": 1, "retry_after": 7}])
    pauses = Pauses()

    async with open_client(key, sleep=pauses) as mailchimp:
        result = await mailchimp.send(joining(1))

    assert isinstance(result, Accepted)
    assert len(pauses.seconds) == 1
    assert 7 <= pauses.seconds[0] < 7.1


async def test_a_retry_after_beyond_our_patience_is_left_to_the_next_run(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "429", "retry_after": 3600}])
    pauses = Pauses()

    async with open_client(key, sleep=pauses) as mailchimp:
        result = await mailchimp.send(joining(1))

    assert isinstance(result, Deferred)
    assert result.error.retry_after == 3600
    assert pauses.seconds == []


@pytest.mark.parametrize("kind", ["500", "reset", "truncate", "malformed"])
async def test_the_undoing_of_an_opt_out_is_not_repeated_when_its_end_is_unknown(emulator, shop, open_client, kind):
    key = shop(members=[{"email_address": ALICE, "status": "unsubscribed", "unsubscribed_by": "admin"}])
    emulator.control("faults", [{"kind": kind, "method": "PATCH", "times": 1, "when": "after"}])

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE))

        assert isinstance(result, Deferred)
        assert result.error.perhaps_done
        assert mailchimp.requests == 1


async def test_the_undoing_of_an_opt_out_is_repeated_when_it_was_turned_away(emulator, shop, open_client):
    key = shop(members=[{"email_address": ALICE, "status": "unsubscribed", "unsubscribed_by": "admin"}])
    emulator.control("faults", [{"kind": "429", "method": "PATCH", "times": 1}])

    async with open_client(key) as mailchimp:
        result = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE))

    assert isinstance(result, Accepted)
    assert result.member.status == "subscribed"


async def test_a_request_that_timed_out_keeps_its_place(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "hang", "method": "PUT", "times": 1, "seconds": 30}])
    once = replace(SHORT_READ, attempts=1, server_limit=SERVER_LIMIT)

    async with open_client(key, places=2, patience=once) as mailchimp:
        timed_out = await mailchimp.send(joining(1))
        landed = await mailchimp.send(joining(2))

        assert isinstance(timed_out, Deferred)
        assert timed_out.error.perhaps_done
        assert isinstance(landed, Accepted)
        assert mailchimp.unanswered == 1


async def test_a_place_is_free_again_when_mailchimp_must_have_ended_the_call(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "hang", "method": "PUT", "times": 1, "seconds": 30}])
    patience = replace(SHORT_READ, connect=0.2, server_limit=0.2)

    async with open_client(key, places=1, patience=patience) as mailchimp:
        result = await mailchimp.send(joining(1))

        assert isinstance(result, Accepted)
        assert mailchimp.unanswered == 0


async def test_hanging_requests_and_living_ones_together_stay_within_the_places(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "hang", "method": "PUT", "every": 8, "seconds": 0.3}])
    emulator.control("latency", [{"base_ms": 2}])
    patience = replace(SHORT_READ, connect=0.2, server_limit=0.3)

    async with open_client(key, places=3, patience=patience) as mailchimp:
        results = [result async for _, result in mailchimp.send_all(numbered(map(joining, range(1, 31))))]

    assert [type(result) for result in results] == [Accepted] * 30
    assert emulator.metrics()["highest_concurrency"] == 3


async def test_a_key_refused_midway_stops_the_sending_and_settles_what_is_under_way(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "403", "method": "PUT", "nth": list(range(21, 500))}])
    emulator.control("latency", [{"base_ms": 3}])
    taken: list[int] = []
    landed: list[int] = []

    async with open_client(key, places=5) as mailchimp:
        with pytest.raises(AccessLost):
            async for number, result in mailchimp.send_all(_noting(map(joining, range(1, 500)), taken)):
                assert isinstance(result, Accepted)
                landed.append(number)

    assert len(landed) == 20
    assert len(emulator.members(AUDIENCE)) == 20
    assert len(taken) <= 20 + 5 + 4


async def test_an_audience_deleted_midway_stops_the_sending(emulator, shop, open_client):
    key = shop()
    landed = 0

    async with open_client(key) as mailchimp:
        with pytest.raises(AudienceNotFound):
            async for _ in mailchimp.send_all(numbered(map(joining, range(1, 500)))):
                landed += 1
                if landed == 10:
                    emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    assert 10 <= landed < 50


async def test_calls_that_cannot_be_told_any_more_settle_what_is_under_way(emulator, shop, open_client):
    key = shop()
    landed: list[int] = []

    async with open_client(key) as mailchimp:
        with pytest.raises(LookupError, match="the book is gone"):
            async for number, _ in mailchimp.send_all(_breaking_off_after(12)):
                landed.append(number)

    assert sorted(landed) == list(range(1, 13))


async def test_leaving_early_ends_what_is_under_way(emulator, shop, open_client):
    key = shop()
    emulator.control("faults", [{"kind": "hang", "method": "PUT", "nth": [2, 3, 4], "seconds": 30}])
    before = asyncio.all_tasks()

    async with open_client(key, places=4) as mailchimp:
        sending = mailchimp.send_all(numbered(map(joining, range(1, 500))))
        await anext(sending)
        await sending.aclose()

        assert asyncio.all_tasks() == before
        assert mailchimp.unanswered == 3


async def test_nobody_listening_is_a_connection_to_be_tried_again(shop, open_client, unused_port):
    key = shop()

    async with open_client(key, base_url=f"http://127.0.0.1:{unused_port}/3.0") as mailchimp:
        result = await mailchimp.send(calls.resubscribe(AUDIENCE, ALICE))

        assert isinstance(result, Deferred)
        assert not result.error.perhaps_done
        assert mailchimp.requests == HASTY.attempts


def test_pauses_grow_to_a_limit_and_differ():
    patience = Patience(first_pause=1.0, longest_pause=8.0)

    pauses = [[patience.pause(attempt, None) for _ in range(50)] for attempt in range(1, 7)]

    for drawn, whole in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True):
        assert all(whole / 2 <= pause <= whole for pause in drawn)
        assert len(set(drawn)) > 1


@pytest.mark.parametrize("places", [0, -1])
async def test_a_client_needs_a_place(shop, open_client, places):
    with pytest.raises(ValueError, match="place"):
        async with open_client(shop(), places=places):
            pass


async def _noting(jobs: map[Call], taken: list[int]) -> AsyncIterator[tuple[int, Call]]:
    async for number, call in numbered(jobs):
        taken.append(number)
        yield number, call


async def _breaking_off_after(count: int) -> AsyncIterator[tuple[int, Call]]:
    async for job in numbered(map(joining, range(1, count + 1))):
        yield job
    raise LookupError("the book is gone")
