"""What real life does to consent: people leave in Mailchimp, come back, move, are renamed, tagged (B2 to B6, A18)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nexpura.customers.models import ConsentEvent, Customer
from nexpura.integrations.models import Integration
from nexpura.sync.models import KnownMember
from tests.sync.conftest import Shop

ADA = "ada@inbox.example"
NEW = "ada.king@post.example"


def choose(shop, **config) -> None:
    """Set what a manager chooses on the panel."""
    integration = Integration.objects.get(tenant=shop.tenant)
    integration.config = {**integration.config, **config}
    integration.save()


def mailchimp_is_at(shop, **ago) -> None:
    """Set Mailchimp's clock, so that what happens there next lies so far back."""
    now = (datetime.now(UTC) - timedelta(**ago)).isoformat() if ago else None
    shop.emulator.control("clock", {"now": now})


def rename(customer: Customer, email: str) -> None:
    Customer.objects.filter(pk=customer.pk).update(email=email)
    customer.refresh_from_db()


def consent_of(customer: Customer) -> str:
    customer.refresh_from_db()
    return customer.consent_state


def settled(shop) -> None:
    """A further sync writes nothing."""
    begin = len(shop.writes())
    shop.sync()
    assert shop.writes()[begin:] == []


# --- their no reaches the book (B3) --------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["unsubscribe", "complaint", "unsubscribe_admin"])
def test_an_unsubscribe_first_seen_after_connecting_becomes_a_withdrawal(shop, event):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, event)

    run = shop.sync()

    newest = ConsentEvent.objects.filter(customer=ada).order_by("-effective_at").first()
    assert (consent_of(ada), newest.source, newest.address) == ("withdrawn", "mailchimp", ADA)
    assert run.counts["withheld"] == 1
    settled(shop)


def test_what_stood_in_mailchimp_before_connecting_changes_nothing_in_the_book(shop):
    ada = shop.consenting(ADA)
    shop.audience({"email_address": ADA, "status": "unsubscribed", "unsubscribed_by": "user"})

    run = shop.sync()

    assert consent_of(ada) == "granted"
    assert (run.counts["kept"], shop.statuses()) == (1, {ADA: "unsubscribed"})


def test_archiving_bounces_and_our_own_writes_are_nobodys_no(shop):
    shop.audience()
    people = [shop.consenting(f"{name}@inbox.example") for name in ("archived", "bounced", "ours")]
    shop.sync()
    shop.person("archived@inbox.example", "archive")
    shop.person("bounced@inbox.example", "hard_bounce")
    shop.says_no(people[2])
    shop.sync()

    shop.sync()

    assert [consent_of(one) for one in people] == ["granted", "granted", "withdrawn"]
    assert not ConsentEvent.objects.filter(source="mailchimp").exists()


def test_a_yes_recorded_after_they_left_is_not_taken_back(shop):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.consenting(ADA)
    shop.sync()
    mailchimp_is_at(shop, hours=1)
    shop.person(ADA, "unsubscribe")

    run = shop.sync()

    assert consent_of(ada) == "granted"
    assert run.counts["kept"] == 1


def test_everybody_at_the_address_withdraws_and_nobody_else(shop):
    shop.audience()
    ada, bea = shop.consenting(ADA, first="Ada"), shop.customer(ADA, first="Bea")
    carl = shop.consenting("carl@inbox.example")
    shop.sync()
    shop.person(ADA, "unsubscribe")

    shop.sync()

    assert [consent_of(one) for one in (ada, bea, carl)] == ["withdrawn", "withdrawn", "granted"]


def test_somebody_who_came_and_left_between_two_syncs_has_said_no(shop):
    shop.audience()
    ada = shop.customer(ADA)
    shop.sync()
    shop.person(ADA, "signup")
    shop.person(ADA, "unsubscribe")

    shop.sync()

    assert consent_of(ada) == "withdrawn"


@pytest.mark.parametrize("reply", ["heard", "lost"])
def test_an_opt_out_by_another_shop_on_the_same_audience_is_nobodys_no_here(shop, other_tenant, reply, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ours, theirs = shop, Shop(other_tenant, shop.emulator)
    assert theirs.connect().also_elsewhere
    ada, her_double = ours.consenting(ADA), theirs.consenting(ADA)
    ours.sync()
    theirs.sync()
    theirs.says_no(her_double)
    if reply == "lost":
        shop.emulator.control("faults", [{"kind": "reset", "method": "PATCH", "when": "after"}])
    theirs.sync()
    shop.emulator.control("faults", [])

    run = ours.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert consent_of(ada) == "granted"
    assert run.counts["kept"] == 1


# --- undo and return (B2) ------------------------------------------------------------------------------------------


def left_and_said_yes_again(shop, **audience) -> Customer:
    shop.audience(**audience)
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    mailchimp_is_at(shop, hours=1)
    shop.person(ADA, "unsubscribe")
    shop.sync()
    mailchimp_is_at(shop)
    assert consent_of(ada) == "withdrawn"
    shop.says_yes(ada)
    return ada


def test_whoever_left_by_themselves_stays_so_unless_the_shop_allows_to_ask(shop):
    left_and_said_yes_again(shop)

    run = shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert run.counts["kept"] == 1


def test_after_a_newer_yes_mailchimp_asks_once_and_the_click_decides(shop):
    left_and_said_yes_again(shop)
    choose(shop, ask_to_confirm=True)

    run = shop.sync()

    assert (shop.statuses(), run.counts["asked"]) == ({ADA: "pending"}, 1)
    settled(shop)
    shop.person(ADA, "confirm")
    assert shop.sync().synced == 1


def test_nobody_is_asked_twice_for_one_yes(shop):
    left_and_said_yes_again(shop)
    choose(shop, ask_to_confirm=True)
    shop.sync()
    shop.person(ADA, "unsubscribe_admin")

    run = shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert shop.emulator.metrics()["confirmation_mails"] == {"abc123def4": 1}
    assert run.status == "succeeded"
    settled(shop)


def test_a_complaint_is_never_asked_to_come_back(shop):
    shop.audience()
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    shop.person(ADA, "complaint")
    shop.sync()
    choose(shop, ask_to_confirm=True)
    shop.says_yes(ada)

    shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    settled(shop)


# --- changed addresses (B5) ----------------------------------------------------------------------------------------


def test_a_member_of_ours_moves_with_its_customer_and_keeps_its_history(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    contact = shop.member(ADA)["contact_id"]
    rename(ada, NEW)

    run = shop.sync()

    assert shop.statuses() == {NEW: "subscribed"}
    assert shop.member(NEW)["contact_id"] == contact
    assert (run.counts["updated"], run.synced, run.faulty) == (1, 1, False)
    settled(shop)


def test_a_member_who_was_there_before_is_not_ours_to_move(shop):
    shop.audience({"email_address": ADA})
    ada = shop.consenting(ADA)
    shop.sync()
    rename(ada, NEW)

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}
    settled(shop)


def test_a_taken_new_address_is_updated_and_our_old_member_unsubscribed(shop):
    shop.audience({"email_address": NEW})
    ada = shop.consenting(ADA)
    shop.sync()
    rename(ada, NEW)

    shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed", NEW: "subscribed"}
    settled(shop)


def test_with_double_opt_in_the_new_address_confirms_for_itself(shop):
    shop.audience(double_optin=True)
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "confirm")
    shop.sync()
    rename(ada, NEW)

    shop.sync()

    assert shop.statuses()[NEW] == "pending"


def test_an_old_address_that_somebody_else_consents_at_keeps_its_member(shop):
    shop.audience()
    ada, bea = shop.consenting(ADA, first="Ada"), shop.consenting(ADA, first="Bea")
    shop.sync()
    rename(bea, NEW)

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}
    assert ada.pk != bea.pk
    settled(shop)


def test_two_customers_who_swap_addresses_swap_names_and_nothing_else(shop):
    shop.audience()
    ada, bea = shop.consenting(ADA, first="Ada"), shop.consenting(NEW, first="Bea")
    shop.sync()
    rename(ada, "between@inbox.example")
    rename(bea, ADA)
    rename(ada, NEW)

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}
    assert shop.member(ADA)["merge_fields"]["FNAME"] == "Bea"
    settled(shop)


def test_a_change_and_a_change_back_between_syncs_is_no_change(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    rename(ada, NEW)
    rename(ada, ADA)

    settled(shop)

    assert shop.statuses() == {ADA: "subscribed"}


def test_several_changes_between_syncs_are_one_move(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    for email in ("one@inbox.example", "two@inbox.example", NEW):
        rename(ada, email)

    shop.sync()

    assert shop.statuses() == {NEW: "subscribed"}


def test_moving_back_and_forth_ends_where_the_customer_is(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    for email in (ADA, NEW, ADA, NEW):
        rename(ada, email)
        shop.sync()

    assert shop.statuses() == {NEW: "subscribed"}
    settled(shop)


def test_an_address_taken_off_the_customer_ends_our_member_and_coming_back_needs_no_new_yes(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    rename(ada, "")
    shop.sync()
    assert shop.statuses() == {ADA: "unsubscribed"}
    rename(ada, ADA)

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed"}
    settled(shop)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_move_whose_reply_was_lost_is_looked_at_before_it_is_repeated(shop, when):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    rename(ada, NEW)
    shop.emulator.control("faults", [{"kind": "reset", "method": "PATCH", "when": when, "times": 9}])
    shop.sync()
    shop.emulator.control("faults", [])

    shop.sync()
    shop.sync()

    assert shop.statuses() == {NEW: "subscribed"}
    settled(shop)


def test_an_address_the_person_changed_in_mailchimp_is_proposed_and_not_applied(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)

    run = shop.sync()

    ada.refresh_from_db()
    assert ada.email == ADA
    assert shop.statuses() == {NEW: "subscribed"}
    assert KnownMember.objects.get(address=ADA).renamed_to == NEW
    assert run.counts["kept"] == 1
    settled(shop)


# --- tags (A18) ----------------------------------------------------------------------------------------------------


def tag(customer: Customer, *tags: str) -> None:
    Customer.objects.filter(pk=customer.pk).update(tags=list(tags))


def test_tags_of_a_customer_travel_and_only_ours_are_ever_removed(shop):
    shop.audience({"email_address": ADA, "tags": ["theirs"]})
    ada = shop.consenting(ADA)
    new = shop.customer("new@inbox.example")
    tag(new, "vip", "rings")
    shop.says_yes(new)
    tag(ada, "vip", "theirs")
    shop.sync()
    assert set(shop.member(ADA)["tags"]) == {"vip", "theirs"}
    assert set(shop.member("new@inbox.example")["tags"]) == {"vip", "rings"}
    tag(ada)
    tag(new, "rings")

    run = shop.sync()

    assert shop.member(ADA)["tags"] == ["theirs"]
    assert shop.member("new@inbox.example")["tags"] == ["rings"]
    assert (run.counts["updated"], run.faulty) == (2, False)
    settled(shop)


def test_tags_and_names_that_change_together_are_one_customer_updated(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(tags=["vip"], first_name="Augusta")

    run = shop.sync()

    assert (run.counts["updated"], run.counts["agreement"], run.faulty) == (1, 0, False)
    assert (shop.member(ADA)["tags"], shop.member(ADA)["merge_fields"]["FNAME"]) == (["vip"], "Augusta")
    settled(shop)


def test_a_change_of_tags_sets_off_no_automation(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    tag(ada, "vip")

    shop.sync()

    sent = [row["body"] for row in shop.writes() if row["path"].endswith("/tags")]
    assert sent == [{"tags": [{"name": "vip", "status": "active"}], "is_syncing": True}]


def test_tags_go_after_opt_outs_and_adds(shop):
    shop.audience()
    ada, bea = shop.consenting(ADA), shop.consenting("bea@inbox.example")
    shop.sync()
    begin = len(shop.writes())
    tag(ada, "vip")
    shop.says_no(bea)
    shop.consenting("new@inbox.example")

    shop.sync()

    assert [row["path"].endswith("/tags") for row in shop.writes()[begin:]] == [False, False, True]


# --- what an audience asks for (B6, B12) ---------------------------------------------------------------------------


def test_nobodys_consent_waits_for_a_required_field_the_book_cannot_fill(shop):
    fields = [{"tag": "FNAME"}, {"tag": "LNAME", "required": True}, {"tag": "SHOE", "required": True}]
    shop.audience(merge_fields=fields)
    shop.consenting(ADA, last="")

    run = shop.sync()

    assert (run.status, shop.statuses()) == ("succeeded", {ADA: "subscribed"})


def test_a_field_for_american_numbers_gets_them_as_it_wants_and_no_others(shop):
    fields = [{"tag": "FNAME"}, {"tag": "PHONE", "type": "phone", "options": {"phone_format": "US"}}]
    shop.audience(merge_fields=fields)
    shop.consenting(ADA, phone="+14045551212")
    shop.consenting("oz@inbox.example", phone="+61291234567")

    run = shop.sync()

    assert run.status == "succeeded"
    assert shop.member(ADA)["merge_fields"]["PHONE"] == "404-555-1212"
    assert "PHONE" not in shop.member("oz@inbox.example")["merge_fields"]


def test_fields_are_filled_as_the_shop_maps_them(shop):
    shop.audience(merge_fields=[{"tag": "WHO"}, {"tag": "NUMBER"}, {"tag": "FNAME"}])
    choose(shop, mapping={"WHO": "full_name", "NUMBER": "external_id"})
    ada = shop.consenting(ADA, first="Ada", last="King")
    Customer.objects.filter(pk=ada.pk).update(external_id="C-7")

    shop.sync()

    assert shop.member(ADA)["merge_fields"] == {"WHO": "Ada King", "NUMBER": "C-7"}


def test_whoever_signs_up_again_by_themselves_is_not_ours_to_end_also_where_they_have_to_confirm(shop):
    shop.audience(double_optin=True)
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "hard_bounce")
    shop.sync()
    shop.person(ADA, "signup")
    shop.sync()
    shop.person(ADA, "confirm")
    Customer.objects.filter(pk=ada.pk).update(email="")

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed"}


def test_a_member_we_brought_back_is_ours_to_end_although_the_reply_was_lost(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email="")
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=ADA)
    lost = {"kind": "reset", "method": "PATCH", "path": ".*members.*", "every": 1, "when": "after"}
    shop.emulator.control("faults", [lost])
    shop.sync()
    shop.emulator.control("faults", [])
    brought_back = shop.statuses()
    Customer.objects.filter(pk=ada.pk).update(email="")

    shop.sync()

    assert (brought_back, shop.statuses()) == ({ADA: "subscribed"}, {ADA: "unsubscribed"})
    settled(shop)


def test_a_yes_after_they_left_is_not_taken_back_because_something_else_changes_there(shop, tomorrow):
    def an_hour_later(hour: int) -> None:
        shop.emulator.control("clock", {"now": (tomorrow - timedelta(days=2) + timedelta(hours=hour)).isoformat()})

    shop.audience()
    an_hour_later(0)
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    shop.sync()
    an_hour_later(1)
    shop.person(ADA, "complaint")
    shop.sync()
    shop.says_yes(ada)
    shop.emulator.control("clock", {"now": tomorrow.isoformat()})
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})

    shop.sync()

    ada.refresh_from_db()
    assert (ada.consent_state, shop.statuses()) == ("granted", {ADA: "unsubscribed"})


def test_a_yes_after_our_opt_out_is_not_taken_back_because_its_reply_was_lost_and_something_else_changes_there(
    shop, settings
):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    mailchimp_is_at(shop, hours=1)
    ada = shop.consenting(ADA)
    shop.sync()
    shop.says_no(ada)
    lost = {"kind": "reset", "method": "PATCH", "path": ".*members.*", "every": 1, "when": "after"}
    shop.emulator.control("faults", [lost])
    shop.sync()
    shop.emulator.control("faults", [])
    shop.sync()
    shop.says_yes(ada)
    mailchimp_is_at(shop, hours=-1)
    shop.person(ADA, "profile", merge_fields={"FNAME": "Augusta"})

    shop.sync()

    assert (consent_of(ada), shop.statuses()) == ("granted", {ADA: "unsubscribed"})


def test_the_permission_our_consent_means_goes_with_adds_and_never_with_updates(shop):
    permissions = [{"id": "aaaaaaaaaa", "text": "E-mail"}, {"id": "bbbbbbbbbb", "text": "Post"}]
    shop.audience({"email_address": "there@inbox.example"}, marketing_permissions=permissions)
    shop.sync()
    choose(shop, permissions=["aaaaaaaaaa"])
    shop.consenting(ADA)
    shop.consenting("there@inbox.example", first="New name")

    shop.sync()

    assert shop.member(ADA)["marketing_permissions"] == ["aaaaaaaaaa"]
    assert shop.member("there@inbox.example")["marketing_permissions"] == []
    settled(shop)


def test_the_grant_travels_as_evidence_with_its_time(shop):
    shop.audience()
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    shop.sync()

    assert shop.member(ADA)["timestamp_opt"] == "2026-01-02T03:04:05+00:00"
