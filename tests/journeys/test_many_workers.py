"""Several workers, shops that share a Mailchimp user, and people at pages: Mailchimp never sees an eleventh request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection

from nexpura.sync import connect, runs
from nexpura.sync.models import SyncRun
from tests.journeys.test_worker_kills import wait_for_end, worker
from tests.sync.conftest import CLERK, KEY, Shop

pytestmark = pytest.mark.processes

OTHER_KEY = "fedcba9876543210fedcba9876543210-us14"
AUDIENCES = ("abc123def4", "def456abc1")
PEOPLE = 120
WORKERS = 3


@pytest.fixture
def shops(committed, tenant, other_tenant, mailchimp) -> list[Shop]:
    """Two shops with a book each, and two audiences of one Mailchimp user with two keys; not connected yet."""
    mailchimp.control(
        "reset",
        {
            "accounts": [
                {
                    "dc": "us14",
                    "users": [{"name": "agency", "role": "owner", "keys": [KEY, OTHER_KEY]}],
                    "lists": [{"id": audience, "name": "Newsletter"} for audience in AUDIENCES],
                }
            ]
        },
    )
    shops = [Shop(tenant, mailchimp), Shop(other_tenant, mailchimp)]
    for shop in shops:
        for number in range(PEOPLE):
            shop.consenting(f"p{number:03}@inbox.example", first=f"P{number}")
    return shops


@pytest.mark.parametrize("second_key", [KEY, OTHER_KEY], ids=["one key", "two keys of one user"])
def test_shops_that_share_a_mailchimp_user_share_its_ten_requests(shops, second_key, tmp_path):
    keys = (KEY, second_key)
    for shop, key, audience in zip(shops, keys, AUDIENCES, strict=True):
        shop.connect(key, audience)
    slowly = {"base_ms": 60}
    shops[0].emulator.control("latency", [{"method": "GET", **slowly}, {**slowly, "per_member_ms": 25}])

    with ExitStack() as together:
        for _ in range(WORKERS):
            together.enter_context(worker(tmp_path))
        for shop, key in zip(shops, keys, strict=True):
            together.enter_context(somebody_at_a_page(lambda shop=shop, key=key: page(shop, key)))
        ended = [wait_for_end(run) for run in [runs.start(shop.tenant, CLERK) for shop in shops]]

    assert [(run.status, run.synced, run.faulty) for run in ended] == [("succeeded", PEOPLE, False)] * 2
    assert not overlap(*ended)
    (most,) = shops[0].emulator.metrics()["highest_concurrency_of"].values()
    assert most <= 10


def overlap(one: SyncRun, other: SyncRun) -> bool:
    """Whether both were under way at the same moment. Each begins anew only after it was let go."""
    return one.started_at < other.finished_at and other.started_at < one.finished_at


def page(shop: Shop, key: str) -> None:
    """Put the key in again, which asks Mailchimp whose it is and for the audience."""
    connect.replace_key(shop.tenant, CLERK, key)


@contextmanager
def somebody_at_a_page(act: Callable[[], object]) -> Iterator[None]:
    """Have somebody do so over and over again, as a web process would, for the length of the block."""
    enough = threading.Event()
    failures: list[BaseException] = []

    def again_and_again() -> None:
        try:
            while not enough.is_set():
                act()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    somebody = threading.Thread(target=again_and_again)
    somebody.start()
    try:
        yield
    finally:
        enough.set()
        somebody.join(60)
        assert not failures
