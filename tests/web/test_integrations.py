"""The Mailchimp panel, from connect to disconnect, with the words of the public page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nexpura.integrations.models import Integration
from nexpura.sync.models import SyncRun
from tests.sync.conftest import AUDIENCE, KEY, Shop
from tests.web.conftest import actions

CONNECT = "/integrations/mailchimp/connect"
SYNC = "/integrations/mailchimp/sync"


@pytest.fixture
def audience(shop) -> None:
    """An audience with one member of its own; not connected yet."""
    shop.audience({"email_address": "fan@post.example", "status": "subscribed"})
    Integration.objects.all().delete()


def test_the_panel_offers_to_connect(as_mona):
    page = as_mona.sees("/integrations")

    for words in ("Email Marketing", "API key", "Audience / List ID", "Connect Mailchimp"):
        assert words in page
    assert 'type="password" name="api_key"' in page
    assert "Sync Customers Now" not in page


def test_connecting_shows_the_audience_and_the_sync_button(audience, tenant, as_mona):
    page = as_mona.sends(CONNECT, api_key=f" {KEY} ", audience_id=AUDIENCE, auto_sync="on")

    assert "Sync Customers Now" in page
    assert "Newsletter" in page
    assert "us14" in page
    assert "Auto-sync" in page
    assert actions(tenant)[-1] == "mailchimp.connected"


def test_the_key_is_never_shown_again_but_for_its_last_four(audience, as_mona):
    as_mona.sends(CONNECT, api_key=KEY, audience_id=AUDIENCE)

    page = as_mona.sees("/integrations")

    assert KEY not in page
    assert KEY[:-5][-4:] in page


def test_a_refused_key_brings_the_banner_and_keeps_the_audience_id(audience, as_mona):
    page = as_mona.sends(CONNECT, api_key="f" * 32 + "-us14", audience_id=AUDIENCE)

    assert "Mailchimp API error" in page
    assert "API Key Invalid" in page
    assert "revoked" in page
    assert f'value="{AUDIENCE}"' in page
    assert "f" * 32 not in page
    assert not Integration.objects.exists()


@pytest.mark.parametrize(
    "key", ["f" * 32, "f" * 32 + "-", "f" * 32 + "-us14.evil.example", "f" * 32 + "-us 14", "x" * 10_000]
)
def test_a_key_that_cannot_be_right_is_refused_before_any_request_leaves(key, shop, as_mona):
    before = len(shop.emulator.log())

    page = as_mona.sends(CONNECT, api_key=key, audience_id=AUDIENCE)

    assert "Mailchimp API error" in page
    assert key not in page
    assert len(shop.emulator.log()) == before


@pytest.mark.parametrize("fields", [{}, {"api_key": KEY}, {"audience_id": AUDIENCE}])
def test_key_and_audience_are_both_required(fields, as_mona, db):
    page = as_mona.sends(CONNECT, **fields)

    assert "This field is required." in page
    assert not Integration.objects.exists()


def test_an_audience_of_another_account_is_refused(audience, as_mona):
    page = as_mona.sends(CONNECT, api_key=KEY, audience_id="zzz999zzz9")

    assert "Mailchimp API error" in page
    assert not Integration.objects.exists()


def test_a_new_connection_was_neither_checked_nor_is_it_overdue(audience, tenant, as_mona):
    as_mona.sends(CONNECT, api_key=KEY, audience_id=AUDIENCE)
    as_mona.sends("/integrations/mailchimp/disconnect")
    Integration.objects.update(last_checked_at="2026-01-01T00:00Z", last_success_at="2026-01-01T00:00Z")

    page = as_mona.sends(CONNECT, api_key=KEY, audience_id=AUDIENCE, auto_sync="on")

    assert "26 hours" not in page
    assert "1 Jan 2026" not in page


def test_both_shops_with_one_audience_are_warned(shop, other_tenant, as_mona, as_charlie):
    shop.audience()
    alone = as_mona.sees("/integrations")
    Shop(other_tenant, shop.emulator).connect()

    assert "also connected elsewhere" not in alone
    assert "also connected elsewhere in this installation" in as_mona.sees("/integrations")
    assert "also connected elsewhere in this installation" in as_charlie.sees("/integrations")


def test_somebody_who_left_in_mailchimp_can_say_yes_again(shop, as_mona):
    ann = shop.customer("ann@inbox.example")
    shop.says_yes(ann, claimed_at=datetime(2024, 1, 1, tzinfo=UTC))
    left = {"status": "unsubscribed", "unsubscribed_by": "user", "last_changed": "2024-05-01T10:00:00+00:00"}
    shop.audience({"email_address": "ann@inbox.example", **left})
    shop.sync()
    as_mona.sends("/integrations/mailchimp/audience", ask_to_confirm="on")

    before = as_mona.sees(f"/customers/{ann.pk}")
    after = as_mona.sends(f"/customers/{ann.pk}/consent", again="on")

    assert "They said yes again" in before
    assert "Will be asked by Mailchimp to confirm at the next sync" in after
    shop.sync()
    assert shop.statuses() == {"ann@inbox.example": "pending"}


def test_the_panel_shows_how_many_subscribers_were_synced(shop, as_mona):
    shop.audience()
    shop.consenting("ann@inbox.example")
    shop.consenting("ben@inbox.example")
    shop.sync()

    page = as_mona.sees("/integrations")

    assert "✓ Synced 2 subscribers" in page
    assert "hx-trigger" not in page


def test_a_partial_success_names_the_customers_by_id_as_links(shop, as_mona):
    shop.audience()
    shop.consenting("ann@inbox.example")
    bad = shop.consenting("name@")
    shop.sync()

    page = as_mona.sees("/integrations")

    assert "✓ Synced 1 subscribers" in page
    assert "Partial success" in page
    assert f'<a href="/customers/{bad.pk}">Customer {bad.pk}</a>' in page


def test_the_button_starts_one_run_however_often_it_is_pressed(shop, tenant, as_mona):
    shop.audience()

    as_mona.sends(SYNC)
    page = as_mona.sends(SYNC)

    assert SyncRun.objects.filter(tenant=tenant).count() == 1
    assert 'hx-trigger="every 2s"' in page
    assert "No worker is running" in page
    assert "<progress" in page


def test_a_poll_gets_the_part_that_moves_and_ends_with_the_run(shop, tenant, as_mona):
    shop.audience()
    as_mona.sends(SYNC)
    poll = {"HX-Request": "true"}

    during = as_mona.get("/integrations", headers=poll).content.decode()
    SyncRun.objects.filter(tenant=tenant).update(status="succeeded", synced=7)
    after = as_mona.get("/integrations", headers=poll).content.decode()

    assert "<html" not in during
    assert "every 2s" in during
    assert "every 2s" not in after
    assert "✓ Synced 7 subscribers" in after


def test_a_sync_can_be_cancelled(shop, tenant, as_mona):
    shop.audience()
    as_mona.sends(SYNC)
    run = SyncRun.objects.get(tenant=tenant)

    page = as_mona.sends(f"/integrations/mailchimp/runs/{run.pk}/cancel")

    assert "Cancelled" in page
    assert actions(tenant)[-1] == "mailchimp.sync_cancelled"


def test_a_deleted_audience_is_told_with_the_way_out(shop, as_mona):
    shop.audience()
    shop.emulator.control(
        "reset",
        {"accounts": [{"dc": "us14", "users": [{"name": "owner", "role": "owner", "keys": [KEY]}], "lists": []}]},
    )
    shop.sync()

    page = as_mona.sees("/integrations")

    assert "Audience not found" in page
    assert "Disconnect, then connect again with the new Audience ID." in page
    assert "Needs attention" in page


def test_syncing_without_a_connection_says_so(as_mona, db):
    assert "Mailchimp is not connected" in as_mona.sends(SYNC)


def test_auto_sync_is_switched_while_connected(shop, tenant, as_mona):
    shop.audience()

    on = as_mona.sends("/integrations/mailchimp/auto-sync", auto_sync="on")
    off = as_mona.sends("/integrations/mailchimp/auto-sync")

    assert "daily, next" in on
    assert "off: on demand only" in off
    assert actions(tenant)[-2:] == ["mailchimp.auto_sync", "mailchimp.auto_sync"]


def test_a_new_key_is_tried_before_it_is_kept(shop, as_mona):
    shop.audience()

    refused = as_mona.sends("/integrations/mailchimp/key", api_key="f" * 32 + "-us14")
    accepted = as_mona.sends("/integrations/mailchimp/key", api_key=KEY)

    assert "Mailchimp API error" in refused
    assert "The new key is in use." in accepted


def test_opt_outs_mailchimp_has_not_been_told_are_counted_before_disconnect(shop, as_mona):
    shop.audience()
    ann = shop.consenting("ann@inbox.example")
    shop.sync()
    shop.says_no(ann)

    panel = as_mona.sees("/integrations")
    question = as_mona.sees("/integrations/mailchimp/disconnect")

    assert "1 opt-out not yet in Mailchimp" in panel
    assert "1 opt-out not yet in Mailchimp" in question


def test_disconnect_forgets_the_key_keeps_the_row_and_offers_to_connect_again(shop, tenant, as_mona):
    shop.audience()
    shop.sync()

    page = as_mona.sends("/integrations/mailchimp/disconnect")

    row = Integration.objects.get(tenant=tenant)
    assert (row.status, row.config_encrypted, row.config) == ("disconnected", None, {})
    assert "Connect Mailchimp" in page
    assert "All syncs".lower() in page.lower()
    assert actions(tenant)[-1] == "mailchimp.disconnected"


def test_staff_see_the_state_of_a_connected_mailchimp_without_buttons(shop, as_bob):
    shop.audience()
    shop.consenting("ann@inbox.example")
    shop.sync()

    page = as_bob.sees("/integrations")

    assert "✓ Synced 1 subscribers" in page
    for words in ("Sync Customers Now", "Disconnect", "Replace the key"):
        assert words not in page


def test_a_run_accounts_for_every_customer_and_names_what_became_of_each_address(shop, as_bob):
    shop.audience()
    shop.consenting("ann@inbox.example")
    shop.customer("ben@inbox.example")
    run = shop.sync()

    page = as_bob.get(f"/integrations/mailchimp/runs/{run.pk}")

    assert page.context["bucket_sum"] == run.book == 2
    assert b"ann@inbox.example" in page.content
    assert b"Accepted" in page.content


def test_the_runs_are_listed_newest_first(shop, as_bob):
    shop.audience()
    first, second = shop.sync(), shop.sync()

    page = as_bob.sees("/integrations/mailchimp/runs")

    assert page.index(f"Sync #{second.pk}") < page.index(f"Sync #{first.pk}")


def test_times_are_shown_in_the_tenants_time_zone(shop, tenant, as_bob):
    shop.audience()
    run = shop.sync()

    page = as_bob.sees(f"/integrations/mailchimp/runs/{run.pk}")

    assert f"{run.finished_at.astimezone(tenant.zone):%H:%M}</time>" in page


def test_before_the_first_sync_the_panel_says_how_many_it_concerns(shop, as_mona):
    shop.audience()
    shop.consenting("ann@inbox.example")
    shop.customer("ben@inbox.example")

    page = as_mona.sees("/integrations")

    assert "1 customer</strong> with marketing consent" in page


def test_after_connecting_again_the_outcome_of_the_old_connection_is_not_shown(shop, as_mona):
    shop.audience()
    shop.sync()
    as_mona.sends("/integrations/mailchimp/disconnect")

    page = as_mona.sends(CONNECT, api_key=KEY, audience_id=AUDIENCE)

    assert "Nothing synced yet" in page
    assert "✓ Synced" not in page
