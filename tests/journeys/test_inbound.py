"""Mailchimp tells the product as it is run: a web process that answers, a worker that looks (B3)."""

from __future__ import annotations

import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from mailchimp_emulator import deliveries
from nexpura.customers.models import Customer
from nexpura.sync import runs
from nexpura.sync.models import AddressToLookAt, Webhook
from tests.sync.conftest import AUDIENCE, CLERK, Shop
from tests.sync.doorstep import until

pytestmark = pytest.mark.processes

PEOPLE = 40


@pytest.fixture
def shop(installation, monkeypatch, settings, tenant, mailchimp) -> Shop:
    """A shop at work, told by Mailchimp; everything in processes of its own."""
    monkeypatch.setenv("NEXPURA_PUBLIC_URL", installation.url)
    settings.NEXPURA_PUBLIC_URL = installation.url
    shop = Shop(tenant, mailchimp)
    for number in range(PEOPLE):
        shop.consenting(f"p{number:02}@inbox.example")
    installation.start("web", "worker")
    shop.audience()
    runs.start(tenant, CLERK)
    until(lambda: Webhook.objects.filter(state="listening").exists() and not runs_are_active(shop))
    return shop


def runs_are_active(shop: Shop) -> bool:
    return shop.tenant.sync_runs.filter(status__in=("queued", "running")).exists()


def withdrawn() -> int:
    return Customer.objects.filter(consent_state="withdrawn").count()


def test_an_unsubscribe_reaches_the_book_within_seconds_without_a_sync(shop):
    began = time.monotonic()

    shop.person("p07@inbox.example", "unsubscribe")
    until(lambda: withdrawn() == 1)

    assert time.monotonic() - began < 10
    assert Customer.objects.get(consent_state="withdrawn").email == "p07@inbox.example"
    assert shop.tenant.sync_runs.count() == 1


def test_forty_people_at_once_are_answered_within_a_second_each_and_all_heard(shop):
    emails = [f"p{number:02}@inbox.example" for number in range(PEOPLE)]
    events = [{"list_id": AUDIENCE, "email": email, "event": "unsubscribe"} for email in emails]
    begin = len(shop.emulator.log())

    shop.emulator.control("member_event", events)
    until(lambda: withdrawn() == PEOPLE)

    assert [one["status"] for one in shop.emulator.deliveries()] == [200] * PEOPLE
    until(lambda: not AddressToLookAt.objects.exists())
    assert max(row["concurrency"] for row in shop.emulator.log()[begin:]) <= 2
    assert len(shop.emulator.log()) - begin <= PEOPLE + 1


def test_the_secret_url_is_in_no_log(shop, installation):
    [told] = shop.emulator.webhooks(AUDIENCE)
    url = told["url"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    statuses = [
        status_of(Request(url)),
        status_of(Request(url, b"type=unsubscribe", form)),
        status_of(Request(url, b"{}", {"Content-Type": "application/json"})),
        status_of(Request(url, method="PUT")),
        status_of(Request(f"{url}x")),
    ]
    shop.person("p07@inbox.example", "unsubscribe")
    until(lambda: withdrawn() == 1)

    said = "".join(log.read_text() for log in installation.folder.glob("*.log"))
    assert statuses == [200, 403, 415, 405, 404]
    assert url.rpartition("/")[2] not in said
    assert "inbox.example" not in said


def status_of(request: Request) -> int:
    try:
        with urlopen(request, timeout=5) as reply:
            return reply.status
    except HTTPError as refused:
        with refused:
            return refused.code


def test_what_mailchimp_could_not_tell_while_the_pages_were_away_it_tells_again(shop, installation, monkeypatch):
    monkeypatch.setattr(deliveries, "RETRY_AFTER", (2, 2, 2))
    installation.kill("web")
    shop.person("p07@inbox.example", "unsubscribe")
    until(lambda: shop.emulator.metrics()["waiting_deliveries"] == 1)
    assert withdrawn() == 0

    installation.start("web")
    until(lambda: withdrawn() == 1)

    assert shop.tenant.sync_runs.count() == 1


def test_a_worker_that_was_away_looks_when_it_is_back(shop, installation):
    installation.kill("worker")
    shop.person("p07@inbox.example", "unsubscribe")
    until(lambda: AddressToLookAt.objects.count() == 1)
    assert withdrawn() == 0

    installation.start("worker")
    until(lambda: withdrawn() == 1)

    assert shop.tenant.sync_runs.count() == 1
