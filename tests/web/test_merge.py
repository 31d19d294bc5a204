"""Cleaning up the book: shared addresses side by side, one record of two, addresses changed in Mailchimp."""

from __future__ import annotations

import re

import pytest

from nexpura.customers import ledger, merging
from nexpura.customers.models import ConsentEvent, Customer, Visit
from nexpura.tenants.audit import Actor
from tests.web.conftest import actions, written_down

ADA = "ada@inbox.example"
NEW = "ada.king@post.example"
CLERK = Actor("user", "a clerk", 1)


@pytest.fixture
def ada(any_database, tenant) -> Customer:
    return written_down(tenant, first_name="Ada", last_name="King", email=ADA, phone="0412 000 111", external_id="J-1")


@pytest.fixture
def twin(tenant, ada) -> Customer:
    return written_down(tenant, first_name="Augusta", last_name="King", email=ADA, external_id="J-2")


def says(customer: Customer, *, yes: bool) -> None:
    ledger.record(customer, CLERK, granted=yes, source="profile")
    customer.refresh_from_db()


def seen(page: str) -> str:
    return re.search(r'name="seen" value="([0-9a-f]+)"', page)[1]


# --- shared addresses -------------------------------------------------------------------------------------------------


def test_the_book_leads_to_the_addresses_that_are_shared(as_bob, twin):
    assert '<a class="button quiet" href="/customers/shared">' in as_bob.sees("/customers")
    assert ADA in as_bob.sees("/customers/shared")


def test_a_book_without_shared_addresses_says_so(as_bob, ada):
    assert "/customers/shared" not in as_bob.sees("/customers")
    assert "No shared addresses" in as_bob.sees("/customers/shared")


def test_customers_who_share_an_address_stand_side_by_side_with_whose_name_is_sent(as_mona, ada, twin):
    says(ada, yes=True)
    says(twin, yes=True)

    page = as_mona.sees("/customers/shared")

    rows = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", page, re.S)
    assert [(">Ada King<" in row, ">Augusta King<" in row) for row in rows] == [(True, False), (False, True)]
    assert ["Their name" in row for row in rows] == [False, True]
    assert "+61412000111" in rows[0]
    assert all("Granted" in row and re.search(r"\d+ \w{3} 20\d\d", row) for row in rows)
    assert f'href="/customers/{twin.pk}/merge/{ada.pk}"' in rows[0]


@pytest.mark.parametrize(("who", "sees_it"), [("as_alice", True), ("as_mona", True), ("as_bob", False)])
def test_owners_and_managers_merge_and_staff_only_look(request, twin, ada, who, sees_it):
    visitor = request.getfixturevalue(who)

    page = visitor.sees("/customers/shared")

    assert ("Merge…" in page) is sees_it
    assert visitor.get(f"/customers/{ada.pk}/merge/{twin.pk}").status_code == (200 if sees_it else 403)
    assert visitor.post(f"/customers/{ada.pk}/merge/{twin.pk}").status_code == (200 if sees_it else 403)
    assert Customer.objects.filter(pk=twin.pk).exists()


def test_many_shared_addresses_are_read_page_by_page_the_newest_first(as_bob, tenant):
    for number in range(30):
        for _ in range(2):
            written_down(tenant, first_name="Ann", email=f"c{number:02}@inbox.example")

    first = as_bob.sees("/customers/shared")
    more = re.search(r'rel="next" href="(\?before=\d+)"', first)[1]
    second = as_bob.sees(f"/customers/shared{more}")

    assert ("c29@" in first, "c05@" in first, "c04@" in first) == (True, True, False)
    assert ("c04@" in second, "c00@" in second, "c05@" in second) == (True, True, False)
    assert 'rel="next"' not in second


def test_a_customers_page_leads_to_those_who_share_the_address_and_nobody_elses(as_mona, tenant, ada, twin):
    for _ in range(2):
        written_down(tenant, first_name="Bea", email="bea@inbox.example")
    assert f'href="/customers/{ada.pk}/shared"' in as_mona.sees(f"/customers/{ada.pk}")

    page = as_mona.sees(f"/customers/{ada.pk}/shared")

    assert ADA in page
    assert "bea@inbox.example" not in page


def test_shared_addresses_of_another_shop_are_not_seen(as_charlie, ada, twin):
    assert ADA not in as_charlie.sees("/customers/shared")
    assert as_charlie.get(f"/customers/{ada.pk}/shared").status_code == 404
    assert as_charlie.get(f"/customers/{ada.pk}/merge/{twin.pk}").status_code == 404
    assert as_charlie.post(f"/customers/{ada.pk}/merge/{twin.pk}").status_code == 404
    assert as_charlie.get(f"/customers/{ada.pk}").status_code == 404


def test_a_record_of_another_shop_is_not_merged_into_ours(as_mona, ada, other_tenant):
    theirs = written_down(other_tenant, first_name="Ada", email=ADA)

    assert as_mona.post(f"/customers/{ada.pk}/merge/{theirs.pk}").status_code == 404
    assert as_mona.post(f"/customers/{theirs.pk}/merge/{ada.pk}").status_code == 404


# --- one record of two ------------------------------------------------------------------------------------------------


def test_the_merge_page_shows_what_the_record_will_be(as_mona, ada, twin):
    page = as_mona.sees(f"/customers/{ada.pk}/merge/{twin.pk}")

    assert re.search(r'name="first_name" value="\d+" checked><label for="first_name-kept">Ada<', page)
    assert "Augusta" in page
    assert "an import with J-2 finds this record too" in page
    assert "Neither was ever asked" in page
    assert f'href="/customers/{twin.pk}/merge/{ada.pk}"' in page


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (True, False, "Marketing consent is withdrawn: the no of"),
        (False, True, "Marketing consent stands: the newest answer is the yes of"),
        (None, True, "Marketing consent stands: the newest answer is the yes of"),
    ],
)
def test_what_happens_to_consent_is_one_sentence(as_mona, ada, twin, first, second, sentence):
    if first is not None:
        says(ada, yes=first)
    says(twin, yes=second)

    page = as_mona.sees(f"/customers/{ada.pk}/merge/{twin.pk}")

    assert sentence in page
    assert f"recorded on customer {twin.pk}" in page


def test_somebody_elses_no_at_the_address_that_is_chosen_is_told(as_mona, tenant, ada):
    other = written_down(tenant, first_name="Ada", email=NEW)
    says(ada, yes=True)
    third = written_down(tenant, first_name="Tom", email=NEW)
    says(third, yes=False)

    page = as_mona.sees(f"/customers/{ada.pk}/merge/{other.pk}")

    assert f"With {ADA}:" in page
    assert "Marketing consent stands" in page
    assert "somebody else said no for it" in page


def test_a_manager_merges_and_both_histories_are_on_one_page(as_mona, tenant, ada, twin, mona):
    says(ada, yes=True)
    says(twin, yes=False)
    Visit.objects.create(tenant=tenant, kind="intake", customer=twin, description="a ring to resize")
    path = f"/customers/{ada.pk}/merge/{twin.pk}"

    page = as_mona.sends(path, seen=seen(as_mona.sees(path)), first_name=twin.pk)

    assert f"Customer {twin.pk} was merged into this one." in page
    assert "Augusta King" in page
    assert f"recorded on customer {twin.pk} before the merge" in page
    assert "a ring to resize" in page
    assert f"by customer {twin.pk} before the merge" in page
    assert actions(tenant)[-2:] == ["customer.merged", "customer.merged_away"]
    assert Customer.objects.get(tenant=tenant).consent_state == "withdrawn"


def test_a_choice_nobody_offered_is_no_choice(as_mona, tenant, ada, twin):
    stranger = written_down(tenant, first_name="Tom")
    path = f"/customers/{ada.pk}/merge/{twin.pk}"

    as_mona.sends(path, seen=seen(as_mona.sees(path)), first_name=stranger.pk, external_id=twin.pk, note="x")

    ada.refresh_from_db()
    assert (ada.first_name, ada.external_id, ada.note) == ("Ada", "J-1", "")


@pytest.mark.parametrize("sent", ["", "made up"])
def test_nothing_is_merged_that_nobody_has_looked_at(as_mona, ada, twin, sent):
    page = as_mona.sends(f"/customers/{ada.pk}/merge/{twin.pk}", seen=sent)

    assert "changed while this page was open" in page
    assert Customer.objects.filter(pk=twin.pk).exists()


def test_what_changed_meanwhile_is_shown_before_it_is_merged(as_mona, ada, twin):
    path = f"/customers/{ada.pk}/merge/{twin.pk}"
    before = seen(as_mona.sees(path))
    Customer.objects.filter(pk=twin.pk).update(first_name="Gusta")

    page = as_mona.sends(path, seen=before, first_name=twin.pk)

    assert "changed while this page was open" in page
    assert re.search(r'value="\d+" checked><label for="first_name-other">Gusta<', page)
    as_mona.sends(path, seen=seen(page))
    assert not Customer.objects.filter(pk=twin.pk).exists()


def test_a_record_and_itself_are_nothing_to_merge(as_mona, ada):
    assert "nothing to merge" in as_mona.sees(f"/customers/{ada.pk}/merge/{ada.pk}")


# --- the record that is no more ---------------------------------------------------------------------------------------


@pytest.fixture
def gone(tenant, ada, twin) -> Customer:
    merging.merge(tenant, CLERK, kept_id=ada.pk, other_id=twin.pk)
    return twin


@pytest.mark.parametrize("page", ["", "/edit"])
def test_the_page_of_a_merged_record_leads_to_the_one_that_stayed(as_mona, ada, gone, page):
    response = as_mona.get(f"/customers/{gone.pk}{page}")

    assert (response.status_code, response["Location"]) == (302, f"/customers/{ada.pk}")
    assert f"Customer {gone.pk} was merged into this one" in as_mona.sees(f"/customers/{ada.pk}")


def test_a_no_sent_from_the_open_page_of_a_merged_record_is_recorded(as_bob, ada, gone):
    page = as_bob.sends(f"/customers/{gone.pk}/consent", stop="on")

    assert "Withdrawal recorded" in page
    assert ConsentEvent.objects.get().customer_id == ada.pk


def test_details_sent_from_the_open_page_of_a_merged_record_overwrite_nothing(as_bob, ada, gone):
    page = as_bob.sends(f"/customers/{gone.pk}/edit", first_name="Gusta", last_name="Kong")

    assert "nothing was saved" in page
    ada.refresh_from_db()
    assert ada.first_name == "Ada"


@pytest.mark.parametrize(("page", "more"), [("/intake", {}), ("/pos", {"amount": "12.00"})])
def test_a_visit_of_a_merged_record_is_written_down_for_the_one_that_stayed(as_bob, ada, gone, page, more):
    as_bob.sends(page, customer=gone.pk, description="a ring", consent="on", **more)

    ada.refresh_from_db()
    assert Visit.objects.get().customer_id == ada.pk
    assert ada.consent_state == "granted"


def test_merging_what_is_one_record_already_leads_to_it(as_mona, ada, gone):
    assert f"Customer {gone.pk} was merged into this one" in as_mona.sees(f"/customers/{ada.pk}/merge/{gone.pk}")


def test_links_to_a_merged_record_merge_the_one_that_stayed(as_mona, tenant, ada, gone):
    third = written_down(tenant, first_name="Ada", email=ADA)

    response = as_mona.get(f"/customers/{third.pk}/merge/{gone.pk}")

    assert response["Location"] == f"/customers/{third.pk}/merge/{ada.pk}"


# --- addresses changed in Mailchimp -----------------------------------------------------------------------------------


@pytest.fixture
def moved(shop) -> Customer:
    """Ada, who gave herself another address in Mailchimp."""
    shop.audience()
    ada = shop.consenting(ADA, first="Ada")
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    shop.sync()
    return ada


def test_the_panel_names_who_changed_their_address(moved, as_bob):
    page = as_bob.sees("/integrations")

    assert "1 person changed their address in Mailchimp" in page
    assert f'<a href="/customers/{moved.pk}">Ada Example</a>' in page


def test_staff_take_the_new_address_over(moved, shop, as_bob):
    page = as_bob.sees(f"/customers/{moved.pk}")
    assert f"In Mailchimp this person changed their address to {NEW}" in page

    page = as_bob.sends(f"/customers/{moved.pk}/new-address", address=NEW, answer="take over")

    assert "The new address is in the book." in page
    assert "changed their address" not in page
    moved.refresh_from_db()
    assert moved.email == NEW
    assert "changed their address" not in as_bob.sees("/integrations")


def test_staff_keep_the_old_address(moved, shop, as_bob):
    page = as_bob.sends(f"/customers/{moved.pk}/new-address", address=NEW, answer="keep")

    assert "The old address stays." in page
    assert "Will be added at the next sync" in page
    moved.refresh_from_db()
    assert moved.email == ADA


@pytest.mark.parametrize(
    ("who", "words"), [("as_mona", "merge the two records"), ("as_bob", "ask an owner or manager")]
)
def test_a_new_address_that_is_in_the_book_already_is_offered_for_a_merge(request, moved, shop, who, words):
    twin = shop.customer(NEW, first="Augusta")
    visitor = request.getfixturevalue(who)

    page = visitor.sees(f"/customers/{moved.pk}")

    assert f"Augusta Example, customer {twin.pk}" in page
    assert words in page
    assert "Take over the new address" not in page
    assert (f'href="/customers/{twin.pk}/merge/{moved.pk}"' in page) is (who == "as_mona")


def test_a_no_said_here_is_told_beside_the_address_that_still_gets_mail(moved, shop, as_bob):
    shop.says_no(moved)

    assert "the new address still gets your mail" in as_bob.sees(f"/customers/{moved.pk}")
    assert "said no here" in as_bob.sees("/integrations")
    assert "1 waits for your answer about a changed address" in as_bob.sees("/integrations")


def test_who_disconnects_is_told_which_opt_outs_wait_for_an_answer(moved, shop, as_mona):
    shop.says_no(moved)

    page = as_mona.sees("/integrations/mailchimp/disconnect")

    assert "1 opt-out not yet in Mailchimp" in page
    assert "answer which address holds" in page


def test_an_answer_to_another_question_changes_nothing(moved, as_bob):
    page = as_bob.sends(f"/customers/{moved.pk}/new-address", address="tom@else.example", answer="take over")

    assert "changed while the page was open" in page
    moved.refresh_from_db()
    assert moved.email == ADA


def test_another_shop_answers_nothing_for_us(moved, as_charlie):
    response = as_charlie.post(f"/customers/{moved.pk}/new-address", {"address": NEW, "answer": "take over"})

    assert response.status_code == 404


def test_an_unsubscribe_in_mailchimp_is_told_in_plain_words(shop, as_bob):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert "Unsubscribed in Mailchimp" in as_bob.sees(f"/customers/{ada.pk}")
