"""A record erased or merged while somebody at the counter has it before them: told in words, nothing typed is lost."""

from __future__ import annotations

import threading
from html import unescape

import pytest
from django.db import connection, transaction

from nexpura.customers import merging
from nexpura.customers.models import ConsentEvent, Visit
from nexpura.sync import erasures
from tests.sync.conftest import CLERK
from tests.web.conftest import Visitor, written_down

TYPED = {"description": "Gold ring, resize", "amount": "12.50", "consent": "on"}
COUNTER = ["/intake", "/pos"]


def answered_when_it_is_over(visitor: Visitor, path: str, fields: dict[str, object], meanwhile) -> str:
    """Return the page that a form leads to, sent while `meanwhile` is done and not committed yet."""
    pages = []

    def send():
        try:
            pages.append(visitor.post(path, fields, follow=True))
        finally:
            connection.close()

    sending = threading.Thread(target=send)
    with transaction.atomic():
        meanwhile()
        sending.start()
        sending.join(0.5)
        assert not pages  # it waits
    sending.join(10)
    assert pages[0].status_code == 200
    return unescape(pages[0].content.decode())


@pytest.mark.parametrize("path", COUNTER)
def test_a_visit_of_somebody_erased_at_that_moment_is_given_back_as_typed(committed, path, tenant, zoe, as_bob):
    page = answered_when_it_is_over(
        as_bob, path, TYPED | {"customer": zoe.pk}, lambda: erasures.erase(tenant, CLERK, zoe.pk, "keep")
    )

    assert "was erased on request meanwhile, so nothing was written down" in page
    assert is_all_there(path, page)
    assert not Visit.objects.exists()
    assert not ConsentEvent.objects.exists()


@pytest.mark.parametrize("path", COUNTER)
def test_a_visit_of_somebody_erased_since_the_page_was_opened_is_given_back_as_typed(
    committed, path, tenant, zoe, as_bob
):
    erasures.erase(tenant, CLERK, zoe.pk, "keep")

    page = as_bob.sends(path, customer=zoe.pk, **TYPED)

    assert "was erased on request meanwhile, so nothing was written down" in page
    assert is_all_there(path, page)
    assert not Visit.objects.exists()


@pytest.mark.parametrize("path", COUNTER)
def test_what_was_given_back_is_kept_once_it_says_who_it_is(committed, path, tenant, zoe, as_bob):
    erasures.erase(tenant, CLERK, zoe.pk, "keep")
    as_bob.sends(path, customer=zoe.pk, **TYPED)

    as_bob.sends(path, first_name="Mei", **TYPED)

    assert Visit.objects.get().customer.name == "Mei"
    assert ConsentEvent.objects.get().state == "granted"


def is_all_there(path: str, page: str) -> bool:
    """Whether the page holds what was typed, and asks who it is."""
    amount = path == "/intake" or 'value="12.50"' in page
    box = '<input type="checkbox" name="consent" id="id_consent" checked>' in page
    return 'value="Gold ring, resize"' in page and amount and box and 'name="first_name"' in page


@pytest.mark.parametrize("path", COUNTER)
def test_a_visit_of_somebody_merged_at_that_moment_is_that_of_the_record_that_stays(
    committed, path, tenant, zoe, as_bob
):
    twin = written_down(tenant, first_name="Zoe")

    answered_when_it_is_over(
        as_bob,
        path,
        TYPED | {"customer": zoe.pk},
        lambda: merging.merge(tenant, CLERK, kept_id=twin.pk, other_id=zoe.pk),
    )

    assert Visit.objects.get().customer == twin
    assert ConsentEvent.objects.get().customer == twin


def test_a_no_of_somebody_erased_at_that_moment_says_how_it_can_be_recorded(committed, tenant, zoe, as_bob):
    page = answered_when_it_is_over(
        as_bob,
        f"/customers/{zoe.pk}/consent",
        {"stop": "on"},
        lambda: erasures.erase(tenant, CLERK, zoe.pk, "keep"),
    )

    assert "was erased on request meanwhile, so nothing was recorded" in page
    assert "write them down anew and record there what they say" in page


def test_a_no_from_the_open_page_of_somebody_erased_says_how_it_can_be_recorded(committed, tenant, zoe, as_bob):
    erasures.erase(tenant, CLERK, zoe.pk, "keep")

    page = as_bob.sends(f"/customers/{zoe.pk}/consent", stop="on")

    assert "was erased on request meanwhile, so nothing was recorded" in page


def test_details_of_somebody_erased_at_that_moment_are_said_to_be_erased_and_not_merged(committed, tenant, zoe, as_bob):
    page = answered_when_it_is_over(
        as_bob,
        f"/customers/{zoe.pk}/edit",
        {"first_name": "Zoë", "note": "prefers gold"},
        lambda: erasures.erase(tenant, CLERK, zoe.pk, "keep"),
    )

    assert "This customer was erased on request meanwhile; nothing was saved." in page
    assert "prefers gold" in page


def test_details_of_somebody_merged_at_that_moment_name_the_record_that_stays(committed, tenant, zoe, as_bob):
    twin = written_down(tenant, first_name="Zoe")

    page = answered_when_it_is_over(
        as_bob,
        f"/customers/{zoe.pk}/edit",
        {"first_name": "Zoë", "note": "prefers gold"},
        lambda: merging.merge(tenant, CLERK, kept_id=twin.pk, other_id=zoe.pk),
    )

    assert f"merged into customer {twin.pk} meanwhile; nothing was saved" in page
    assert "prefers gold" in page
