"""Merges at the same moment as other work: nothing is lost, nobody is merged twice, and the list keeps up (B4)."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from nexpura.customers import importing, ledger, merging, sharing
from nexpura.customers.merging import Merged
from nexpura.customers.models import ConsentEvent, Customer, SharedAddress
from tests.customers.asking import TILL, customer, event, written

ADA = "ada@inbox.example"
OLD = "ada@post.example"


@pytest.fixture
def ada(committed, tenant) -> Customer:
    return customer(tenant, first_name="Ada", last_name="King", email=ADA, external_id="J-1")


@pytest.fixture
def twin(tenant, ada) -> Customer:
    return customer(tenant, first_name="Augusta", last_name="King", email=ADA, external_id="J-2")


def listed(tenant) -> list[str]:
    return list(SharedAddress.objects.filter(tenant=tenant).order_by("address").values_list("address", flat=True))


def at_once(*works) -> list[object]:
    """Do these in threads of their own, begun together; returns what each answered."""
    answers: list[object] = [None] * len(works)
    together = threading.Barrier(len(works))

    def do(place, work):
        try:
            together.wait(10)
            answers[place] = work()
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_of_two_opposite_merges_at_once_one_is_done_and_one_is_told(tenant, ada, twin):
    def merge(kept, other):
        return lambda: merging.merge(tenant, TILL, kept_id=kept.pk, other_id=other.pk)

    answers = at_once(merge(ada, twin), merge(twin, ada))

    assert sorted(type(answer).__name__ for answer in answers) == ["Merged", "Refused"]
    assert Customer.objects.filter(tenant=tenant).count() == 1


def test_two_merges_into_one_another_at_once_lose_nobodys_history(tenant, ada, twin):
    third = customer(tenant, first_name="Ada", email=ADA)
    for one in (ada, twin, third):
        event(one, "granted", "2026-03-01")

    answers = at_once(
        lambda: merging.merge(tenant, TILL, kept_id=ada.pk, other_id=twin.pk),
        lambda: merging.merge(tenant, TILL, kept_id=third.pk, other_id=ada.pk),
    )

    left = Customer.objects.get(tenant=tenant, pk__in=[third.pk])
    merged_away = [answer for answer in answers if isinstance(answer, Merged)]
    assert len(merged_away) in (1, 2)
    assert ConsentEvent.objects.filter(customer=left).count() == 1 + len(merged_away)
    assert ConsentEvent.objects.count() == 3


def test_a_no_said_while_the_records_are_being_merged_is_recorded_on_the_one_that_stays(tenant, ada, twin):
    said = []

    def clerk():
        try:
            said.append(ledger.record(twin, TILL, granted=False, source="profile"))
        finally:
            connection.close()

    thread = threading.Thread(target=clerk)
    with transaction.atomic():
        merging.merge(tenant, TILL, kept_id=ada.pk, other_id=twin.pk)
        thread.start()
        thread.join(0.5)  # waits for the merge
        assert said == []
    thread.join(10)

    ada.refresh_from_db()
    assert (said[0].customer_id, ada.consent_state) == (ada.pk, "withdrawn")


def test_a_merge_during_an_import_waits_for_it(tenant, ada, twin, tmp_path):
    order = []
    begun, go = threading.Event(), threading.Event()
    file = written(tmp_path, *(f"N-{n},Nell,Number {n},,,,,,," for n in range(importing.BATCH + 1)), "J-2,,,,,yes,,,,")

    def progress(rows):
        order.append("import")
        begun.set()
        assert go.wait(10)

    def take():
        try:
            importing.import_customers(tenant, TILL, file, progress=progress)
        finally:
            connection.close()

    def merge():
        try:
            order.append(type(merging.merge(tenant, TILL, kept_id=ada.pk, other_id=twin.pk)).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=take), threading.Thread(target=merge)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.5)
    go.set()
    for thread in threads:
        thread.join(30)

    assert order == ["import", "import", "Merged"]
    ada.refresh_from_db()
    assert ada.consent_state == "granted"


def test_a_holder_who_comes_while_another_one_leaves_stays_listed(committed, tenant):
    ada, twin = customer(tenant, email=ADA), customer(tenant, email=ADA)
    coming = threading.Thread(target=lambda: (leave(), connection.close()))

    def leave():
        Customer.objects.filter(pk=ada.pk).update(email="")

    with transaction.atomic():
        customer(tenant, email=ADA)
        coming.start()
        coming.join(0.5)  # waits for us at the listed address
    coming.join(10)

    assert Customer.objects.filter(tenant=tenant, address=ADA).count() == 2
    assert listed(tenant) == [ADA]
    assert twin.pk


def test_whoever_counts_the_holders_lists_what_two_moments_missed(committed, tenant):
    def add():
        with transaction.atomic():
            customer(tenant, email=ADA)
            assert together.wait(10) is not None

    together = threading.Barrier(2)
    at_once(add, add)
    assert listed(tenant) == []

    sharing.notice(tenant.pk, [ADA, OLD, ""])

    assert listed(tenant) == [ADA]
