"""Erasing at the pages: the page that asks once more, the receipt, and what the other pages say meanwhile (B11)."""

from __future__ import annotations

import re
import threading

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from nexpura.customers import ledger
from nexpura.customers.models import Customer
from nexpura.sync import connect, erasures, forget, merge
from nexpura.sync.models import Erasure
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent
from tests.sync.conftest import CLERK, Shop
from tests.web.conftest import Visitor, written_down

ADA = "ada.quill@inbox.example"


@pytest.fixture
def ada(tenant) -> Customer:
    return written_down(tenant, first_name="Ada", last_name="Quill", email=ADA, phone="0491 570 156")


@pytest.fixture
def there(shop: Shop, ada) -> Customer:
    """In the audience too."""
    shop.audience()
    shop.says_yes(ada)
    shop.sync()
    return ada


def receipt(visitor: Visitor, customer: Customer, member: str = "unsubscribe") -> str:
    return visitor.sends(f"/customers/{customer.pk}/erase", member=member, confirmation=customer.name)


# --- the page that asks once more -----------------------------------------------------------------


@pytest.mark.django_db
def test_the_way_to_it_is_at_the_foot_of_the_customers_page_for_owners(ada, as_alice, as_mona):
    assert f"/customers/{ada.pk}/erase" in as_alice.sees(f"/customers/{ada.pk}")
    assert "erase" not in as_mona.sees(f"/customers/{ada.pk}").lower()


def test_it_says_what_goes_and_what_stays_and_asks_about_the_member(there, as_alice):
    page = as_alice.sees(f"/customers/{there.pk}/erase")

    assert "1 entry of the consent history" in page
    assert "as last heard this member is subscribed" in page
    assert "That can never be undone by us" in page
    assert 'value="unsubscribe" id="id_member_1" required checked' in page
    assert "Backups of this installation" in page


@pytest.mark.django_db
def test_without_mailchimp_it_says_that_nothing_will_be_done_there(ada, as_alice):
    page = as_alice.sees(f"/customers/{ada.pk}/erase")

    assert "Mailchimp is not connected, so nothing will be done there" in page
    assert "Delete the member permanently" not in page


def test_it_warns_of_an_audience_that_is_not_connected_any_more(shop, there, as_alice):
    connect.disconnect(shop.tenant, CLERK)

    assert "In Newsletter, which is not connected now, this address got mail" in as_alice.sees(
        f"/customers/{there.pk}/erase"
    )


@pytest.mark.parametrize(("consents", "said"), [(True, True), (False, False)])
def test_it_names_others_who_hold_the_address_and_says_whose_the_member_will_be(
    shop, there, tenant, as_alice, consents, said
):
    ben = written_down(tenant, first_name="Ben", email=ADA)
    if consents:
        shop.says_yes(ben)

    page = as_alice.sees(f"/customers/{there.pk}/erase")

    assert f"customer {ben.pk}" in page
    assert ("the member in Mailchimp is theirs from now on" in page) is said


def test_the_member_is_not_promised_to_somebody_whom_the_erased_persons_no_holds_back(shop, there, tenant, as_alice):
    ben = written_down(tenant, first_name="Ben", email=ADA)
    shop.says_yes(ben)
    shop.says_no(there)

    page = as_alice.sees(f"/customers/{there.pk}/erase")

    assert f"customer {ben.pk}" in page
    assert "theirs from now on" not in page


def test_it_warns_that_another_shop_uses_the_same_audience(shop, there, other_tenant, as_alice):
    alone = as_alice.sees(f"/customers/{there.pk}/erase")
    Shop(other_tenant, shop.emulator).connect()

    assert "also connected elsewhere" not in alone
    assert "also connected elsewhere in this installation" in as_alice.sees(f"/customers/{there.pk}/erase")


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["Ada  quill", " ADA QUILL ", "{pk}", "#{pk}"])
def test_the_name_or_the_number_confirms_it(ada, as_alice, typed):
    page = as_alice.sends(f"/customers/{ada.pk}/erase", member="unsubscribe", confirmation=typed.format(pk=ada.pk))

    assert "Erasure 1" in page
    assert not Customer.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["", "Ada", "yes", "0"])
def test_anything_else_erases_nobody(ada, as_alice, typed):
    page = as_alice.sends(f"/customers/{ada.pk}/erase", member="unsubscribe", confirmation=typed)

    assert 'role="alert"' in page
    assert Customer.objects.filter(pk=ada.pk).exists()
    assert not Erasure.objects.exists()


@pytest.mark.django_db
def test_a_choice_that_is_none_erases_nobody(ada, as_alice):
    as_alice.sends(f"/customers/{ada.pk}/erase", member="archive", confirmation="Ada Quill")

    assert Customer.objects.filter(pk=ada.pk).exists()


@pytest.mark.django_db
def test_only_owners_erase(ada, as_mona, as_bob):
    for visitor in (as_mona, as_bob):
        response = visitor.post(f"/customers/{ada.pk}/erase", {"member": "keep", "confirmation": "Ada Quill"})
        assert response.status_code == 403
        assert b"erase customers" in response.content
        assert b"an owner" in response.content

    assert Customer.objects.filter(pk=ada.pk).exists()


@pytest.mark.django_db
def test_an_outsider_erases_nobody(ada, as_charlie):
    response = as_charlie.post(f"/customers/{ada.pk}/erase", {"member": "keep", "confirmation": "Ada Quill"})

    assert response.status_code == 404
    assert Customer.objects.filter(pk=ada.pk).exists()


def test_while_an_import_goes_on_nothing_is_erased_and_the_page_says_so(shop, ada, as_alice):
    url = connection.settings_dict
    with psycopg.connect(
        host=url["HOST"], port=url["PORT"], user=url["USER"], password=url["PASSWORD"], dbname=url["NAME"]
    ) as importing:
        importing.execute("SELECT 1 FROM tenants_tenant FOR NO KEY UPDATE")
        page = receipt(as_alice, ada)
        importing.rollback()

    assert "Customers are being imported at this moment. Nothing was erased" in page
    assert Customer.objects.filter(pk=ada.pk).exists()


def test_two_owners_who_erase_at_once_make_one_receipt(shop, there, as_alice, alice):
    answers = []

    def erase() -> None:
        visitor = Visitor().signed_in_as(alice)
        fields = {"member": "keep", "confirmation": "Ada Quill"}
        answers.append(visitor.post(f"/customers/{there.pk}/erase", fields).status_code)
        connection.close()

    both = [threading.Thread(target=erase) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert sorted(answers) == [302, 404]
    assert Erasure.objects.count() == 1


# --- the receipt ----------------------------------------------------------------------------------


def test_the_receipt_names_nobody(shop, there, as_alice):
    page = receipt(as_alice, there)
    forget.carry_out(Erasure.objects.get().pk, timezone.now())
    done = as_alice.sees("/erasures/1")

    assert "Not done in Mailchimp yet" in page
    assert "The member was unsubscribed." in done
    assert "alice@opal.example" in done
    assert f"#{there.pk}" in done
    assert "Granted" in done
    for word in (ADA, "Quill", "570"):
        assert word not in page
        assert word not in done


def test_an_open_erasure_is_shown_on_the_panel_and_before_disconnecting(shop, there, as_alice, as_mona):
    receipt(as_alice, there)

    panel, asked, hers = (
        as_alice.sees("/integrations"),
        as_alice.sees("/integrations/mailchimp/disconnect"),
        as_mona.sees("/integrations"),
    )
    forget.carry_out(Erasure.objects.get().pk, timezone.now())

    assert "1 erasure of a customer is not done in Mailchimp yet" in panel
    assert "1 erasure not done in Mailchimp yet" in asked
    assert "until the same audience is connected again" in asked
    assert "An owner sees why" in hers
    assert "not done in Mailchimp yet" not in as_alice.sees("/integrations")


def test_what_keeps_it_from_being_done_is_told_with_the_remedy(shop, there, as_alice):
    receipt(as_alice, there)
    shop.emulator.control("faults", [{"kind": "403", "path": ".*members.*", "every": 1}])

    page = as_alice.sends("/erasures/1/again")
    shop.emulator.control("faults", [])
    done = as_alice.sends("/erasures/1/again")

    assert "Mailchimp refuses the API key" in page
    assert "1 try so far" in page
    assert "The member was unsubscribed." in done
    assert "What to do" not in done


def test_an_owner_may_see_to_it_by_hand_and_say_so(shop, there, as_alice):
    receipt(as_alice, there, "delete")
    connect.disconnect(shop.tenant, CLERK)

    page = as_alice.sees("/erasures/1/by-hand")
    noted = as_alice.sends("/erasures/1/by-hand")

    assert ADA in page
    assert "delete the contact permanently" in page
    assert "Done by hand in Mailchimp" in noted
    assert ADA not in as_alice.sees("/erasures/1/by-hand")  # which is the receipt again
    line = AuditEvent.objects.order_by("-id")[0]
    assert (line.action, line.actor_name) == ("customer.erased_in_mailchimp", "alice@opal.example")
    assert line.after == {"receipt": 1, "did": ["by_hand"]}


@pytest.mark.django_db
def test_the_receipts_are_listed_under_settings_for_owners(ada, tenant, as_alice, as_mona):
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")

    assert "/settings/erasures" in as_alice.sees("/settings")
    assert "Erasure 1" in as_alice.sees("/settings/erasures")
    assert "/settings/erasures" not in as_mona.sees("/settings")
    assert as_mona.get("/settings/erasures").status_code == 403
    assert as_mona.get("/erasures/1").status_code == 403


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/erasures/1", "/erasures/1/by-hand", "/erasures/" + "9" * 40])
def test_somebody_elses_receipt_is_not_there(ada, tenant, as_charlie, path):
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")

    assert as_charlie.get(path).status_code == 404


@pytest.mark.django_db
def test_an_erased_customers_page_is_gone(ada, tenant, as_alice):
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")

    assert as_alice.get(f"/customers/{ada.pk}").status_code == 404
    assert "Quill" not in as_alice.sees("/customers")
    trail = as_alice.sees("/settings/audit")
    assert "Quill" not in trail
    assert f"customer {ada.pk}, erased" in trail
    assert f'href="/customers/{ada.pk}"' not in trail


@pytest.mark.django_db
def test_no_link_of_the_audit_trail_leads_to_a_record_that_is_gone(ada, zoe, tenant, as_alice):
    twin, former = (written_down(tenant, first_name="Ada", last_name="Quill") for _ in range(2))
    merge.merge(tenant, Actor.command(), kept_id=ada.pk, other_id=twin.pk)
    merge.merge(tenant, Actor.command(), kept_id=zoe.pk, other_id=former.pk)
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")

    trail = as_alice.sees("/settings/audit")

    links = set(re.findall(r'href="(/customers/\d+)"', trail))
    assert links == {f"/customers/{zoe.pk}", f"/customers/{former.pk}"}
    assert {as_alice.get(link).status_code for link in links} == {200, 302}
    assert f"customer {ada.pk}, erased" in trail
    assert f"customer {twin.pk}, not in the book any more" in trail


# --- coming back ----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/customers/new", {}),
        ("/intake", {"description": "a ring"}),
        ("/pos", {"description": "a ring", "amount": "12.00"}),
    ],
)
def test_somebody_erased_is_written_down_again_only_with_a_tick_that_they_are_here(tenant, ada, as_bob, path, more):
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")
    fields = {"first_name": "Ada", "email": ADA, **more}

    before = as_bob.sees(path)
    asked = as_bob.sends(path, **fields)
    nobody = Customer.objects.count()
    as_bob.sends(path, **fields, again="on", **({"consent": "on"} if more else {}))

    back = Customer.objects.get()
    assert "want to be in the book again" not in before
    assert "They are here, and want to be in the book again" in asked
    assert "was erased on request on" in asked
    assert nobody == 0
    assert back.consent_state == ("granted" if more else "never")


@pytest.mark.django_db
def test_the_tick_is_not_asked_of_anybody_else(tenant, as_bob):
    page = as_bob.sends("/customers/new", first_name="Ben", email="name@")

    assert "nothing after the @" in page
    assert "want to be in the book again" not in page


@pytest.mark.django_db
def test_why_somebody_with_an_older_yes_is_not_in_mailchimp_is_explained(tenant, ada, as_bob):
    eve = written_down(tenant, first_name="Eve", email="eve@inbox.example")
    ledger.record(eve, CLERK, granted=True, source="intake")
    erasures.erase(tenant, Actor.command(), ada.pk, "keep")
    Customer.objects.filter(pk=eve.pk).update(email=ADA)

    page = as_bob.sees(f"/customers/{eve.pk}")

    assert "Somebody with this address was erased on request" in page
    assert "Only a yes given since then changes this" in page
