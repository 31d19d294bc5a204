"""What is due for many shops at once, and whose turn it is in the queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.integrations.models import Integration
from nexpura.sync import queue, runs
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.sync.store import due
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent, Tenant
from tests.sync.conftest import CLERK

pytestmark = pytest.mark.django_db

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def connected(number: int, *, auto_sync: bool = True, status: str = "connected") -> Tenant:
    """A shop that is due a minute before NOW."""
    tenant = Tenant.objects.create(slug=f"shop-{number}", name=f"Shop {number}")
    config = {"data_centre": "us14", "audience_id": f"a{number}", "login_id": f"l{number}", "auto_sync": auto_sync}
    Integration.objects.create(
        tenant=tenant,
        kind="mailchimp",
        status=status,
        config=config,
        config_encrypted=None if status == "disconnected" else b"sealed",
        next_sync_at=NOW - timedelta(minutes=1),
    )
    KnownAudience.objects.create(tenant=tenant, data_centre="us14", audience_id=f"a{number}", name="Audience")
    return tenant


def jobs() -> list[tuple[str, int, int]]:
    """Queue, priority and run of every job, in the order in which they are taken from one queue."""
    rows = ProcrastinateJob.objects.order_by("-priority", "id")
    return [(row.queue_name, row.priority, row.args["run_id"]) for row in rows]


def test_all_who_are_due_are_started_however_many(monkeypatch):
    monkeypatch.setattr(due, "SOME", 3)
    shops = [connected(number) for number in range(7)]

    started = runs.start_due(NOW)

    made = list(SyncRun.objects.order_by("tenant_id"))
    assert started == 7
    assert [run.tenant_id for run in made] == [shop.pk for shop in shops]
    assert {(run.trigger, run.status, run.past_brake) for run in made} == {("schedule", "queued", False)}
    assert sorted(run_id for _, _, run_id in jobs()) == sorted(run.pk for run in made)
    assert AuditEvent.objects.filter(action="mailchimp.sync_started", actor_kind="system").count() == 7
    assert all(one.next_sync_at > NOW for one in Integration.objects.all())


def test_whoever_is_started_is_not_started_again():
    connected(1)

    assert (runs.start_due(NOW), runs.start_due(NOW)) == (1, 0)


def test_a_shop_whose_sync_is_active_gets_no_second_one_and_its_next_time_all_the_same():
    shop = connected(1)
    runs.start(shop, CLERK)

    started = runs.start_due(NOW)

    assert (started, SyncRun.objects.count(), len(jobs())) == (0, 1, 1)
    assert Integration.objects.get().next_sync_at > NOW


@pytest.mark.parametrize(("auto_sync", "status"), [(False, "connected"), (True, "disconnected")])
def test_a_shop_that_wants_no_schedule_any_more_is_not_due_again(auto_sync, status):
    connected(1, auto_sync=auto_sync, status=status)

    assert runs.start_due(NOW) == 0
    assert Integration.objects.get().next_sync_at is None


def test_whoever_presses_the_button_overtakes_the_schedule():
    shops = [connected(number) for number in range(3)]
    runs.start_due(NOW)
    clicked = runs.start(connected(3), CLERK)

    runs.start(shops[2], CLERK)

    waiting = SyncRun.objects.get(tenant=shops[2])
    assert [run_id for _, _, run_id in jobs()][:2] == [waiting.pk, clicked.pk]
    assert SyncRun.objects.count() == 4


def test_a_large_shop_waits_in_a_queue_of_its_own(monkeypatch):
    monkeypatch.setattr(due, "LARGE", 2)
    small, large = connected(1), connected(2)
    for shop, customers in ((small, 2), (large, 3)):
        for number in range(customers):
            shop.customers.create(first_name=f"P{number}")

    runs.start_due(NOW)
    runs.start(large, Actor.system())

    assert {(SyncRun.objects.get(pk=run_id).tenant_id, name) for name, _, run_id in jobs()} == {
        (small.pk, queue.RUNS),
        (large.pk, queue.LARGE_RUNS),
    }


def test_runs_whose_jobs_wait_are_not_taken_for_stranded():
    for number in range(3):
        connected(number)
    runs.start_due(NOW)
    lost = ProcrastinateJob.objects.order_by("id").values_list("args__run_id", flat=True)[1]
    forget_job(lost)

    stranded = due.stranded(datetime.now(UTC) + timedelta(minutes=1))
    revived = runs.revive(datetime.now(UTC) + timedelta(minutes=10))

    assert [run.pk for run in stranded] == [lost]
    assert revived == 1
    assert len(jobs()) == 3


def forget_job(run_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs WHERE args->>'run_id' = %s", [str(run_id)])
