"""Wording with versions, users, the audit trail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nexpura
from nexpura.customers import ledger
from nexpura.tenants.models import TenantUser
from nexpura.web import trail
from tests.web.conftest import Visitor, actions

pytestmark = pytest.mark.django_db


def test_new_words_are_a_new_version_and_the_old_one_stays(zoe, tenant, as_mona):
    as_mona.sends(f"/customers/{zoe.pk}/consent", granted="on")

    page = as_mona.sends("/settings/wording", text="Yes, write to me.")

    assert "Version 2 is shown from now on." in page
    assert "Version 1" in page
    assert ledger.history(zoe).get().wording.version == 1
    assert actions(tenant)[-1] == "wording.changed"


def test_blank_words_are_refused(tenant, as_mona):
    as_mona.sends("/settings/wording", text="   ")

    assert ledger.current_wording(tenant).version == 1


def test_an_owner_adds_somebody_who_can_sign_in(tenant, as_alice):
    as_alice.sends(
        "/settings/users", email="Dan@Opal.example", name="Dan", role="staff", password="quite a long secret"
    )

    inside = Visitor().sends("/sign-in", login="dan@opal.example", password="quite a long secret")

    assert "Sign out" in inside
    assert TenantUser.objects.get(email="dan@opal.example").tenant == tenant
    assert actions(tenant) == ["user.created"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "alice@opal.example"},
        {"email": "charlie@ruby.example"},
        {"email": "dan@"},
        {"password": "short"},
        {"role": "emperor"},
    ],
)
def test_a_user_who_cannot_be_is_not_added(wrong, charlie, as_alice):
    good = {"email": "dan@opal.example", "role": "staff", "password": "quite a long secret"}
    before = TenantUser.objects.count()

    page = as_alice.sends("/settings/users", **good | wrong)

    assert "Please look again" in page
    assert TenantUser.objects.count() == before


def test_an_owner_takes_access_away_and_gives_it_back(tenant, bob, as_bob, as_alice):
    as_alice.sends(f"/settings/users/{bob.pk}/active")
    outside = as_bob.get("/customers").status_code
    as_alice.sends(f"/settings/users/{bob.pk}/active", active="on")

    bob.refresh_from_db()
    assert outside == 302
    assert bob.is_active
    assert actions(tenant) == ["user.deactivated", "user.activated"]


def test_an_owner_cannot_lock_themselves_out(alice, as_alice):
    page = as_alice.sends(f"/settings/users/{alice.pk}/active")

    alice.refresh_from_db()
    assert "cannot take your own access away" in page
    assert alice.is_active


def test_another_shops_user_is_a_404(charlie, as_alice):
    response = as_alice.post(f"/settings/users/{charlie.pk}/active")

    assert response.status_code == 404


def test_the_audit_trail_says_who_did_what_and_shows_no_other_shops(zoe, as_bob, as_mona, as_charlie):
    as_bob.sends(f"/customers/{zoe.pk}/edit", first_name="Zoe")

    ours = as_mona.sees("/settings/audit")
    theirs = as_charlie.sees("/settings/audit")

    assert "Customer changed" in ours
    assert "bob@opal.example" in ours
    assert "Customer changed" not in theirs


def test_whatever_is_written_in_the_audit_trail_has_words():
    recorded = re.compile(
        r'"((?:customers?|user|tenant|wording|mailchimp)\.(?!html|csv|json|consentwording|customer")[a-z_]+)"'
    )
    sources = [path.read_text() for path in Path(nexpura.__file__).parent.rglob("*.py") if path.name != "apps.py"]

    actions = {one for text in sources for one in recorded.findall(text)}

    assert actions
    assert actions <= set(trail.ACTIONS)
