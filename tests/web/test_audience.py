"""What goes to the audience, as managers choose it; and the preview."""

from __future__ import annotations

import pytest

from nexpura.customers.models import Customer
from nexpura.integrations.models import Integration
from tests.sync.conftest import AUDIENCE, KEY
from tests.web.conftest import actions

PAGE = "/integrations/mailchimp/audience"
PREVIEW = "/integrations/mailchimp/preview"
GDPR = [{"id": "aaaaaaaaaa", "text": "E-mail offers"}, {"id": "bbbbbbbbbb", "text": "Letters"}]


def config(shop) -> dict:
    return Integration.objects.get(tenant=shop.tenant).config


@pytest.mark.parametrize(
    ("audience", "says"),
    [
        pytest.param({"double_optin": True}, "double opt-in", id="double opt-in"),
        pytest.param({"marketing_permissions": GDPR}, "once the audience has a member", id="permissions not seen yet"),
        pytest.param({"merge_fields": [{"tag": "FNAME"}]}, "has no field LNAME, PHONE", id="fields missing"),
        pytest.param(
            {"merge_fields": [{"tag": "PHONE", "type": "phone", "options": {"phone_format": "US"}}]},
            "PHONE takes North American numbers only",
            id="American phones",
        ),
        pytest.param(
            {"merge_fields": [{"tag": "SHOE", "required": True}]}, "requires SHOE", id="a required field of its own"
        ),
    ],
)
def test_what_an_audience_asks_for_is_recognised_at_connect_and_explained(audience, says, shop, as_mona):
    shop.audience(**audience)

    page = as_mona.sees(PAGE)

    assert says in page
    assert "to know about this audience" in as_mona.sees("/integrations")


def test_whom_a_double_opt_in_audience_would_ask_is_not_told_to_be_a_subscriber(shop, as_mona):
    shop.audience(double_optin=True)
    shop.consenting("ada@inbox.example")

    before = as_mona.sees("/integrations") + as_mona.sees(PREVIEW)
    shop.sync()
    after = as_mona.sees("/integrations")

    assert before.count("sent Mailchimp’s confirmation mail") == 2
    assert "added as a subscribed member" not in before
    assert "becomes a subscribed member" not in before
    assert "<strong>1</strong> asked to confirm" in after


def test_an_ordinary_audience_needs_no_words(shop, as_mona):
    shop.audience()

    assert "About this audience" not in as_mona.sees(PAGE)
    assert "First Name" in as_mona.sees(PAGE)


def test_a_chosen_mapping_is_kept_told_to_the_audit_trail_and_sent(shop, as_mona):
    shop.audience(merge_fields=[{"tag": "WHO", "name": "Who"}, {"tag": "FNAME", "name": "First"}])
    customer = shop.consenting("ada@inbox.example", first="Ada", last="King")

    page = as_mona.sends(PAGE, field_0="", field_1="full_name")

    assert "Saved" in page
    assert config(shop)["mapping"] == {"WHO": "full_name"}
    assert actions(shop.tenant)[-1] == "mailchimp.choices"
    shop.sync()
    assert shop.member(customer.email)["merge_fields"] == {"WHO": "Ada King"}


def test_a_choice_that_is_none_is_refused_and_changes_nothing(shop, as_mona):
    shop.audience()

    page = as_mona.sends(PAGE, field_0="password")

    assert "Select a valid choice" in page
    assert "mapping" not in config(shop)


def test_the_permissions_consent_means_are_chosen_by_their_words(shop, as_mona):
    shop.audience({"email_address": "there@inbox.example"}, marketing_permissions=GDPR)
    assert "E-mail offers" in as_mona.sees(PAGE)

    as_mona.sends(PAGE, permissions=["aaaaaaaaaa"], ask_to_confirm="on")

    assert config(shop)["permissions"] == ["aaaaaaaaaa"]
    assert config(shop)["ask_to_confirm"] is True
    assert "until then" not in as_mona.sees(PAGE)


def test_what_was_chosen_stays_with_the_row_until_disconnect(shop, as_mona):
    shop.audience()
    as_mona.sends(PAGE, ask_to_confirm="on")

    as_mona.sends("/integrations/mailchimp/disconnect")

    assert config(shop) == {}
    assert as_mona.get(PAGE).status_code == 302


def test_staff_may_look_ahead_and_not_choose(shop, as_bob):
    shop.audience()

    assert as_bob.get(PAGE).status_code == 403
    assert as_bob.post(PAGE, {"ask_to_confirm": "on"}).status_code == 403
    assert "Sync Customers Now" not in as_bob.sees(PREVIEW)


def test_nobody_sees_the_choices_of_another_shop(shop, as_charlie):
    shop.audience()

    assert as_charlie.get(PAGE).status_code == 302
    assert as_charlie.get(PREVIEW).status_code == 302


def test_before_the_first_sync_the_preview_warns_of_new_subscribers_and_journeys(shop, as_mona):
    shop.audience()
    shop.consenting("ada@inbox.example")

    page = as_mona.sees(PREVIEW)

    assert "welcome journeys" in page
    assert "new members" in page


def test_the_preview_counts_what_the_sync_then_does_and_writes_nothing(shop, as_mona):
    shop.audience()
    ada, bea, carl = (shop.consenting(f"{name}@inbox.example") for name in ("ada", "bea", "carl"))
    shop.sync()
    shop.says_no(ada)
    Customer.objects.filter(pk=bea.pk).update(tags=["vip"], first_name="Beatrix")
    Customer.objects.filter(pk=carl.pk).update(email="carl@post.example")
    writes = len(shop.writes())

    page = as_mona.sees(PREVIEW)

    for words in ("to unsubscribe", "details change", "tags change", "move to a new address", "one call a person"):
        assert words in page
    assert len(shop.writes()) == writes


def test_a_preview_with_nothing_to_do_says_so(shop, as_mona):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()
    shop.sync()

    assert "Nothing to send" in as_mona.sees(PREVIEW)


def test_connecting_again_reads_what_the_audience_asks_for_today(shop, as_mona):
    shop.audience()
    as_mona.sends("/integrations/mailchimp/disconnect")
    shop.audience(double_optin=True)

    as_mona.sends("/integrations/mailchimp/connect", api_key=KEY, audience_id=AUDIENCE)

    assert "double opt-in" in as_mona.sees(PAGE)
