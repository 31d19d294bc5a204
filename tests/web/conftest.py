"""People at the pages."""

from __future__ import annotations

from html import unescape

import pytest
from django.test import Client

from nexpura.customers import intake
from nexpura.customers.models import Customer
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent, Tenant, TenantUser
from tests.sync.conftest import Shop

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class Visitor(Client):
    """A browser that keeps cookies, follows redirects when asked to, and reads pages as text."""

    def signed_in_as(self, user: TenantUser) -> Visitor:
        self.force_login(user, backend=BACKEND)
        return self

    def sees(self, path: str) -> str:
        """Return the text of the page at `path`, which must be there."""
        response = self.get(path, follow=True)
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return unescape(response.content.decode())

    def sends(self, path: str, **fields: object) -> str:
        """Send a form and return the text of the page it leads to."""
        response = self.post(path, fields, follow=True)
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return unescape(response.content.decode())


@pytest.fixture
def anybody(any_database) -> Visitor:
    return Visitor()


@pytest.fixture
def as_alice(alice) -> Visitor:
    return Visitor().signed_in_as(alice)


@pytest.fixture
def as_mona(mona) -> Visitor:
    return Visitor().signed_in_as(mona)


@pytest.fixture
def as_bob(bob) -> Visitor:
    return Visitor().signed_in_as(bob)


@pytest.fixture
def as_charlie(charlie) -> Visitor:
    return Visitor().signed_in_as(charlie)


@pytest.fixture
def zoe(tenant) -> Customer:
    """A customer of the shop who was never asked."""
    return written_down(tenant, first_name="Zoë", last_name="Nguyen", email="zoe@inbox.example", phone="0412 345 678")


@pytest.fixture
def shop(committed, tenant, mailchimp) -> Shop:
    return Shop(tenant, mailchimp)


def written_down(tenant: Tenant, **fields: str) -> Customer:
    blank = {"first_name": "", "last_name": "", "email": "", "phone": ""}
    return intake.create(tenant, Actor.command(), intake.validate(tenant, **blank | fields))


def actions(tenant: Tenant) -> list[str]:
    """What the audit trail holds, oldest first."""
    return list(AuditEvent.objects.filter(tenant=tenant).order_by("id").values_list("action", flat=True))
