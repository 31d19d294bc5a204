"""Two who need the same rows at the same moment both come to their end: everybody takes them in one order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from nexpura.integrations import vault
from nexpura.sync import connect, erasures, merge, renames, runs, store
from nexpura.sync.models import Erasure, KnownMember, SyncRun
from nexpura.sync.store.erase import erasing
from nexpura.sync.store.records import fence
from nexpura.tenants import erased
from tests.sync.conftest import AUDIENCE, CLERK, KEY, Shop

ADA, NEW = "ada@inbox.example", "ada.king@post.example"
A_MOMENT = 0.5
"""Seconds in which the other gets to where it has to wait."""
BUSY = 8.0
"""Seconds that a busy run goes on."""


class InTheMiddle:
    """A place at which one stops, once, for the other to begin and get as far as it can."""

    def __init__(self, monkeypatch, module, name: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        function = getattr(module, name)

        def stopping(*args, **kwargs):
            if not self.reached.is_set():
                self.reached.set()
                assert self.go_on.wait(10)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, stopping)


def both(middle: InTheMiddle, one, other) -> list[object]:
    """Do `other` while `one` stands in the middle; returns what each came to, an exception as itself."""
    came_to: list[object] = [None, None]

    def do(place, work):
        try:
            came_to[place] = work()
        except Exception as error:
            came_to[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=(place, work)) for place, work in enumerate((one, other))]
    threads[0].start()
    assert middle.reached.wait(10)
    threads[1].start()
    time.sleep(A_MOMENT)
    middle.go_on.set()
    for thread in threads:
        thread.join(30)
    return came_to


def test_a_shop_connects_while_a_customer_is_being_erased(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA)
    connect.disconnect(shop.tenant, CLERK)

    came_to = both(
        InTheMiddle(monkeypatch, erased, "hold_still"),
        lambda: erasures.erase(shop.tenant, CLERK, ada.pk, "keep"),
        lambda: connect.connect(shop.tenant, CLERK, key_text=KEY, audience_id=AUDIENCE, auto_sync=False),
    )

    assert [type(one) for one in came_to] == [Erasure, connect.Connected]


def test_records_are_merged_while_one_of_them_is_being_erased(shop, monkeypatch):
    ada = in_the_audience(shop)
    twin = shop.consenting("ada@home.example")

    came_to = both(
        InTheMiddle(monkeypatch, erasing, "person_of"),
        lambda: erasures.erase(shop.tenant, CLERK, ada.pk, "keep"),
        lambda: merge.merge(shop.tenant, CLERK, kept_id=twin.pk, other_id=ada.pk),
    )

    assert [type(one) for one in came_to] == [Erasure, merge.Refused]
    assert came_to[1].reason == merge.merging.GONE


@pytest.mark.parametrize("answer", [renames.take_over, renames.keep])
def test_a_changed_address_is_answered_while_the_customer_is_being_erased(shop, monkeypatch, answer):
    ada = in_the_audience(shop)
    shop.person(ADA, "address", new_email=NEW)
    shop.sync()

    came_to = both(
        InTheMiddle(monkeypatch, erasing, "person_of"),
        lambda: erasures.erase(shop.tenant, CLERK, ada.pk, "keep"),
        lambda: answer(shop.tenant, CLERK, ada, NEW),
    )

    assert [type(one) for one in came_to] == [Erasure, renames.Refused]
    assert not KnownMember.objects.exclude(address=NEW).exists()


def test_a_shop_disconnects_while_a_run_finds_that_its_key_cannot_be_opened(shop, monkeypatch):
    shop.audience()
    with transaction.atomic():
        run, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)

    def cannot(*_, **__):
        raise vault.CannotOpen

    monkeypatch.setattr(vault, "unseal", cannot)
    came_to = both(
        InTheMiddle(monkeypatch, vault, "unseal"),
        lambda: store.begin(run.pk),
        lambda: connect.disconnect(shop.tenant, CLERK),
    )

    assert came_to == [store.Over(), None]
    assert SyncRun.objects.get().status == "cancelled"


@contextmanager
def a_busy_run(shop: Shop) -> Iterator[None]:
    """Have the chunks of a run overlap without a gap, as those of a large first sync do. The block has to end first."""
    with transaction.atomic():
        queued, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    run = store.begin(queued.pk)
    assert isinstance(run, store.Begun)
    begun, over = (threading.Event(), threading.Event()), threading.Event()
    begun[1].set()
    until = time.monotonic() + BUSY

    def chunks(mine: int) -> None:
        while not over.is_set() and time.monotonic() < until:
            begun[1 - mine].wait(0.5)  # the other's goes on
            with transaction.atomic():
                fence(run.tenant_id, run.id, run.token)
                begun[1 - mine].clear()
                begun[mine].set()
                begun[1 - mine].wait(0.5)
        connection.close()

    threads = [threading.Thread(target=chunks, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    time.sleep(A_MOMENT)
    try:
        yield
        assert time.monotonic() < until - 2
    finally:
        over.set()
        for thread in threads:
            thread.join(10)


def test_a_customer_is_erased_while_the_chunks_of_a_busy_run_leave_no_gap(shop):
    ada = in_the_audience(shop)

    with a_busy_run(shop):
        erasure = erasures.erase(shop.tenant, CLERK, ada.pk, "keep")

    assert erasure.number == 1


def test_records_are_merged_while_the_chunks_of_a_busy_run_leave_no_gap(shop):
    ada = in_the_audience(shop)
    twin = shop.consenting("ada@home.example")

    with a_busy_run(shop):
        answer = merge.merge(shop.tenant, CLERK, kept_id=twin.pk, other_id=ada.pk)

    assert isinstance(answer, merge.Merged)


def in_the_audience(shop: Shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    return ada
