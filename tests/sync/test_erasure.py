"""A customer is erased: here at once, in Mailchimp as soon as it can be, and nothing brings them back unasked (B11)."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.audience import consent
from nexpura.audience.consent import Granted, Withheld
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.reasons import Reason
from nexpura.customers import intake, ledger, visits
from nexpura.customers.importing import import_customers
from nexpura.customers.merging import Merged
from nexpura.customers.models import ConsentEvent, Customer, Visit
from nexpura.sync import connect, erasures, forget, merge, panel, runs, tasks
from nexpura.sync.clock import Clock
from nexpura.sync.models import DirtyAddress, Erasure, KnownMember, MemberResult, SyncRun
from nexpura.sync.run import run_sync
from nexpura.sync.store import erase as store
from nexpura.tenants import erased, vault
from nexpura.tenants.models import AuditEvent, ErasedIdentity, Tenant
from tests.sync.conftest import AUDIENCE, CLERK, KEY, Shop
from tests.sync.erasing import tables_that_name

ADA = "ada.quill@inbox.example"
NAMES = (ADA, "quill", "61491570156", "J-1878", "opal ring", "allergic")
OTHER_KEYS = ["b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyMDE="]


def written_down(tenant: Tenant, **fields) -> Customer:
    blank = {"first_name": "", "last_name": "", "email": "", "phone": ""}
    return intake.create(tenant, CLERK, intake.validate(tenant, **blank | fields))


def ada_of(shop: Shop) -> Customer:
    """Somebody of whom there is something in every corner of the records."""
    ada = written_down(
        shop.tenant,
        first_name="Ada",
        last_name="Quill",
        email="ada.quill.old@inbox.example",
        phone="0491 570 156",
        external_id="J-1878",
        note="allergic to nickel",
        tags="VIP",
    )
    ledger.record(ada, CLERK, granted=True, source="intake", ip="192.0.2.7")
    return moved(ada, ADA)


def moved(customer: Customer, email: str) -> Customer:
    fields = customer.snapshot() | {"email": email, "tags": "VIP", "external_id": customer.external_id or ""}
    return intake.edit(customer, CLERK, intake.validate(customer.tenant, **fields))


def erased_for(shop: Shop, customer: Customer, choice: str = "unsubscribe") -> Erasure:
    return erasures.erase(shop.tenant, CLERK, customer.pk, choice)


def later() -> None:
    """Let Mailchimp's clock, which counts whole seconds, move on."""
    time.sleep(1.1)


def carry_out(erasure: Erasure, at: datetime | None = None) -> Erasure:
    """Make the try that the job makes."""
    forget.carry_out(erasure.pk, at or datetime.now(UTC))
    erasure.refresh_from_db()
    return erasure


def imported(shop: Shop, tmp_path, *lines: str):
    file = tmp_path / "book.csv"
    header = "external_id,first_name,last_name,email,phone,marketing_consent,consent_at"
    file.write_text("\n".join([header, *lines]) + "\n")
    return import_customers(shop.tenant, CLERK, file)


@pytest.fixture
def ada(shop) -> Customer:
    """In the book and in the audience, under an address she had not always."""
    shop.audience()
    return ada_of(shop)


# --- nothing names them any more ------------------------------------------------------------------


def test_after_an_erasure_no_table_of_the_database_names_the_person(shop, ada):
    visits.intake(shop.tenant, CLERK, None, ada, "an opal ring, cracked")
    visits.sale(shop.tenant, CLERK, None, description="opal ring", amount=Decimal("129.00"), customer=ada)
    shop.sync()
    ada.phone = "+61491570157"
    ada.save()
    named_before = tables_that_name(*NAMES)

    erasure = erased_for(shop, ada)

    assert named_before >= {
        "customers_customer",
        "customers_consentevent",
        "customers_visit",
        "tenants_auditevent",
        "sync_knownmember",
        "sync_memberresult",
        "sync_addressstanding",
        "sync_dirtyaddress",
    }
    assert tables_that_name(*NAMES, "61491570157", "192.0.2.7") == set()
    assert erasure.state == "pending"  # and so the address, sealed, is still here


def test_an_erasure_names_nobody_under_the_records_that_were_merged_into_theirs_either(shop, ada, tmp_path):
    details = {"first_name": "Adelheid", "last_name": "Twinsworth", "email": "adelheid@post.example", "phone": ""}
    twin = intake.create(shop.tenant, CLERK, intake.validate(shop.tenant, external_id="T-77", **details))
    shop.says_yes(twin)
    shop.sync()
    assert isinstance(merge.merge(shop.tenant, CLERK, kept_id=ada.pk, other_id=twin.pk), Merged)
    shop.sync()
    assert "customers_formercustomer" in tables_that_name("T-77")

    erased_for(shop, ada)

    assert tables_that_name(*NAMES, "adelheid", "twinsworth", "T-77") == set()
    imported(shop, tmp_path, "T-77,Adelheid,Twinsworth,,,,")
    assert not Customer.objects.filter(tenant=shop.tenant).exists()


def test_nobody_is_named_after_mailchimp_was_told_and_the_audience_was_read_again(shop, ada):
    shop.sync()
    carry_out(erased_for(shop, ada))

    shop.sync()
    shop.tenant.known_audiences.update(full_read_at=None)
    shop.sync()

    assert shop.statuses()[ADA] == "unsubscribed"  # it was there to be read, twice
    assert tables_that_name(*NAMES) == set()
    assert Erasure.objects.get().sealed is None


def test_a_member_kept_in_mailchimp_is_not_read_into_our_records_again(shop, ada):
    shop.sync()
    erased_for(shop, ada, "keep")
    shop.person(ADA, "profile", merge_fields={"FNAME": "Adah"})

    shop.sync()

    assert shop.statuses()[ADA] == "subscribed"
    assert tables_that_name(*NAMES) == set()


def test_a_member_kept_who_changes_their_address_in_mailchimp_is_not_read_in_under_the_new_one(shop, ada):
    shop.sync()
    erased_for(shop, ada, "keep")
    shop.person(ADA, "address", new_email="lovelace@inbox.example")

    shop.sync()

    assert shop.statuses() == {"lovelace@inbox.example": "subscribed"}
    assert tables_that_name(*NAMES, "lovelace") == set()


def test_what_happened_stays_in_the_audit_trail_without_what_was_written(shop, ada):
    erasure = erased_for(shop, ada)

    lines = AuditEvent.objects.filter(subject_kind="customer", subject_id=ada.pk).order_by("id")
    assert [line.action for line in lines] == ["customer.created", "consent.granted", "customer.changed"]
    assert {line.actor_name for line in lines} == {"a clerk"}
    assert lines[0].after["first_name"] == lines[0].after["note"] == "(erased)"
    assert lines[1].after["source"] == "intake"
    last = AuditEvent.objects.order_by("-id")[0]
    assert (last.action, last.subject_id) == ("customer.erased", erasure.pk)
    assert last.after == {"receipt": 1, "customer_id": ada.pk, "member": "unsubscribe"}


def test_the_receipt_tells_the_dated_facts_of_consent_without_whom_they_were_about(shop, ada):
    shop.says_no(ada)

    erasure = erased_for(shop, ada)

    assert [(fact["state"], fact["source"], fact["wording"]) for fact in erasure.consent] == [
        ("granted", "intake", 1),
        ("withdrawn", "profile", 1),
    ]
    assert not ConsentEvent.objects.exists()


def test_a_sale_stays_in_the_sums_and_an_intake_goes(shop, ada):
    visits.intake(shop.tenant, CLERK, None, ada, "an opal ring, cracked")
    visits.sale(shop.tenant, CLERK, None, description="opal ring", amount=Decimal("129.00"), customer=ada)

    erased_for(shop, ada)

    sale = Visit.objects.get()
    assert (sale.kind, sale.amount, sale.customer, sale.description) == ("sale", Decimal("129.00"), None, "(erased)")


def test_other_customers_and_other_shops_lose_nothing(shop, ada, other_tenant):
    ben = shop.consenting("ben@inbox.example", first="Ben")
    hers = Customer.objects.create(tenant=other_tenant, email=ADA, first_name="Ada", last_name="Quill")
    ledger.record(hers, CLERK, granted=True, source="intake")
    shop.sync()

    erased_for(shop, ada)

    assert {*Customer.objects.values_list("pk", flat=True)} == {ben.pk, hers.pk}
    assert {*ConsentEvent.objects.values_list("customer_id", flat=True)} == {ben.pk, hers.pk}
    assert tables_that_name("ben@inbox.example") >= {"customers_customer", "sync_knownmember", "sync_memberresult"}
    with pytest.raises(Customer.DoesNotExist):
        erased_for(shop, hers)


def test_the_books_sum_still_adds_up_after_an_erasure(shop, ada):
    for number in range(3):
        shop.consenting(f"c{number}@inbox.example")
    shop.customer("", first="Nell", phone="+61491570158")
    nobody = shop.customer("", first="Noah", phone="+61491570159")
    shop.sync()
    erased_for(shop, ada)
    erased_for(shop, nobody)

    run = shop.sync()

    assert (run.status, run.faulty, run.book, run.synced) == ("succeeded", False, 4, 3)
    assert not DirtyAddress.objects.exists()


# --- evidence stays append-only for everybody else ------------------------------------------------


def test_no_line_of_the_ledger_goes_without_a_receipt(shop, ada):
    with pytest.raises(DatabaseError, match="is not being erased"), connection.cursor() as cursor:
        cursor.execute("SELECT nexpura_erase_evidence(%s, %s)", [shop.tenant.pk, ada.pk])

    assert ConsentEvent.objects.count() == 1


@pytest.mark.parametrize("table", ["sync_erasure", "tenants_erasedidentity"])
def test_neither_receipts_nor_hashes_can_be_deleted_by_the_running_product(shop, ada, table):
    erased_for(shop, ada)

    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table}")


# --- the member -----------------------------------------------------------------------------------


def test_the_member_is_unsubscribed_unless_the_person_chose_otherwise(shop, ada):
    shop.sync()

    erasure = carry_out(erased_for(shop, ada))

    assert shop.statuses()[ADA] == "unsubscribed"
    assert (erasure.state, erasure.outcomes, erasure.sealed) == ("done", ["unsubscribed"], None)
    assert erasure.done_at is not None


def test_the_member_stays_as_it_is_if_the_person_wants_that(shop, ada):
    shop.sync()
    begun = shop.log_begins_here()

    erasure = carry_out(erased_for(shop, ada, "keep"))
    shop.sync()

    assert shop.statuses()[ADA] == "subscribed"
    assert (erasure.state, erasure.outcomes, erasure.sealed) == ("not_needed", ["kept"], None)
    assert {row["method"] for row in shop.emulator.log()[begun:]} == {"GET"}


def test_a_permanent_deletion_takes_the_member_out_for_good(shop, ada):
    shop.sync()

    erasure = carry_out(erased_for(shop, ada, "delete"))

    assert ADA not in shop.statuses()
    assert (erasure.state, erasure.outcomes) == ("done", ["deleted"])


def test_somebody_who_is_not_in_the_audience_needs_nothing_done(shop, ada):
    gone = [carry_out(erased_for(shop, ada, "delete"))]
    ben = shop.customer("ben@inbox.example")
    gone.append(carry_out(erased_for(shop, ben, "unsubscribe")))

    assert [(one.state, one.outcomes) for one in gone] == [("done", ["absent"])] * 2
    assert shop.statuses() == {}


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "transactional", "archived"])
def test_a_member_who_gets_no_mail_is_not_touched_by_an_unsubscribe(shop, status):
    shop.audience({"email_address": ADA, "status": status})
    ada = shop.customer(ADA)
    begun = shop.log_begins_here()

    erasure = carry_out(erased_for(shop, ada))

    assert erasure.outcomes == ["not_mailed"]
    assert {row["method"] for row in shop.emulator.log()[begun:]} == {"GET"}


def test_without_a_connection_the_receipt_says_that_nothing_was_done_in_mailchimp(shop):
    ada = shop.customer(ADA)

    erasure = erased_for(shop, ada)

    assert (erasure.state, erasure.outcomes, erasure.sealed) == ("not_needed", ["not_connected"], None)


def test_a_member_of_ours_under_the_address_they_had_before_is_unsubscribed_too(shop, ada):
    ledger.record(ada, CLERK, granted=False, source="profile")
    ledger.record(ada, CLERK, granted=True, source="profile")
    shop.sync()
    moved(ada, "new.quill@inbox.example")  # and no sync since: the member is still where it was

    carry_out(erased_for(shop, ada))

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert tables_that_name(*NAMES) == set()


def test_a_strangers_member_at_an_address_once_typed_wrong_is_left_alone(shop):
    shop.audience({"email_address": "stranger@inbox.example", "status": "subscribed"})
    ada = written_down(shop.tenant, first_name="Ada", last_name="Quill", email="stranger@inbox.example")
    moved(ada, ADA)
    shop.sync()

    carry_out(erased_for(shop, ada, "delete"))

    assert shop.statuses() == {"stranger@inbox.example": "subscribed"}


def test_somebody_who_renamed_themselves_in_mailchimp_is_found_there(shop, ada):
    shop.sync()
    shop.person(ADA, "address", new_email="lovelace@inbox.example")
    shop.sync()

    carry_out(erased_for(shop, ada))

    assert shop.statuses() == {"lovelace@inbox.example": "unsubscribed"}
    assert tables_that_name(*NAMES, "lovelace") == set()


# --- two customers, one address -------------------------------------------------------------------


def test_the_member_of_somebody_else_who_consents_at_the_address_is_left_alone(shop, ada):
    ben = shop.consenting(ADA, first="Ben", last="Ames")
    shop.sync()

    erasure = carry_out(erased_for(shop, ada, "delete"))
    run = shop.sync()

    assert erasure.outcomes == ["shared"]
    assert shop.member(ADA)["merge_fields"]["FNAME"] == "Ben"
    assert (run.synced, run.faulty, shop.statuses()) == (1, False, {ADA: "subscribed"})
    assert Customer.objects.get() == ben


@pytest.mark.parametrize("choice", ["keep", "unsubscribe", "delete"])
def test_the_names_go_although_somebody_else_holds_the_address(shop, ada, choice):
    names = ('"quill', " quill", "61491570156", "J-1878", "ada.quill.old", "opal ring", "allergic")
    shop.consenting(ADA, first="Ben", last="")
    ledger.record(ada, CLERK, granted=False, source="profile")
    ledger.record(ada, CLERK, granted=True, source="profile")
    shop.sync()
    assert shop.member(ADA)["merge_fields"]["LNAME"] == "Quill"

    erasure = erased_for(shop, ada, choice)
    names_at_once = tables_that_name(*names)
    carry_out(erasure)
    shop.sync()

    assert names_at_once == set()
    assert (erasure.state, erasure.outcomes) == ("done", ["shared"])
    assert {tag: value for tag, value in shop.member(ADA)["merge_fields"].items() if value} == {"FNAME": "Ben"}
    assert shop.statuses() == {ADA: "subscribed"}
    assert tables_that_name(*names) == set()


def test_the_member_goes_with_its_person_if_the_other_at_the_address_never_consented(shop, ada):
    shop.customer(ADA, first="Ben")
    shop.sync()

    erasure = carry_out(erased_for(shop, ada))

    assert (erasure.outcomes, shop.statuses()) == (["unsubscribed"], {ADA: "unsubscribed"})


def test_a_sync_before_mailchimp_is_told_does_not_bring_the_names_back(shop, ada):
    shop.consenting(ADA, first="Ben", last="Ames")
    shop.says_no(ada)
    shop.says_yes(ada)
    shop.sync()
    erasure = erased_for(shop, ada)
    shop.sync()
    meanwhile = tables_that_name('"quill')

    carry_out(erasure)
    shop.sync()

    assert meanwhile == tables_that_name('"quill') == set()


def test_names_of_an_unsubscribed_member_at_somebody_elses_address_go_in_mailchimp_too(shop, ada):
    shop.customer(ADA, first="Ben")  # was never asked
    shop.sync()

    carry_out(erased_for(shop, ada))
    shop.sync()

    assert not shop.member(ADA)["merge_fields"].get("LNAME")
    assert tables_that_name('"quill', "61491570156") == set()


OF_HER_OWN = {"FNAME": "Adelaide", "LNAME": "Lovelace"}
"""What she is called in Mailchimp, by her own doing."""


def kept_beside_ben(shop, ada, **of_ben) -> Customer:
    """Ada, who has other names in Mailchimp, is erased and kept there; Ben, who was never asked, has her address."""
    ben = shop.customer(ADA, **{"first": "Ben", "last": ""} | of_ben)
    shop.sync()
    shop.person(ADA, "profile", merge_fields=OF_HER_OWN)
    shop.sync()
    carry_out(erased_for(shop, ada, "keep"))
    return ben


def read_whole(shop) -> SyncRun:
    shop.tenant.known_audiences.update(full_read_at=None)
    return shop.sync()


def test_a_member_kept_is_read_without_its_names_where_somebody_else_has_the_address(shop, ada):
    kept_beside_ben(shop, ada)

    read_whole(shop)
    shop.person(ADA, "profile", merge_fields={"FNAME": "Adah", "LNAME": "Lovelace"})
    run = shop.sync()

    assert tables_that_name('"quill', "adelaide", "adah", "lovelace", "61491570156") == set()
    assert (shop.statuses(), shop.member(ADA)["merge_fields"]["LNAME"]) == ({ADA: "subscribed"}, "Lovelace")
    assert (KnownMember.objects.get(address=ADA).status, run.faulty) == ("subscribed", False)


def test_no_sync_ends_a_member_kept_because_the_other_at_its_address_was_never_asked(shop, ada):
    shop.customer(ADA, first="Ben")
    shop.sync()
    erasure = erased_for(shop, ada, "keep")
    shop.sync()  # before the job, and after it
    carry_out(erasure)
    shop.sync()

    assert (erasure.outcomes, shop.statuses()) == (["kept"], {ADA: "subscribed"})


def test_nor_does_mailchimps_reply_bring_them_back_when_the_other_agrees(shop, ada):
    ben = kept_beside_ben(shop, ada, phone="+61291234567")
    shop.says_yes(ben)

    run = shop.sync()
    writes = len(shop.writes())
    read_whole(shop)

    assert (run.counts["updated"], shop.member(ADA)["merge_fields"]["FNAME"]) == (1, "Ben")
    assert KnownMember.objects.get(address=ADA).merge_fields == {"FNAME": "Ben", "PHONE": "+61291234567"}
    assert tables_that_name("adelaide", "lovelace", "61491570156") == set()
    assert len(shop.writes()) == writes


def test_what_the_other_is_called_like_the_erased_person_stays_theirs(shop, ada):
    ben = kept_beside_ben(shop, ada, last="Lovelace")
    shop.says_yes(ben)
    shop.sync()
    writes = len(shop.writes())

    read_whole(shop)

    assert KnownMember.objects.get(address=ADA).merge_fields["LNAME"] == "Lovelace"
    assert len(shop.writes()) == writes


def test_a_no_said_for_a_shared_address_outlives_the_one_who_said_it(shop, ada):
    ben = shop.consenting(ADA, first="Ben")
    shop.says_no(ada)

    erased_for(shop, ada, "keep")
    shop.sync()
    first = shop.statuses()
    shop.says_yes(ben)
    shop.sync()

    assert (first, shop.statuses()) == ({}, {ADA: "subscribed"})


# --- the opt-out is the erased person's, and nobody else's no ---------------------------------------


@pytest.fixture
def ben_was_never_asked(shop, ada) -> Customer:
    """Somebody at the address of Ada, who is in the audience."""
    ben = shop.customer(ADA, first="Ben")
    shop.sync()
    later()
    return ben


def test_our_opt_out_of_an_erased_person_is_no_withdrawal_of_whoever_shared_the_address(shop, ada, ben_was_never_asked):
    carry_out(erased_for(shop, ada))

    shop.sync()

    ben = Customer.objects.get()
    assert shop.statuses() == {ADA: "unsubscribed"}
    assert (ben.consent_state, ConsentEvent.objects.count()) == ("never", 0)


def test_it_is_none_either_if_the_audience_is_read_before_we_know_that_it_landed(
    shop, ada, ben_was_never_asked, settings
):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.emulator.control(
        "faults", [{"kind": "reset", "method": "PATCH", "path": ".*members.*", "every": 1, "when": "after"}]
    )
    erasure = carry_out(erased_for(shop, ada))
    in_doubt = erasure.state
    shop.emulator.control("faults", [])

    shop.sync()
    carry_out(erasure, datetime.now(UTC) + timedelta(minutes=5))
    shop.tenant.known_audiences.update(full_read_at=datetime.now(UTC), read_through=None)
    shop.sync()

    assert (in_doubt, erasure.state, erasure.outcomes) == ("pending", "done", ["unsubscribed"])
    assert Customer.objects.get().consent_state == "never"


def test_a_no_of_somebody_else_is_heard_while_nobody_knows_whether_an_erasure_landed(shop, ada, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    ben = shop.consenting("ben@inbox.example", first="Ben")
    shop.sync()
    lost = {"kind": "reset", "method": "PATCH", "path": ".*members.*", "every": 1, "when": "after"}
    shop.emulator.control("faults", [lost])
    erasure = carry_out(erased_for(shop, ada))
    shop.emulator.control("faults", [])
    later()
    shop.person("ben@inbox.example", "unsubscribe")

    shop.sync()

    ben.refresh_from_db()
    assert (erasure.state, ben.consent_state) == ("pending", "withdrawn")


def test_a_no_of_somebody_else_in_the_very_second_of_an_erasure_is_heard(shop, ada):
    ben = shop.consenting("ben@inbox.example", first="Ben")
    shop.sync()
    shop.emulator.control("clock", {"now": (datetime.now(UTC) + timedelta(seconds=5)).isoformat()})
    carry_out(erased_for(shop, ada))
    shop.person("ben@inbox.example", "unsubscribe_admin")

    shop.sync()

    ben.refresh_from_db()
    assert ben.consent_state == "withdrawn"


def test_what_an_erased_person_said_in_mailchimp_is_no_withdrawal_of_whoever_has_the_address_next(shop):
    shop.audience({"email_address": ADA, "status": "unsubscribed"})
    ada = shop.customer(ADA)
    shop.sync()
    erased_for(shop, ada, "keep")
    ben = shop.customer(ADA, first="Ben")
    shop.person(ADA, "profile", merge_fields={"FNAME": "Adah"})

    shop.sync()

    ben.refresh_from_db()
    assert (ben.consent_state, shop.statuses()) == ("never", {ADA: "unsubscribed"})


def test_a_no_that_the_person_at_the_shared_address_says_themselves_is_heard_all_the_same(
    shop, ada, ben_was_never_asked
):
    carry_out(erased_for(shop, ada, "keep"))
    shop.person(ADA, "unsubscribe")

    shop.sync()

    assert Customer.objects.get().consent_state == "withdrawn"


def test_another_shop_on_the_same_audience_does_not_take_it_for_its_customers_no(shop, ada, other_tenant):
    theirs = Shop(other_tenant, shop.emulator)
    theirs.connect()
    bea = theirs.consenting(ADA, first="Bea")
    shop.sync()
    theirs.sync()
    later()
    carry_out(erased_for(shop, ada))

    theirs.sync()

    bea.refresh_from_db()
    assert shop.statuses() == {ADA: "unsubscribed"}
    assert bea.consent_state == "granted"


# --- Mailchimp away, the key gone, the worker killed ----------------------------------------------


def test_a_permanent_deletion_is_asked_for_once_and_repeated_until_it_is_done(shop, ada):
    shop.sync()
    begun = shop.log_begins_here()
    shop.emulator.control("faults", [{"kind": "503", "method": "POST", "path": ".*permanent", "every": 1}])
    erasure = erased_for(shop, ada, "delete")
    now = datetime.now(UTC)
    tried = []
    while now < erasure.requested_at + timedelta(days=1):
        carry_out(erasure, now)
        tried.append(erasure.state)
        now = erasure.next_try_at
    waiting = (erasure.problem["code"], panel.state(shop.tenant).open_erasures)
    shop.emulator.control("faults", [])

    carry_out(erasure, now)
    carry_out(erasure, now + timedelta(days=1))

    assert 8 <= len(tried) <= 12
    assert set(tried) == {"pending"}
    assert waiting == ("mailchimp_unavailable", 1)
    assert (erasure.state, ADA in shop.statuses()) == ("done", False)
    deletions = [row for row in shop.emulator.log()[begun:] if row["path"].endswith("delete-permanent")]
    assert [row["status"] for row in deletions].count(204) == 1
    assert panel.state(shop.tenant).open_erasures == 0


def test_a_deletion_whose_reply_was_cut_is_done_once_it_is_found_done(shop, ada):
    shop.sync()
    shop.emulator.control(
        "faults", [{"kind": "reset", "method": "POST", "path": ".*permanent", "nth": 1, "when": "after"}]
    )

    erasure = carry_out(erased_for(shop, ada, "delete"))

    assert (erasure.state, ADA in shop.statuses()) == ("done", False)


def test_the_pauses_grow_and_end_at_six_hours():
    pauses = [forget.pause(attempt).total_seconds() for attempt in (1, 2, 3, 4, 5, 6, 7, 8, 500)]

    assert pauses == [10, 40, 160, 640, 2560, 10240, 21600, 21600, 21600]


def test_a_revoked_key_leaves_it_open_with_the_remedy_and_another_key_lets_it_go_on(shop, ada):
    shop.sync()
    shop.emulator.control("faults", [{"kind": "403", "path": ".*members.*", "every": 1}])
    erasure = carry_out(erased_for(shop, ada))
    refused = (erasure.state, erasure.problem["code"], erasure.next_try_at > datetime.now(UTC))
    shop.emulator.control("faults", [])

    connect.replace_key(shop.tenant, CLERK, KEY)
    carry_out(erasure)

    assert refused == ("pending", "access_lost", True)
    assert (erasure.state, erasure.problem, shop.statuses()[ADA]) == ("done", None, "unsubscribed")


def test_disconnected_it_waits_sealed_until_the_same_audience_is_connected_again(shop, ada):
    shop.sync()
    erasure = erased_for(shop, ada)
    connect.disconnect(shop.tenant, CLERK)
    carry_out(erasure)
    waiting = (erasure.state, erasure.problem["code"], erasure.next_try_at, erasure.sealed is not None)

    shop.connect()
    carry_out(erasure)

    assert waiting == ("pending", "not_connected", None, True)
    assert (erasure.state, erasure.problem, shop.statuses()[ADA]) == ("done", None, "unsubscribed")


def test_another_audience_of_the_shop_is_not_taken_for_the_one_that_was_connected(shop, ada):
    shop.sync()
    erasure = erased_for(shop, ada, "delete")
    connect.disconnect(shop.tenant, CLERK)
    shop.emulator.control(
        "reset",
        {
            "accounts": [
                {
                    "dc": "us14",
                    "users": [{"name": "owner", "role": "owner", "keys": [KEY]}],
                    "lists": [
                        {
                            "id": "other12345",
                            "name": "Other",
                            "members": [{"email_address": ADA, "status": "subscribed"}],
                        }
                    ],
                }
            ]
        },
    )
    shop.connect(audience="other12345")

    carry_out(erasure)

    assert erasure.problem["code"] == "not_connected"
    assert [row["status"] for row in shop.emulator.members("other12345")] == ["subscribed"]


def test_an_audience_that_is_gone_needs_a_person_who_can_settle_it_by_hand(shop, ada):
    shop.sync()
    shop.emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})
    erasure = carry_out(erased_for(shop, ada))
    failed = (erasure.state, erasure.problem["code"], erasures.addresses_to_do(erasure))

    erasures.settle_by_hand(erasure, CLERK)
    erasure.refresh_from_db()

    assert failed == ("failed", "audience_not_found", [ADA])
    assert (erasure.state, erasure.outcomes, erasure.sealed) == ("done", ["by_hand"], None)
    assert erasures.addresses_to_do(erasure) == []


def test_the_job_is_there_as_soon_as_the_erasure_is_and_not_before(shop, ada):
    with pytest.raises(RuntimeError), transaction.atomic():
        erased_for(shop, ada)
        raise RuntimeError("the process dies before the commit")
    before = ProcrastinateJob.objects.filter(task_name="nexpura:carry_out_erasure").count()

    erasure = erased_for(shop, ada)

    job = ProcrastinateJob.objects.get(task_name="nexpura:carry_out_erasure")
    assert before == 0
    assert (job.status, job.args) == ("todo", {"erasure_id": erasure.pk})


def test_a_job_that_was_lost_or_killed_half_way_is_made_again(shop, ada):
    shop.sync()
    erasure = erased_for(shop, ada)
    store.take(erasure.pk, datetime.now(UTC), forget.CLAIM)  # and the worker is killed
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    now = datetime.now(UTC)

    too_soon = store.queue_due(now)
    queued = store.queue_due(now + forget.CLAIM)
    again = store.queue_due(now + forget.CLAIM)
    asyncio.run(tasks.carry_out_erasure(erasure.pk))  # by the clock of the wall it is not due yet
    early = Erasure.objects.get().state
    carry_out(erasure, now + forget.CLAIM)

    assert (too_soon, queued, again, early) == (0, 1, 0, "pending")
    assert shop.statuses()[ADA] == "unsubscribed"


def test_what_a_killed_try_did_is_known_for_its_doing(shop, ada):
    shop.sync()
    erasure = erased_for(shop, ada)
    store.take(erasure.pk, datetime.now(UTC), forget.CLAIM)
    shop.person(ADA, "unsubscribe_admin")  # as the call does that the killed worker had sent

    carry_out(erasure, datetime.now(UTC) + forget.CLAIM)

    assert (erasure.outcomes, len(erasure.opt_outs)) == (["unsubscribed"], 1)


def test_somebody_who_left_by_themselves_meanwhile_was_not_unsubscribed_by_us(shop, ada):
    shop.sync()
    shop.emulator.control("faults", [{"kind": "429", "path": ".*members.*", "every": 1}])
    erasure = carry_out(erased_for(shop, ada))
    shop.emulator.control("faults", [])
    shop.person(ADA, "unsubscribe")

    carry_out(erasure, datetime.now(UTC) + timedelta(minutes=1))

    assert (erasure.state, erasure.outcomes, erasure.opt_outs) == ("done", ["not_mailed"], [])


def test_two_workers_do_not_carry_out_one_erasure_at_once(shop, ada):
    erasure = erased_for(shop, ada)

    taken = [store.take(erasure.pk, datetime.now(UTC), forget.CLAIM) for _ in range(2)]

    assert [one is not None for one in taken] == [True, False]


def test_a_person_at_a_page_and_an_erasure_take_one_place_together(shop, ada):
    shop.emulator.control("latency", [{"path": ".*", "base_ms": 60}])
    erasure = erased_for(shop, ada)
    others = [
        threading.Thread(target=lambda: (connect.replace_key(shop.tenant, CLERK, KEY), connection.close()))
        for _ in range(3)
    ]
    begun = shop.log_begins_here()
    for other in others:
        other.start()

    carry_out(erasure)
    for other in others:
        other.join()

    at_members = [row["concurrency"] for row in shop.emulator.log()[begun:] if "/members/" in row["path"]]
    assert at_members
    assert max(at_members) <= 2  # beside it at most a key of which nobody knew yet whose it is


# --- a run at the same moment ---------------------------------------------------------------------


def _while_sending(shop: Shop, act, takes: int = 400) -> SyncRun:
    """Start a run with slow calls, and do something as soon as it sends."""
    shop.emulator.control("latency", [{"method": "PUT", "path": ".*", "base_ms": takes}])
    with transaction.atomic():
        run, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    worker = threading.Thread(target=lambda: asyncio.run(run_sync(run.pk, clock=Clock())))
    worker.start()
    while not MemberResult.objects.filter(state="sending").exists():
        pass
    act()
    worker.join()
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("choice", ["unsubscribe", "delete"])
def test_an_erasure_during_a_run_is_not_undone_by_it(shop, ada, choice):
    done = []

    def erase():
        done.append(erased_for(shop, ada, choice))
        carry_out(done[0])  # finds nobody yet: the call that adds them is on its way

    run = _while_sending(shop, erase, takes=1500)
    erasure = done[0]
    meanwhile = (erasure.state, erasure.sealed is not None)
    added = ADA in shop.statuses()
    carry_out(erasure, datetime.now(UTC) + timedelta(minutes=1))
    shop.sync()

    assert (run.status, run.faulty) == ("succeeded", False)
    assert (added, meanwhile) == (True, ("pending", True))
    assert (erasure.state, shop.statuses().get(ADA)) == ("done", {"unsubscribe": "unsubscribed"}.get(choice))
    assert tables_that_name(*NAMES) == set()


def test_a_change_planned_before_the_erasure_is_not_sent_after_it(shop):
    shop.audience()
    people = [shop.consenting(f"c{number:02}@inbox.example") for number in range(40)]
    last = people[-1]

    run = _while_sending(shop, lambda: carry_out(erased_for(shop, last)))

    assert (run.status, run.faulty) == ("succeeded", False)
    assert "c39@inbox.example" not in shop.statuses()
    assert tables_that_name("c39@inbox.example") == set()
    assert Erasure.objects.get().state == "done"


def test_a_run_does_not_write_down_what_it_decided_before_the_erasure(shop, ada, monkeypatch):
    """The erasure waits for the chunk under way, and finds what it wrote."""
    from nexpura.sync.store import work

    erasing = threading.Thread(target=lambda: (erased_for(shop, ada), connection.close()))
    write_down = work._write_down

    def slowly(run, decided):
        if not erasing.ident:
            erasing.start()
            erasing.join(0.5)
        write_down(run, decided)

    monkeypatch.setattr(work, "_write_down", slowly)
    run = shop.sync()
    erasing.join()

    assert run.status == "succeeded"
    assert Erasure.objects.count() == 1
    assert tables_that_name(*NAMES) == set()


# --- coming back ----------------------------------------------------------------------------------


def test_tomorrows_import_does_not_bring_an_erased_person_back(shop, ada, tmp_path):
    shop.sync()
    carry_out(erased_for(shop, ada))

    outcome = imported(
        shop,
        tmp_path,
        f"J-1878,Ada,Quill,{ADA},0491 570 156,yes,",
        f"J-1878,Ada,Quill,{ADA},0491 570 156,yes,2024-03-01",
        f",Ada,Quill,{ADA.upper()},,,",
        "J-1878,Ada,Quill,,0491 570 156,yes,",
        ",Ada,,ada.quill.old@inbox.example,,yes,",
    )
    shop.sync()

    assert (outcome.created, outcome.left_out, outcome.granted) == (0, 5, 0)
    assert [note.line for note in outcome.warnings] == [2, 3, 4, 5, 6]
    assert all("erased on" in note.message for note in outcome.warnings)
    assert all("a new dated consent is needed" in note.message for note in outcome.warnings)
    assert (Customer.objects.count(), shop.statuses()) == (0, {ADA: "unsubscribed"})
    assert tables_that_name(*NAMES) == set()


def test_a_new_dated_yes_brings_them_back_as_a_new_customer(shop, ada, tmp_path):
    erased_for(shop, ada, "keep")
    since = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()

    outcome = imported(shop, tmp_path, f"J-1878,Ada,Quill,{ADA},,yes,{since}", f"J-1878,Ada,Quill,{ADA},,,")
    shop.sync()

    back = Customer.objects.get()
    assert (outcome.created, outcome.granted, outcome.unchanged) == (1, 1, 1)
    assert back.pk != ada.pk
    assert back.marketing_consent
    assert shop.statuses() == {ADA: "subscribed"}


def test_somebody_deleted_permanently_who_comes_back_is_told_that_only_they_can_sign_up(shop, ada, tmp_path):
    shop.sync()
    carry_out(erased_for(shop, ada, "delete"))
    since = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    imported(shop, tmp_path, f"J-1878,Ada,Quill,{ADA},,yes,{since}")

    run = shop.sync()

    assert (run.status, run.counts["kept"], shop.statuses()) == ("succeeded", 1, {})


def test_an_unsubscribed_member_is_not_subscribed_again_because_its_person_came_back(shop, ada, tmp_path):
    shop.sync()
    carry_out(erased_for(shop, ada))
    later()
    imported(shop, tmp_path, f"J-1878,Ada,Quill,{ADA},,yes,{datetime.now(UTC).isoformat()}")

    run = shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed"}
    assert Customer.objects.get().marketing_consent
    assert (run.counts["kept"], run.counts["added"]) == (1, 0)


def test_an_older_yes_of_somebody_else_does_not_speak_for_the_address_of_an_erased_person(shop, ada):
    eve = shop.consenting("eve@inbox.example", first="Eve")
    erased_for(shop, ada)
    Customer.objects.filter(pk=eve.pk).update(email=ADA)  # by a program that asks nobody

    shop.sync()
    first = dict(shop.statuses())
    shop.says_yes(Customer.objects.get())
    shop.sync()

    assert (first, shop.statuses()) == ({}, {ADA: "subscribed"})


def test_somebody_who_returns_at_the_counter_is_not_granted_by_an_undated_yes_of_the_file(shop, ada, tmp_path):
    erased_for(shop, ada)
    fields = {"first_name": "Ada", "last_name": "Quill", "email": ADA, "phone": "", "external_id": "J-1878"}
    intake.create(shop.tenant, CLERK, intake.validate(shop.tenant, **fields), again=True)

    outcome = imported(shop, tmp_path, f"J-1878,Ada,Quill,{ADA},,yes,")

    assert (outcome.granted, len(outcome.conflicts)) == (0, 1)
    assert Customer.objects.get().consent_state == "never"


def test_an_erased_person_without_address_and_number_is_known_by_name_and_phone(shop, tmp_path):
    nell = written_down(shop.tenant, first_name="Nell", last_name="Quill", phone="0491 570 156")
    erased_for(shop, nell)

    outcome = imported(shop, tmp_path, ",Nell,Quill,,0491 570 156,,", ",Nell,Quill,,0491 570 157,,")

    assert (outcome.left_out, outcome.created) == (1, 1)


def test_a_second_erasure_at_an_address_takes_nothing_back_of_the_first(shop, ada):
    eve = shop.consenting("eve@inbox.example", first="Eve")
    erased_for(shop, ada)
    Customer.objects.filter(pk=eve.pk).update(email=ADA)
    ben = shop.customer(ADA, first="Ben")

    erased_for(shop, ben)
    shop.sync()

    assert shop.statuses() == {}


GRANTED_AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("no_before", "expected"),
    [
        (None, Granted),  # nobody was erased there, or somebody else held the address
        (GRANTED_AT - timedelta(days=1), Granted),  # a yes since then counts
        (GRANTED_AT, Withheld),  # at the same moment it does not
        (GRANTED_AT + timedelta(days=1), Withheld),
    ],
)
def test_no_yes_from_before_the_erasure_counts_for_the_address(no_before, expected):
    eve = CustomerFacts(1, events=(ConsentFact(1, True, GRANTED_AT),))

    verdict = consent.decide(AddressFacts("ada@inbox.example", customers=(eve,), no_before=no_before))

    assert isinstance(verdict, expected)
    assert isinstance(verdict, Granted) or verdict == Withheld(Reason.ERASED)


# --- the keyed hashes -----------------------------------------------------------------------------


def test_a_hash_says_nothing_without_the_key_and_nothing_to_another_shop(shop, ada, other_tenant):
    erased_for(shop, ada)
    there = Customer.objects.create(tenant=other_tenant, email=ADA)
    erasures.erase(other_tenant, CLERK, there.pk, "keep")

    ours, theirs = (
        {bytes(row.digest) for row in ErasedIdentity.objects.filter(tenant=tenant)}
        for tenant in (shop.tenant, other_tenant)
    )

    assert len(ours) == 3  # two addresses and a number
    assert not ours & theirs
    assert all(len(digest) == 32 for digest in ours)


def test_the_hashes_stay_valid_when_the_sealing_keys_change(shop, ada, settings):
    erased_for(shop, ada)
    mark = erased.by_address(ADA)
    first = list(settings.NEXPURA_ENCRYPTION_KEYS)

    settings.NEXPURA_ENCRYPTION_KEYS = OTHER_KEYS + first
    rotated = mark in erased.among(shop.tenant.pk, [mark])
    resealed = erased.seal_anew(), store.seal_anew(), erased.seal_anew()
    settings.NEXPURA_ENCRYPTION_KEYS = OTHER_KEYS
    without_the_old_key = mark in erased.among(shop.tenant.pk, [mark])

    assert (rotated, resealed, without_the_old_key) == (True, (1, 1, 0), True)
    assert erasures.addresses_to_do(Erasure.objects.get()) == [ADA]


def test_without_the_key_nothing_goes_on_as_if_nobody_had_been_erased(shop, ada, settings, tmp_path):
    erased_for(shop, ada)
    shop.consenting("ben@inbox.example")
    settings.NEXPURA_ENCRYPTION_KEYS = OTHER_KEYS
    connect.disconnect(shop.tenant, CLERK)
    shop.connect()

    run = shop.sync()

    assert (run.status, run.error["code"], shop.statuses()) == ("failed", "erasure_key_unreadable", {})
    with pytest.raises(vault.CannotOpen):
        imported(shop, tmp_path, f",Ada,,{ADA},,,")
    assert not Customer.objects.filter(address=ADA).exists()


def test_no_address_is_logged_while_it_is_erased(shop, ada, caplog):
    caplog.set_level("DEBUG")
    shop.sync()
    shop.emulator.control("faults", [{"kind": "500", "path": ".*members.*", "nth": 1}])

    carry_out(erased_for(shop, ada, "delete"))
    shop.sync()

    assert "inbox.example" not in caplog.text
    assert KnownMember.objects.count() == 0
