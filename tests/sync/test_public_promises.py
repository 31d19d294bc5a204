"""What the public page promises (A8 to A16), carried out against a Mailchimp over loopback."""

from __future__ import annotations

import pytest

from nexpura.integrations.models import Integration
from nexpura.sync import connect, panel, report
from nexpura.sync.models import LoginLease, MemberResult
from nexpura.tenants.models import AuditEvent
from tests.sync.conftest import AUDIENCE, CLERK, KEY


def test_a_customer_who_said_yes_becomes_a_subscribed_member_with_name_and_phone(shop):
    shop.audience()
    shop.consenting("Ada@Inbox.example", first="Ada", last="Byron", phone="+61291234567")

    run = shop.sync()

    member = shop.member("Ada@Inbox.example")
    assert member["status"] == "subscribed"
    assert {tag: member["merge_fields"][tag] for tag in ("FNAME", "LNAME", "PHONE")} == {
        "FNAME": "Ada",
        "LNAME": "Byron",
        "PHONE": "+61291234567",
    }
    assert (run.status, run.synced, run.counts["added"], run.faulty) == ("succeeded", 1, 1, False)


def test_a_customer_who_was_never_asked_is_never_written(shop):
    shop.audience()
    shop.customer("never@inbox.example")

    run = shop.sync()

    assert shop.statuses() == {}
    assert shop.writes() == []
    assert run.counts["withheld"] == 1


def test_a_withdrawn_consent_unsubscribes_the_member_at_the_next_sync(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()

    shop.says_no(ada)
    run = shop.sync()

    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}
    assert (run.synced, run.counts["unsubscribed"]) == (0, 1)


def test_a_withdrawal_without_an_earlier_grant_unsubscribes_too(shop):
    shop.audience({"email_address": "old@inbox.example", "status": "subscribed"})
    shop.says_no(shop.customer("old@inbox.example"))

    shop.sync()

    assert shop.statuses() == {"old@inbox.example": "unsubscribed"}


def test_members_the_book_does_not_know_are_never_touched(shop):
    shop.audience(
        {"email_address": "own@post.example", "status": "subscribed", "merge_fields": {"FNAME": "Own"}},
        {"email_address": "gone@post.example", "status": "unsubscribed"},
    )
    shop.consenting("ada@inbox.example")

    shop.sync()

    touched = {row.get("email_address") or row.get("email") for row in shop.emulator.audit()}
    assert not touched & {"own@post.example", "gone@post.example"}
    assert shop.statuses()["own@post.example"] == "subscribed"
    assert shop.statuses()["gone@post.example"] == "unsubscribed"


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "pending", "transactional", "archived"])
def test_the_status_of_an_existing_member_never_changes_because_a_row_was_sent(shop, status):
    shop.audience({"email_address": "ada@inbox.example", "status": status, "unsubscribed_by": "user"})
    shop.consenting("ada@inbox.example", first="Ada")

    run = shop.sync()

    assert shop.statuses() == {"ada@inbox.example": status}
    assert run.synced == 0
    assert run.counts["kept"] + run.counts["asked"] == 1


def test_fields_of_an_existing_member_follow_the_book(shop):
    shop.audience({"email_address": "ada@inbox.example", "status": "subscribed", "merge_fields": {"FNAME": "Adda"}})
    shop.consenting("ada@inbox.example", first="Ada")

    run = shop.sync()

    assert shop.member("ada@inbox.example")["merge_fields"]["FNAME"] == "Ada"
    assert (run.synced, run.counts["updated"]) == (1, 1)


def test_a_blank_in_the_book_leaves_mailchimps_value_alone(shop):
    held = {"FNAME": "Ada", "PHONE": "02 9123 4567"}
    shop.audience({"email_address": "ada@inbox.example", "status": "subscribed", "merge_fields": held})
    shop.consenting("ada@inbox.example", first="", last="Byron", phone="")

    shop.sync()

    fields = shop.member("ada@inbox.example")["merge_fields"]
    assert (fields["FNAME"], fields["LNAME"], fields["PHONE"]) == ("Ada", "Byron", "02 9123 4567")


def test_a_second_sync_at_once_says_the_same_number_and_writes_nothing(shop):
    shop.audience()
    for number in range(12):
        shop.consenting(f"c{number}@inbox.example")
    first = shop.sync()
    before = len(shop.writes())

    second = shop.sync()

    assert (first.synced, second.synced) == (12, 12)
    assert len(shop.writes()) == before
    assert second.requests <= 5
    assert second.counts["agreement"] == 12


def test_last_sync_moves_on_a_manual_run_and_on_a_scheduled_one_only_if_it_pushed(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()
    first = Integration.objects.get().last_sync_at

    shop.sync("schedule")
    idle = Integration.objects.get()
    shop.consenting("bea@inbox.example")
    shop.sync("schedule")
    pushed = Integration.objects.get()

    assert idle.last_sync_at == first
    assert idle.last_checked_at > first
    assert pushed.last_sync_at > first


def test_a_bad_address_stops_nobody_else_and_is_named_by_its_customer(shop):
    shop.audience()
    bad = shop.consenting("name@")
    shop.consenting("good@inbox.example")

    run = shop.sync()

    assert (run.status, run.synced, run.counts["failed"]) == ("partial", 1, 1)
    (failure,) = panel.failures(shop.tenant)
    assert failure.customer_ids == (bad.pk,)
    assert "invalid email" in failure.reason


def test_an_address_mailchimp_calls_fake_fails_once_and_is_not_retried_until_it_changes(shop):
    shop.audience()
    fake = shop.consenting("foo@bar.com")

    first = shop.sync()
    sent = len(shop.writes())
    second = shop.sync()
    fake.email = "foo@inbox.example"
    fake.save()
    third = shop.sync()

    assert (first.status, second.status, third.status) == ("partial", "partial", "succeeded")
    assert len(shop.writes()) == sent + 1
    assert shop.statuses() == {"foo@inbox.example": "subscribed"}


def test_a_corrected_address_lands_as_a_new_member_at_the_next_sync(shop):
    shop.audience()
    customer = shop.consenting("name@")
    shop.sync()

    customer.email = "name@inbox.example"
    customer.save()
    run = shop.sync()

    assert run.status == "succeeded"
    assert shop.statuses() == {"name@inbox.example": "subscribed"}


def test_a_deleted_audience_is_said_to_be_not_found_with_the_way_to_mend_it(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    run = shop.sync()

    assert run.status == "failed"
    assert run.error["title"] == "Audience not found"
    assert "Disconnect" in run.error["remedy"]
    assert Integration.objects.get().status == "error"


def test_a_sync_that_met_a_deleted_audience_keeps_no_other_waiting(shop):
    shop.audience()
    shop.emulator.control("latency", [{"path": ".*merge-fields.*", "base_ms": 300}])  # still under way when the 404 is
    shop.emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    run = shop.sync()

    assert run.error["title"] == "Audience not found"
    assert not LoginLease.objects.exists()


def test_disconnect_keeps_the_row_and_its_history_and_forgets_key_and_audience(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()

    connect.disconnect(shop.tenant, CLERK)

    row = Integration.objects.get()
    assert (row.status, row.config_encrypted, row.config) == ("disconnected", None, {})
    assert row.last_sync_at is not None
    assert shop.tenant.sync_runs.count() == 1


def test_reconnecting_the_same_audience_writes_nobody_again(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()
    connect.disconnect(shop.tenant, CLERK)
    before = len(shop.writes())

    shop.connect()
    run = shop.sync()

    assert (run.synced, len(shop.writes())) == (1, before)


def test_connecting_reads_and_never_writes(shop):
    shop.audience({"email_address": "own@post.example", "status": "subscribed"})

    assert Integration.objects.get().status == "connected"
    assert shop.writes() == []


@pytest.mark.parametrize(
    ("key", "audience"),
    [
        ("f" * 32 + "-us14", AUDIENCE),
        (KEY, "0000000000"),
        (KEY.replace("us14", "us15"), AUDIENCE),
    ],
)
def test_a_refused_connect_writes_no_row_and_shows_mailchimps_own_words(shop, key, audience):
    shop.audience()
    connect.disconnect(shop.tenant, CLERK)
    Integration.objects.all().delete()

    answer = shop.connect(key, audience)

    assert isinstance(answer, connect.Refused)
    assert answer.title == "Mailchimp API error"
    assert answer.causes
    assert not Integration.objects.exists()


@pytest.mark.parametrize(
    "key",
    ["", "0123456789abcdef", "0123456789abcdef-", "0123456789abcdef-evil.example/", "0123456789abcdef-us14:80",
     "0123456789abcdef-us14@evil", "0123456789abcdef-us 14", "a" * 10_000],
)  # fmt: skip
def test_a_key_that_cannot_be_right_is_refused_before_any_request_leaves(shop, key):
    shop.audience()
    connect.disconnect(shop.tenant, CLERK)
    before = shop.log_begins_here()

    answer = shop.connect(key)

    assert isinstance(answer, connect.Refused)
    assert answer.code == "key"
    assert shop.log_begins_here() == before


def test_connect_sync_and_disconnect_are_in_the_audit_trail_without_the_key(shop):
    shop.audience()
    shop.sync()
    connect.disconnect(shop.tenant, CLERK)

    lines = list(AuditEvent.objects.order_by("id"))

    actions = [line.action for line in lines]
    assert actions == ["mailchimp.connected", "mailchimp.sync_started", "mailchimp.synced", "mailchimp.disconnected"]
    assert KEY not in str([(line.before, line.after) for line in lines])


def test_the_key_is_sealed_and_opens_for_this_tenant_only(shop):
    from nexpura.integrations import vault

    shop.audience()
    row = Integration.objects.get()

    assert KEY.encode() not in bytes(row.config_encrypted)
    assert vault.unseal(row.config_encrypted, tenant_id=row.tenant_id, integration_id=row.pk, field="api_key") == KEY
    with pytest.raises(vault.CannotOpen):
        vault.unseal(row.config_encrypted, tenant_id=row.tenant_id + 1, integration_id=row.pk, field="api_key")


def test_an_unsubscribe_of_ours_is_undone_only_by_a_newer_grant(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    shop.sync()

    shop.says_yes(ada)
    run = shop.sync()

    assert shop.statuses() == {"ada@inbox.example": "subscribed"}
    assert run.synced == 1


def test_a_person_who_unsubscribed_in_mailchimp_is_not_subscribed_again(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")
    shop.sync()
    shop.person("ada@inbox.example", "unsubscribe")

    run = shop.sync()

    assert shop.statuses() == {"ada@inbox.example": "unsubscribed"}
    assert (run.synced, run.counts["withheld"]) == (0, 1)


def test_one_withdrawal_is_carried_out_once(shop):
    shop.audience()
    ada = shop.consenting("ada@inbox.example")
    shop.sync()
    shop.says_no(ada)
    shop.sync()
    shop.person("ada@inbox.example", "signup")

    run = shop.sync()

    assert shop.statuses()["ada@inbox.example"] in ("subscribed", "pending")
    assert run.counts["kept"] == 1


def test_a_withdrawal_on_a_shared_address_beats_an_older_grant(shop):
    shop.audience()
    shop.consenting("pair@inbox.example", first="Ann")
    other = shop.customer("PAIR@inbox.example ", first="Ben")
    shop.says_no(other)

    run = shop.sync()

    assert shop.statuses() == {}
    assert run.counts["withheld"] == 2


def test_every_customer_is_in_exactly_one_bucket(shop):
    shop.audience(
        {"email_address": "kept@inbox.example", "status": "unsubscribed"},
        {"email_address": "old@inbox.example", "status": "subscribed"},
    )
    for email in ("ada@inbox.example", "kept@inbox.example", "old@inbox.example", "name@"):
        shop.consenting(email)
    shop.customer("never@inbox.example")
    shop.customer("")
    shop.customer("")

    run = shop.sync()

    assert sum(run.counts.values()) == run.book == 7
    assert not run.faulty
    assert {bucket: count for bucket, count in run.counts.items() if count} == {
        "added": 1,
        "updated": 1,
        "kept": 1,
        "withheld": 3,
        "failed": 1,
    }


def test_a_runs_json_has_the_keys_scripts_rely_on(shop):
    shop.audience()
    shop.consenting("ada@inbox.example")

    told = report.of_run(shop.sync())

    assert told.keys() >= {
        *("run_id", "trigger", "status", "faulty", "synced", "added", "updated", "unsubscribed", "unchanged"),
        *("pending", "kept", "withheld", "waiting", "failed", "failures", "requests", "seconds"),
    }
    assert (told["synced"], told["writes"]) == (1, 1)


def test_results_name_what_was_before_and_after(shop):
    shop.audience({"email_address": "ada@inbox.example", "status": "subscribed", "merge_fields": {"FNAME": "Adda"}})
    shop.consenting("ada@inbox.example", first="Ada", last="")

    shop.sync()

    result = MemberResult.objects.get()
    assert (result.change["before"], result.change["merge_fields"]) == ({"FNAME": "Adda"}, {"FNAME": "Ada"})
