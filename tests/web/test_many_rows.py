"""Pages about very many rows: read a page at a time, and counted no more often than needed."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from django.urls import reverse

from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import Integration
from nexpura.sync import counted, panel
from nexpura.sync.models import DirtyAddress, KnownAudience, KnownMember, MemberResult, SyncRun
from nexpura.sync.panel import Unsent

pytestmark = pytest.mark.django_db


@pytest.fixture
def audience(tenant) -> KnownAudience:
    Integration.objects.create(
        tenant=tenant,
        kind="mailchimp",
        status="connected",
        config={"data_centre": "us14", "audience_id": "abc123def4"},
    )
    return KnownAudience.objects.create(tenant=tenant, data_centre="us14", audience_id="abc123def4")


def results(audience, *, count: int, domain: str = "inbox.example") -> SyncRun:
    run = SyncRun.objects.create(tenant=audience.tenant, audience=audience, status="succeeded")
    for number in reversed(range(count)):
        MemberResult.objects.create(
            tenant=audience.tenant,
            run=run,
            address=f"c{number:03}@{domain}",
            version=1,
            change={},
            kind="add",
            state="accepted",
        )
    return run


def addresses(page: str) -> list[str]:
    return re.findall(r'<th scope="row" class="breakable">(.*?)</th>', page)


def test_what_became_of_each_address_is_read_a_page_at_a_time(client, audience, alice):
    run = results(audience, count=120)
    client.force_login(alice)

    seen, url = [], reverse("run", args=[run.pk])
    for _ in range(3):
        page = client.get(url).content.decode()
        seen += addresses(page)
        following = re.search(r'rel="next" href="(.*?)#', page)
        url = f"{reverse('run', args=[run.pk])}{following[1]}" if following else ""
        assert "%40" not in url

    assert url == ""
    assert seen == [f"c{number:03}@inbox.example" for number in range(120)]


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "0"])
def test_a_cursor_that_is_none_gives_the_first_results(client, audience, alice, cursor):
    run = results(audience, count=2)
    client.force_login(alice)

    page = client.get(reverse("run", args=[run.pk]), {"after": cursor}).content.decode()

    assert len(addresses(page)) == 2


def test_a_cursor_of_another_sync_gives_the_first_results(client, audience, alice):
    run, other = results(audience, count=2), results(audience, count=1, domain="zoo.example")
    client.force_login(alice)

    page = client.get(reverse("run", args=[run.pk]), {"after": other.results.get().pk}).content.decode()

    assert len(addresses(page)) == 2


def test_opt_outs_are_counted_alike_whether_few_or_most_addresses_are_marked(tenant, audience, monkeypatch):
    for number in range(4):
        somebody_said_no(audience, f"c{number}@inbox.example")
    moved = somebody_said_no(audience, "old@inbox.example")
    moved.email = "new@inbox.example"
    moved.save()
    KnownMember.objects.create(tenant=tenant, audience=audience, address="new@inbox.example", status="subscribed")
    KnownMember.objects.filter(address="c0@inbox.example").update(status="unsubscribed")
    KnownMember.objects.filter(address="old@inbox.example").update(status="unsubscribed")

    few = panel.unsent_opt_outs(tenant)
    monkeypatch.setattr(counted, "MANY", 1)
    many = panel.unsent_opt_outs(tenant)

    assert few == many == Unsent(to_send=4, to_answer=0)


def test_of_a_book_that_is_marked_throughout_the_panel_shows_a_count_of_a_moment_ago(tenant, audience, monkeypatch):
    somebody_said_no(audience, "ann@inbox.example")
    assert panel.state(tenant).unsent_opt_outs.count == 1
    monkeypatch.setattr(counted, "MANY", 0)
    panel.state(tenant)

    somebody_said_no(audience, "ben@inbox.example")

    assert panel.state(tenant).unsent_opt_outs.count == 1
    assert panel.unsent_opt_outs(tenant).count == 2
    cache.clear()
    assert panel.state(tenant).unsent_opt_outs.count == 2


def somebody_said_no(audience: KnownAudience, address: str) -> Customer:
    """A customer who gets mail at the address and has said no since: their address is marked."""
    tenant = audience.tenant
    customer = Customer.objects.create(tenant=tenant, first_name="Ann", email=address)
    KnownMember.objects.create(tenant=tenant, audience=audience, address=address, status="subscribed")
    ConsentEvent.objects.create(
        tenant=tenant,
        customer=customer,
        state="withdrawn",
        source="profile",
        address=address,
        actor_kind="system",
        actor_name="test",
    )
    assert DirtyAddress.objects.filter(tenant=tenant, address=address).exists()
    return customer
