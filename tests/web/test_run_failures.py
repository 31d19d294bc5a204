"""The page of a sync names everybody who could not be synced, however many."""

import pytest
from django.urls import reverse

from nexpura.customers.models import Customer
from nexpura.sync.models import AddressStanding, KnownAudience, SyncRun

pytestmark = pytest.mark.django_db


def test_the_newest_sync_names_every_customer_who_could_not_be_synced(client, tenant, alice):
    audience = KnownAudience.objects.create(tenant=tenant, data_centre="us14", audience_id="abc123def4")
    run = SyncRun.objects.create(tenant=tenant, audience=audience, status="partial", counts={"failed": 25}, book=25)
    customers = [Customer.objects.create(tenant=tenant, email=f"c{number:02}@") for number in range(25)]
    for customer in customers:
        AddressStanding.objects.create(
            tenant=tenant, address=customer.email, bucket="failed", reason="invalid_email", customers=1
        )
    client.force_login(alice)

    page = client.get(reverse("run", args=[run.pk])).content.decode()

    assert all(f'href="{reverse("customer", args=[customer.pk])}"' in page for customer in customers)
    assert "invalid email" in page
