"""The book: list and search, new and edit, the Overview with its consent switch."""

from __future__ import annotations

import pytest

from nexpura.customers import ledger
from nexpura.customers.models import ConsentEvent, Customer
from tests.web.conftest import actions, written_down

pytestmark = pytest.mark.django_db


def test_an_empty_book_says_how_customers_come_in(as_bob):
    page = as_bob.sees("/customers")

    assert "The book is empty" in page


def test_the_list_shows_each_customer_with_their_consent(zoe, as_bob):
    page = as_bob.sees("/customers")

    assert f'<a href="/customers/{zoe.pk}">Zoë Nguyen</a>' in page
    assert "Never asked" in page


@pytest.mark.parametrize("query", ["zo", "NGUYEN", "zoe@inbox", "0412 345", "Zoe Ng"])
def test_a_customer_is_found_by_the_beginning_of_name_address_or_phone(query, zoe, tenant, as_bob):
    written_down(tenant, first_name="Tom", email="tom@post.example")

    page = as_bob.sees(f"/customers?q={query}")

    assert "zoe@inbox.example" in page
    assert "tom@post.example" not in page


def test_a_search_that_finds_nobody_says_so(zoe, as_bob):
    assert "Nobody found" in as_bob.sees("/customers?q=xylophone")


def test_a_long_book_is_read_page_by_page(tenant, as_bob):
    for number in range(51):
        written_down(tenant, first_name="Ann", last_name=f"Example {number:02d}")

    first = as_bob.get("/customers")
    cursor = first.context["page"].next
    second = as_bob.sees(f"/customers?after={cursor}")

    assert b"Example 50" not in first.content
    assert "Example 50" in second
    assert "Example 49" not in second


def test_a_new_customer_is_kept_as_the_book_keeps_them(tenant, as_bob):
    page = as_bob.sends(
        "/customers/new",
        first_name=" Mei ",
        last_name="Chen",
        email="mei@inbox.example",
        phone="0412 000 111",
        tags="VIP",
    )

    customer = Customer.objects.get(tenant=tenant)
    assert "Mei Chen is in the book." in page
    assert (customer.first_name, customer.phone, customer.tags) == ("Mei", "+61412000111", ["VIP"])
    assert customer.consent_state == "never"
    assert actions(tenant) == ["customer.created"]


@pytest.mark.parametrize("email", ["name@", "a@b@inbox.example", "ann@inbox.example.", "x" * 300 + "@inbox.example"])
def test_a_bad_address_is_told_at_its_field_and_nothing_is_kept(email, tenant, as_bob):
    page = as_bob.sends("/customers/new", first_name="Mei", email=email)

    assert 'id="id_email_error"' in page
    assert 'value="Mei"' in page
    assert not Customer.objects.filter(tenant=tenant).exists()


def test_a_customer_number_that_is_taken_is_told_at_its_field(tenant, as_bob):
    written_down(tenant, first_name="Tom", external_id="T-1")

    page = as_bob.sends("/customers/new", first_name="Mei", external_id="T-1")

    assert 'id="id_external_id_error"' in page


def test_an_edit_changes_the_details_and_leaves_consent_alone(zoe, tenant, as_bob):
    page = as_bob.sends(f"/customers/{zoe.pk}/edit", first_name="Zoe", last_name="Tran", email="zoe@post.example")

    assert "Zoe Tran" in page
    assert "zoe@post.example" in page
    assert actions(tenant)[-1] == "customer.changed"
    assert not ConsentEvent.objects.exists()


def test_the_switch_records_a_grant_with_who_where_and_the_words(zoe, tenant, bob, as_bob):
    page = as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on", source="intake")

    event = ConsentEvent.objects.get(customer=zoe)
    assert "Marketing consent recorded" in page
    assert (event.state, event.source, event.actor_id) == ("granted", "intake", bob.pk)
    assert event.wording_text == ledger.current_wording(tenant).text
    assert event.address == "zoe@inbox.example"
    assert actions(tenant)[-1] == "consent.granted"


def test_what_comes_of_a_yes_is_said_with_it(tenant, as_bob):
    nobody = written_down(tenant, first_name="Tom")

    page = as_bob.sends(f"/customers/{nobody.pk}/consent", granted="on")

    assert "Marketing consent recorded. Not in the audience." in page


def test_a_yes_that_a_later_no_at_the_same_address_outvotes_is_told_so_and_can_be_said_again(zoe, tenant, as_bob):
    as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on")
    tom = written_down(tenant, first_name="Tom", email="zoe@inbox.example")
    as_bob.sends(f"/customers/{tom.pk}/consent", stop="on")

    outvoted = as_bob.sees(f"/customers/{zoe.pk}")
    untouched = as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on")
    heard = as_bob.sends(f"/customers/{zoe.pk}/consent", again="on")

    assert "later somebody else who has this address said no" in outvoted
    assert "Nothing to record" in untouched
    assert "Marketing consent recorded" in heard
    assert "said no, and that counts" not in heard
    assert "They said yes again" not in heard


def test_the_switch_turned_off_records_a_withdrawal(zoe, as_bob):
    as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on")

    page = as_bob.sends(f"/customers/{zoe.pk}/consent")

    zoe.refresh_from_db()
    assert "Withdrawal recorded" in page
    assert zoe.consent_state == "withdrawn"


def test_somebody_who_never_agreed_can_still_say_stop_writing_to_me(zoe, as_bob):
    as_bob.sends(f"/customers/{zoe.pk}/consent", stop="on")

    zoe.refresh_from_db()
    assert zoe.consent_state == "withdrawn"


def test_saving_the_switch_untouched_is_no_event(zoe, as_bob):
    page = as_bob.sends(f"/customers/{zoe.pk}/consent", source="profile")

    assert "Nothing to record" in page
    assert not ConsentEvent.objects.exists()


def test_a_source_nobody_offered_is_refused(zoe, as_bob):
    page = as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on", source="mailchimp")

    assert "Choose where" in page
    assert not ConsentEvent.objects.exists()


def test_the_overview_shows_the_history_and_answers_why_somebody_is_not_in_mailchimp(zoe, as_bob):
    as_bob.sends(f"/customers/{zoe.pk}/consent", stop="on")

    page = as_bob.sees(f"/customers/{zoe.pk}")

    assert "Why isn’t this customer in Mailchimp?" in page
    assert "Marketing consent was withdrawn." in page
    assert "On the customer's page" in page
    assert "bob@opal.example" in page


def test_without_mailchimp_nobody_is_told_to_wait_for_a_sync(zoe, as_bob):
    page = as_bob.sends(f"/customers/{zoe.pk}/consent", granted="on")

    assert "Marketing consent recorded. Mailchimp is not connected." in page
    assert "An owner or manager connects it under Integrations." in page
    assert "wait for the daily sync" not in page


def test_names_are_shown_as_text_never_as_markup(tenant, as_bob):
    customer = written_down(tenant, first_name="<script>alert(1)</script>")

    page = as_bob.get(f"/customers/{customer.pk}").content.decode()

    assert "<script>alert(1)" not in page
