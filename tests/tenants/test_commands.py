"""The commands that make tenants and the people who sign in for them."""

from __future__ import annotations

import getpass
import io
import json

import pytest
from django.contrib.auth.hashers import check_password
from django.core.management import CommandError, call_command

from nexpura.tenants.models import AuditEvent, Tenant, TenantUser

pytestmark = pytest.mark.django_db

PASSWORD = "opal-and-ruby-1878"


@pytest.fixture
def typed(monkeypatch):
    """Hand this to the commands on standard input."""

    def typed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return typed


def said(command: str, **options) -> str:
    out = io.StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


def test_a_tenant_is_made_with_its_line_in_the_audit_trail():
    printed = json.loads(said("createtenant", slug="pearl", name="Pearl & Son", country="nz", json=True))

    tenant = Tenant.objects.get(slug="pearl")
    assert printed == {
        "id": tenant.pk,
        "slug": "pearl",
        "name": "Pearl & Son",
        "country": "NZ",
        "timezone": "Australia/Sydney",
    }
    line = AuditEvent.objects.get(action="tenant.created")
    assert (line.tenant, line.actor_kind, line.actor_name) == (tenant, "command", getpass.getuser())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slug": "opal"}, "there is a tenant opal already"),
        ({"slug": "two words"}, "--slug:"),
        ({"name": ""}, "--name:"),
        ({"country": "Australia"}, "--country: write the two letters"),
        ({"timezone": "Sydney"}, "--timezone: Sydney is not a time zone"),
    ],
)
def test_a_tenant_that_cannot_be_made_says_which_argument_is_wrong(tenant, options, words):
    with pytest.raises(CommandError, match=words):
        said("createtenant", **{"slug": "pearl", "name": "Pearl"} | options)

    assert Tenant.objects.count() == 1


def test_a_user_is_made_with_the_password_from_standard_input(tenant, typed):
    typed(f"{PASSWORD}\r\n")

    printed = said("createuser", tenant="opal", email=" Dora@Opal.example", role="manager", name="Dora")

    dora = TenantUser.objects.get(email="dora@opal.example")
    assert (dora.tenant, dora.role, dora.name) == (tenant, "manager", "Dora")
    assert check_password(PASSWORD, dora.password)
    assert PASSWORD not in printed
    line = AuditEvent.objects.get(action="user.created")
    assert (line.actor_kind, line.subject_id, line.after["role"]) == ("command", dora.pk, "manager")
    assert PASSWORD not in json.dumps([line.before, line.after])


@pytest.mark.parametrize(
    ("options", "password", "words"),
    [
        ({"tenant": "nobody"}, PASSWORD, "there is no tenant nobody"),
        ({"email": "not an address"}, PASSWORD, "--email:"),
        ({"email": "alice@opal.example"}, PASSWORD, "--email:"),
        ({}, "", "there is no password"),
        ({}, "short", "at least 10 characters"),
        ({}, "password123", "too common"),
        ({"role": "king"}, PASSWORD, "invalid choice"),
    ],
)
def test_a_user_who_cannot_be_made_says_why(alice, typed, options, password, words):
    typed(password)

    with pytest.raises(CommandError, match=words):
        values = {"tenant": "opal", "email": "dora@opal.example", "role": "staff"} | options
        call_command("createuser", *[f"--{name}={value}" for name, value in values.items()])

    assert TenantUser.objects.count() == 1


def test_a_forgotten_password_is_replaced(alice, typed):
    typed(PASSWORD)

    said("resetpassword", email="Alice@opal.example")

    alice.refresh_from_db()
    assert check_password(PASSWORD, alice.password)
    line = AuditEvent.objects.get(action="user.password_reset")
    assert (line.subject_id, line.actor_kind, line.after) == (alice.pk, "command", {})


def test_a_password_like_the_common_ones_does_not_replace_a_good_one(alice, typed):
    before = alice.password
    typed("password123")

    with pytest.raises(CommandError, match="too common"):
        said("resetpassword", email="alice@opal.example")

    alice.refresh_from_db()
    assert alice.password == before


def test_nobody_with_the_address_is_told_plainly(alice, typed):
    typed(PASSWORD)

    with pytest.raises(CommandError, match="no user signs in with this address"):
        said("resetpassword", email="nobody@opal.example")


def test_on_a_terminal_the_password_is_asked_for_twice(alice, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    answers = iter([PASSWORD, "something else"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))

    with pytest.raises(CommandError, match="the two passwords differ"):
        said("resetpassword", email="alice@opal.example")
