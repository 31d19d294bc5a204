"""Who reaches which page: the one door, the rights of roles, sign-in and sign-out."""

from __future__ import annotations

import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.test import Client

from nexpura.sync import erasures
from nexpura.sync.models import KnownAudience, SyncRun
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import TenantUser
from tests.conftest import PASSWORD
from tests.web.conftest import Visitor, written_down

pytestmark = pytest.mark.django_db

EVERYBODYS = [
    "/customers",
    "/customers/new",
    "/customers/{customer}",
    "/customers/{customer}/edit",
    "/intake",
    "/intake?customer={customer}",
    "/pos",
    "/pos?customer={customer}",
    "/integrations",
    "/integrations/mailchimp/runs",
    "/integrations/mailchimp/runs/{run}",
    "/settings",
    "/settings/two-factor/",
    "/settings/password",
]
MANAGERS = [
    "/integrations/mailchimp/audience",
    "/settings/wording",
    "/settings/audit",
    "/integrations/mailchimp/disconnect",
]
OWNERS = ["/settings/users", "/settings/erasures", "/customers/{customer}/erase", "/erasures/{erasure}"]
ROWS = [path for path in EVERYBODYS + OWNERS if "{" in path]
MANAGERS_FORMS = [
    "/integrations/mailchimp/connect",
    "/integrations/mailchimp/sync",
    "/integrations/mailchimp/read-whole",
    "/integrations/mailchimp/auto-sync",
    "/integrations/mailchimp/audience",
    "/integrations/mailchimp/key",
    "/integrations/mailchimp/disconnect",
    "/integrations/mailchimp/runs/{run}/cancel",
]


@pytest.fixture
def rows(tenant, zoe) -> dict[str, int]:
    audience = KnownAudience.objects.create(tenant=tenant, data_centre="us14", audience_id="abc123def4")
    run = SyncRun.objects.create(tenant=tenant, audience=audience, trigger="manual")
    erasure = erasures.erase(tenant, Actor.command(), written_down(tenant, first_name="Ada").pk, "keep")
    return {"customer": zoe.pk, "run": run.pk, "erasure": erasure.number}


@pytest.mark.parametrize("path", EVERYBODYS + MANAGERS + OWNERS)
def test_an_owner_reaches_every_page(path, rows, as_alice):
    response = as_alice.get(path.format(**rows), follow=True)

    assert response.status_code == 200


@pytest.mark.parametrize("path", EVERYBODYS)
def test_staff_reach_the_pages_of_the_counter(path, rows, as_bob):
    response = as_bob.get(path.format(**rows))

    assert response.status_code == 200


@pytest.mark.parametrize("path", MANAGERS + OWNERS)
def test_staff_are_told_who_may_see_the_pages_they_may_not(path, rows, as_bob):
    response = as_bob.get(path.format(**rows))

    assert response.status_code == 403
    assert b"owner" in response.content


def test_a_manager_is_told_that_owners_manage_users(as_mona):
    response = as_mona.get("/settings/users")

    assert response.status_code == 403
    assert b"manage users" in response.content


@pytest.mark.parametrize("path", MANAGERS_FORMS)
def test_staff_see_the_state_of_mailchimp_but_change_nothing(path, rows, as_bob):
    response = as_bob.post(path.format(**rows))

    assert response.status_code == 403


def test_staff_see_no_forms_on_the_integrations_page(as_bob):
    page = as_bob.sees("/integrations")

    assert "Email Marketing" in page
    assert "Not connected" in page
    assert "Connect Mailchimp" not in page


@pytest.mark.parametrize("path", ROWS)
def test_an_outsider_gets_404(path, rows, as_charlie):
    response = as_charlie.get(path.format(**rows))

    assert response.status_code == 404


@pytest.mark.parametrize("path", ["/customers/{customer}/consent", "/integrations/mailchimp/runs/{run}/cancel"])
def test_an_outsider_changes_nothing(path, rows, as_charlie):
    response = as_charlie.post(path.format(**rows), {"stop": "on"})

    assert response.status_code == 404


@pytest.mark.parametrize("customer", ["x", "-1", "9" * 30, "²"])
def test_a_customer_number_that_is_none_is_a_404(customer, as_bob):
    response = as_bob.get("/intake", {"customer": customer})

    assert response.status_code == 404


def test_another_shops_customers_are_not_in_the_list(zoe, as_charlie):
    page = as_charlie.sees("/customers")

    assert "The book is empty" in page
    assert "Zoë" not in page


@pytest.mark.parametrize("path", EVERYBODYS + MANAGERS + OWNERS)
def test_somebody_who_is_not_signed_in_is_sent_to_the_sign_in(path, rows, anybody):
    response = anybody.get(path.format(**rows))

    assert response.status_code == 302
    assert response["Location"].startswith("/sign-in?next=/")


def test_the_front_door_leads_to_the_customers(as_bob):
    response = as_bob.get("/")

    assert response["Location"] == "/customers"


def test_alice_signs_in_and_out(alice, anybody):
    inside = anybody.sends("/sign-in", login="alice@opal.example", password=PASSWORD)
    outside = anybody.sends("/sign-out")

    assert "The book is empty" in inside
    assert "Sign in" in outside
    assert anybody.get("/customers").status_code == 302


def test_a_wrong_password_is_told_without_saying_which_part_was_wrong(alice, anybody):
    page = anybody.sends("/sign-in", login="alice@opal.example", password="something else")

    assert 'role="alert"' in page
    assert anybody.get("/customers").status_code == 302


def test_nobody_signs_up_by_themselves(anybody):
    assert anybody.get("/sign-up").status_code == 404
    assert "sign up" not in anybody.sees("/sign-in").lower()


def test_a_forgotten_password_is_replaced_by_mail(alice, anybody, mailoutbox):
    anybody.sends("/password/forgotten", email="alice@opal.example")
    link = next(word for word in mailoutbox[0].body.split() if word.startswith("http"))
    page = anybody.get(link, follow=True)
    anybody.post(page.redirect_chain[-1][0], {"password1": "brand new secret", "password2": "brand new secret"})
    anybody.logout()
    inside = anybody.sends("/sign-in", login="alice@opal.example", password="brand new secret")

    assert "The book is empty" in inside


def test_a_user_without_access_is_signed_out(bob, as_bob):
    TenantUser.objects.filter(pk=bob.pk).update(is_active=False)

    assert as_bob.get("/customers").status_code == 302


def test_a_form_without_its_token_is_refused_in_our_look(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")

    response = client.post("/integrations/mailchimp/sync")

    assert response.status_code == 403
    assert b"This form has expired" in response.content


def test_an_address_that_leads_nowhere_says_so_in_our_look(as_bob):
    response = as_bob.get("/nowhere")

    assert response.status_code == 404
    assert b"nexpura.css" in response.content


def test_the_secret_of_the_second_factor_is_kept_sealed(alice, rf):
    from nexpura.web.sign_in import MFAAdapter

    adapter = MFAAdapter(rf.get("/"))

    sealed = adapter.encrypt("JBSWY3DPEHPK3PXP")

    assert "JBSWY3DPEHPK3PXP" not in sealed
    assert adapter.decrypt(sealed) == "JBSWY3DPEHPK3PXP"


def test_a_second_factor_is_set_up_and_then_asked_for(alice, anybody):
    anybody.sends("/sign-in", login="alice@opal.example", password=PASSWORD)
    anybody.sends("/sign-in/again?next=/settings/two-factor/", password=PASSWORD)
    secret = anybody.get("/settings/two-factor/totp/activate/").context["form"].secret
    code = totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30))

    active = anybody.sends("/settings/two-factor/totp/activate/", code=code)
    anybody.logout()
    asked = anybody.sends("/sign-in", login="alice@opal.example", password=PASSWORD)

    assert "recovery codes" in active.lower()
    assert 'name="code"' in asked
    assert anybody.get("/customers").status_code == 302
    assert all(secret not in str(row.data) for row in Authenticator.objects.filter(user=alice))


def test_watchers_are_told_that_the_service_is_alive(anybody):
    assert anybody.get("/healthz").content == b"ok\n"


def test_the_service_is_not_ready_without_a_worker(anybody):
    response = Visitor().get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"database": True, "migrations": True, "worker": False}


def test_a_poll_after_the_session_ended_sends_the_whole_page_to_the_sign_in(anybody):
    response = anybody.get("/integrations", headers={"HX-Request": "true"})

    assert response["HX-Redirect"] == "/sign-in?next=/integrations"


def test_pages_of_people_who_are_signed_in_stay_out_of_caches(as_bob):
    response = as_bob.get("/customers")

    assert "no-store" in response["Cache-Control"]
    assert "HX-Request" in response["Vary"]


@pytest.mark.parametrize("path", ["/customers/" + "9" * 40, "/integrations/mailchimp/runs/" + "9" * 40])
def test_a_number_too_big_for_any_row_is_a_404(path, as_alice):
    assert as_alice.get(path).status_code == 404


@pytest.mark.parametrize(
    "path", ["/customers?after=x", "/settings/audit?before=-1", "/integrations/mailchimp/runs?before=²"]
)
def test_a_place_in_a_list_that_is_none_shows_the_first_page(path, as_alice):
    assert as_alice.get(path).status_code == 200


def test_the_head_of_a_page_may_be_asked_for(as_alice):
    assert as_alice.head("/customers").status_code == 200
