"""Intake and the till: the tick box is off by default, and only a tick is an event (A7, B1)."""

from __future__ import annotations

import pytest

from nexpura.customers.models import ConsentEvent, Customer, Visit
from tests.web.conftest import actions, written_down

pytestmark = pytest.mark.django_db

MEI = {"first_name": "Mei", "last_name": "Chen", "email": "mei@inbox.example"}


@pytest.mark.parametrize("path", ["/intake", "/pos"])
def test_the_box_is_off_by_default_and_shows_the_tenants_words(path, as_bob):
    page = as_bob.sees(path)

    assert '<input type="checkbox" name="consent" id="id_consent">' in page
    assert "Yes, Opal & Co may send me news" in page


def test_a_ticked_box_at_intake_is_a_grant_of_the_new_customer(tenant, as_bob):
    page = as_bob.sends("/intake", **MEI, description="Gold ring, resize", consent="on")

    event = ConsentEvent.objects.get()
    assert "Mei Chen" in page
    assert (event.customer.email, event.state, event.source) == ("mei@inbox.example", "granted", "intake")
    assert actions(tenant) == ["customer.created", "visit.intake", "consent.granted"]


@pytest.mark.parametrize("path", ["/intake", "/pos"])
def test_an_unticked_box_is_no_event(path, as_bob):
    as_bob.sends(path, **MEI, description="Gold ring", amount="12.50")

    assert Customer.objects.get().consent_state == "never"
    assert not ConsentEvent.objects.exists()


def test_an_intake_of_a_known_customer_makes_no_second_one(zoe, as_bob):
    as_bob.sends("/intake", customer=zoe.pk, description="Watch, new strap", consent="on")

    zoe.refresh_from_db()
    assert Customer.objects.get() == zoe
    assert zoe.marketing_consent
    assert Visit.objects.get().customer == zoe


def test_an_intake_needs_a_customer_and_what_they_brought(as_bob):
    page = as_bob.sends("/intake")

    assert "Please look again" in page
    assert not Visit.objects.exists()
    assert not Customer.objects.exists()


def test_a_walk_in_sale_needs_no_customer(tenant, bob, as_bob):
    page = as_bob.sends("/pos", description="Silver chain", amount="129.00")

    visit = Visit.objects.get()
    assert "Sale of 129.00 written down." in page
    assert (str(visit.amount), visit.customer, visit.user) == ("129.00", None, bob)
    assert actions(tenant) == ["visit.sale"]


def test_a_sale_to_a_new_customer_with_a_tick_is_a_grant_at_the_till(as_bob):
    as_bob.sends("/pos", **MEI, description="Silver chain", amount="129", consent="on")

    assert ConsentEvent.objects.get().source == "pos"
    assert Visit.objects.get().customer.marketing_consent


def test_a_tick_for_nobody_is_refused(as_bob):
    page = as_bob.sends("/pos", description="Silver chain", amount="129", consent="on")

    assert "consent belongs to somebody" in page
    assert not Visit.objects.exists()


@pytest.mark.parametrize("amount", ["", "much", "-1", "1.999", "NaN", "1e40"])
def test_a_bad_amount_is_told_at_its_field(amount, as_bob):
    page = as_bob.sends("/pos", description="Silver chain", amount=amount)

    assert 'id="id_amount_error"' in page
    assert not Visit.objects.exists()


def test_a_bad_address_at_the_till_keeps_nothing(as_bob):
    page = as_bob.sends("/pos", first_name="Mei", email="mei@", description="Silver chain", amount="1", consent="on")

    assert 'id="id_email_error"' in page
    assert not Customer.objects.exists()
    assert not Visit.objects.exists()


@pytest.mark.parametrize("path", ["/intake", "/pos"])
def test_a_known_customer_is_found_and_chosen_by_plain_links(path, zoe, as_bob):
    found = as_bob.sees(f"{path}?q=zo")
    chosen = as_bob.sees(f"{path}?customer={zoe.pk}")

    assert f'href="{path}?customer={zoe.pk}"' in found
    assert f'name="customer" value="{zoe.pk}"' in chosen


def test_looking_while_typing_gets_the_list_only(zoe, as_bob):
    part = as_bob.get("/intake?q=zo", headers={"HX-Request": "true"}).content.decode()

    assert "zoe@inbox.example" in part
    assert "<html" not in part


def test_another_shops_customer_cannot_be_chosen(other_tenant, as_bob):
    theirs = written_down(other_tenant, first_name="Rubin")

    response = as_bob.post("/pos", {"customer": theirs.pk, "description": "Chain", "amount": "1"})

    assert response.status_code == 404
    assert not Visit.objects.exists()
