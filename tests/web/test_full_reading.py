"""Everybody in the audience read again: the button, and what the pages tell of it."""

from __future__ import annotations

import pytest

from nexpura.sync.models import KnownMember, SyncRun
from tests.sync.conftest import Shop
from tests.sync.test_full_reading import ADA, consenting, full, there
from tests.web.conftest import Visitor, actions

READ = "/integrations/mailchimp/read-whole"


@pytest.fixture
def agreed(shop) -> Shop:
    shop.audience(there(ADA), there("own@post.example"))
    shop.ada = consenting(shop)
    shop.sync()
    return shop


def test_a_manager_has_everybody_read_again(agreed, tenant, as_mona):
    page = as_mona.sees("/integrations")

    after = as_mona.sends(READ)

    run = SyncRun.objects.latest("id")
    assert "Read everybody again" in page
    assert (run.status, run.full, run.past_brake) == ("queued", True, False)
    assert "Waiting to start" in after
    assert "to read everybody" in as_mona.sees(f"/integrations/mailchimp/runs/{run.pk}")
    assert actions(tenant)[-1] == "mailchimp.sync_started"


def test_a_click_during_a_sync_says_that_it_came_too_late(agreed, as_mona):
    as_mona.sends("/integrations/mailchimp/sync")
    SyncRun.objects.filter(status="queued").update(status="running", started_at="2026-11-30T10:00Z")

    page = as_mona.sends(READ)

    assert "A sync is under way. Ask for the whole audience once it has ended." in page
    assert not SyncRun.objects.filter(full=True).exists()


def test_without_a_connection_there_is_nobody_to_be_read(as_mona):
    assert "connect it first" in as_mona.sends(READ)


def test_staff_see_when_everybody_was_read_and_no_button(agreed, as_bob):
    page = as_bob.sees("/integrations")

    assert "Everybody last read" in page
    assert "Read everybody again" not in page


def test_a_form_of_another_site_starts_nothing(agreed, mona):
    visitor = Visitor(enforce_csrf_checks=True).signed_in_as(mona)

    assert visitor.post(READ).status_code == 403
    assert not SyncRun.objects.filter(full=True).exists()


def test_nobody_has_another_shops_audience_read(agreed, as_charlie):
    as_charlie.sends(READ)

    assert not SyncRun.objects.filter(full=True).exists()


def test_an_audience_as_it_was_known_is_told_so(agreed, as_bob):
    run = full(agreed)

    assert "as known here" in as_bob.sees("/integrations")
    assert "Everybody was as they were known here." in as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")


def test_a_sync_that_read_changes_only_tells_nothing_of_it(agreed, as_bob):
    run = agreed.sync()

    assert "Everybody in the audience was read" not in as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")


def test_drift_is_told_on_both_pages_in_words_and_by_customer(agreed, as_bob):
    KnownMember.objects.filter(address=ADA).update(status="cleaned")
    agreed.person("own@post.example", "delete_permanent")
    run = full(agreed)

    panel, page = as_bob.sees("/integrations"), as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")

    assert "2 members were otherwise than known here" in panel
    assert f"/integrations/mailchimp/runs/{run.pk}#drift" in panel
    assert "With another status than was known here" in page
    assert "No longer in the audience: deleted in Mailchimp" in page
    assert f'<a href="/customers/{agreed.ada.pk}">{agreed.ada.pk}</a>' in page
    assert ADA not in page
    assert "own@post.example" not in page


def test_the_panel_still_tells_of_drift_after_the_next_sync(agreed, as_bob):
    KnownMember.objects.filter(address=ADA).delete()
    run = full(agreed)
    agreed.sync()

    page = as_bob.sees("/integrations")

    assert "1 not as known" in page
    assert f"/integrations/mailchimp/runs/{run.pk}#drift" in page


def test_a_listing_that_changed_while_it_was_read_is_told(agreed, as_bob):
    run = full(agreed)
    SyncRun.objects.filter(pk=run.pk).update(drift={"complete": False, "found": {}})

    page = as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")

    assert "Who is no longer in the audience could not be told this time" in page
    assert "as known here" not in as_bob.sees("/integrations")


def test_a_customer_who_is_not_in_the_book_any_more_is_no_link(agreed, as_bob):
    KnownMember.objects.filter(address=ADA).delete()
    run = full(agreed)
    SyncRun.objects.filter(pk=run.pk).update(
        drift={"complete": True, "found": {"unknown": {"members": 1, "customers": [987654]}}}
    )

    page = as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")

    assert "987654" in page
    assert "/customers/987654" not in page
