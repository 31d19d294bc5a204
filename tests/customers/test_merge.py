"""Two records of one person: one stays, both histories are kept, and neither a no nor a number is lost (B4)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import ProgrammingError, connection, transaction

from nexpura.customers import former, importing, intake, ledger, merging, visits
from nexpura.customers.merging import Merged, Refused
from nexpura.customers.models import ConsentEvent, Customer, FormerCustomer, SharedAddress, Visit
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import TILL, customer, day, event, written

pytestmark = pytest.mark.django_db

ADA = "ada@inbox.example"
OLD = "ada@post.example"


@pytest.fixture
def ada(tenant) -> Customer:
    """The older record."""
    return customer(
        tenant, first_name="Ada", last_name="King", email=ADA, phone="+61412000111", external_id="J-1", tags=["VIP"]
    )


@pytest.fixture
def twin(tenant, ada) -> Customer:
    """The same person, written down once more."""
    return customer(
        tenant, first_name="Augusta", last_name="King", email=ADA, external_id="J-2", tags=["vip", "rings"], note="deaf"
    )


def merged(kept: Customer, other: Customer, **choice) -> Customer:
    answer = merging.merge(kept.tenant, TILL, kept_id=kept.pk, other_id=other.pk, **choice)
    assert isinstance(answer, Merged), answer
    return Customer.objects.get(pk=kept.pk)


def refused(kept_id: int, other_id: int, tenant, **choice) -> str:
    answer = merging.merge(tenant, TILL, kept_id=kept_id, other_id=other_id, **choice)
    assert isinstance(answer, Refused)
    return answer.reason


# --- the record that remains --------------------------------------------------------------------------------------


def test_one_record_remains_with_the_values_that_were_chosen(ada, twin):
    kept = merged(ada, twin, from_other={"first_name"})

    assert (kept.name, kept.email, kept.phone, kept.external_id) == ("Augusta King", ADA, "+61412000111", "J-1")
    assert not Customer.objects.filter(pk=twin.pk).exists()


def test_tags_are_united_and_notes_are_joined(ada, twin):
    Customer.objects.filter(pk=ada.pk).update(note="likes opals")

    kept = merged(ada, twin)

    assert kept.tags == ["VIP", "rings"]
    assert kept.note == "likes opals\n\ndeaf"


def test_a_blank_never_wins_over_a_value(tenant, twin):
    blank = customer(tenant, first_name="Ada")

    kept = merged(twin, blank, from_other={"email", "last_name", "phone"})

    assert (kept.email, kept.last_name, kept.external_id) == (ADA, "King", "J-2")


def test_a_record_without_a_number_takes_that_of_the_other(tenant, twin):
    ada = customer(tenant, first_name="Ada", email=ADA)

    kept = merged(ada, twin)

    assert kept.external_id == "J-2"
    assert FormerCustomer.objects.get(former_id=twin.pk).external_id is None


@pytest.mark.parametrize(
    ("granted", "stays"),
    [
        ({1: None, 2: None}, 1),
        ({1: None, 2: "2026-03-01"}, 2),
        ({1: "2026-03-02", 2: "2026-03-01"}, 1),
        ({1: "2026-03-01", 2: "2026-03-01"}, 1),
    ],
    ids=["nobody said yes: the older", "only one said yes", "the newest yes", "at the same moment: the older"],
)
def test_the_one_with_the_newest_yes_stays_else_the_older_record(granted, stays):
    assert merging.stays({pk: at and day(at) for pk, at in granted.items()}) == stays


def test_visits_go_over_and_tell_for_whom_they_were_written_down(tenant, ada, twin):
    visits.intake(tenant, TILL, None, twin, "a ring to resize")

    kept = merged(ada, twin)

    visit = Visit.objects.get(customer=kept)
    assert (visit.description, visit.recorded_on) == ("a ring to resize", twin.pk)


def test_the_audit_trail_holds_both_records_as_they_were(tenant, ada, twin):
    event(twin, "granted", "2026-03-01")

    merged(ada, twin, from_other={"first_name"})

    kept, away = AuditEvent.objects.filter(tenant=tenant, action__startswith="customer.merged").order_by("id")
    assert (kept.subject_id, kept.before["first_name"], kept.after["first_name"]) == (ada.pk, "Ada", "Augusta")
    assert (kept.before["consent_state"], kept.after["consent_state"]) == ("never", "granted")
    assert (kept.after["merged"], kept.after["consent_events"], kept.after["visits"]) == (twin.pk, 1, 0)
    assert (away.subject_id, away.before["external_id"], away.after) == (twin.pk, "J-2", {"merged_into": ada.pk})


# --- consent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stays", ["the one who said no", "the one who said yes"])
def test_a_withdrawal_on_either_record_still_counts_after_the_merge(ada, twin, stays):
    event(ada, "granted", "2026-03-01")
    event(twin, "withdrawn", "2026-03-02")
    pair = (twin, ada) if stays == "the one who said no" else (ada, twin)

    kept = merged(*pair)

    assert (kept.consent_state, kept.marketing_consent) == ("withdrawn", False)


def test_a_yes_newer_than_the_no_of_the_other_record_counts_as_it_is_one_person(ada, twin):
    event(ada, "withdrawn", "2026-03-01")
    event(twin, "granted", "2026-03-02")

    assert merged(ada, twin).consent_state == "granted"


def test_a_yes_and_a_no_of_the_same_moment_are_a_no_whichever_record_they_stood_on(ada, twin):
    event(ada, "withdrawn", "2026-03-01")
    event(twin, "granted", "2026-03-01")

    assert merged(twin, ada).consent_state == "withdrawn"


def test_the_history_shows_every_answer_of_both_as_it_was_given(ada, twin):
    mine = event(ada, "granted", "2026-03-01")
    theirs = event(twin, "granted", "2026-03-02", address=OLD, source="pos", ip="192.0.2.1", wording_text="Yes, write")
    before = ConsentEvent.objects.filter(pk=theirs.pk).values().get()

    kept = merged(ada, twin)

    assert [one.pk for one in ledger.history(kept)] == [theirs.pk, mine.pk]
    after = ConsentEvent.objects.filter(pk=theirs.pk).values().get()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"customer_id", "recorded_on"}
    assert (after["recorded_on"], ConsentEvent.objects.get(pk=mine.pk).recorded_on) == (twin.pk, None)


def test_after_two_merges_an_answer_still_tells_on_which_record_it_was_recorded_first(tenant, ada, twin):
    said = event(twin, "granted", "2026-03-01")
    third = customer(tenant, first_name="Ada", email=ADA)
    merged(ada, twin)

    merged(third, ada)

    said.refresh_from_db()
    assert (said.customer_id, said.recorded_on) == (third.pk, twin.pk)


@pytest.mark.parametrize("column", ["state", "claimed_at", "recorded_at", "address", "source", "recorded_on"])
def test_nothing_else_of_an_answer_can_be_changed_at_run_time(ada, column):
    said = event(ada, "granted", "2026-03-01")

    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        ConsentEvent.objects.filter(pk=said.pk).update(**{column: None})


def test_where_an_answer_was_recorded_is_kept_by_the_database_itself(ada, twin):
    said = event(twin, "granted", "2026-03-01")

    with connection.cursor() as cursor:
        cursor.execute("UPDATE customers_consentevent SET customer_id = %s WHERE id = %s", [ada.pk, said.pk])

    said.refresh_from_db()
    ada.refresh_from_db()
    twin.refresh_from_db()
    assert said.recorded_on == twin.pk
    assert (ada.consent_state, twin.consent_state) == ("granted", "never")


# --- found under the old number and the old id ------------------------------------------------------------------------


def test_an_import_by_the_old_number_finds_the_merged_customer(tenant, ada, twin, tmp_path):
    kept = merged(ada, twin, from_other={"first_name"})
    file = written(tmp_path, "J-1,Augusta,King,ada@inbox.example,,,,,,", "J-2,Augusta,King,ada@inbox.example,,,,,,")

    outcome = importing.import_customers(tenant, TILL, file)

    assert (outcome.created, outcome.unchanged, outcome.warnings) == (0, 2, [])
    assert Customer.objects.get(tenant=tenant).pk == kept.pk


def test_a_row_under_the_old_number_fills_blanks_and_adds_tags_and_undoes_no_choice(tenant, ada, twin, tmp_path):
    Customer.objects.filter(pk=ada.pk).update(phone="")
    merged(ada, twin)
    file = written(tmp_path, "J-2,Gusta,Kong,ada@post.example,0491 570 156,,,,,pearls")

    outcome = importing.import_customers(tenant, TILL, file)

    kept = Customer.objects.get(tenant=tenant)
    assert (kept.name, kept.email, kept.external_id, kept.phone) == ("Ada King", ADA, "J-1", "+61491570156")
    assert "pearls" in kept.tags
    assert [(note.line, note.column) for note in outcome.warnings] == [(2, "external_id")]
    assert f"customer {kept.pk}" in outcome.warnings[0].message


def test_tonights_import_of_both_rows_re_subscribes_nobody_who_was_merged(tenant, ada, twin, tmp_path):
    event(ada, "granted", "2026-03-01", claimed_at=day("2026-03-01"))
    event(twin, "withdrawn", "2026-03-02")
    merged(ada, twin)
    file = written(tmp_path, "J-1,Ada,King,,,yes,2026-03-01T12:00Z,,,", "J-2,Augusta,King,,,yes,,,,")

    outcome = importing.import_customers(tenant, TILL, file)

    assert (outcome.granted, len(outcome.conflicts)) == (0, 2)
    assert Customer.objects.get(tenant=tenant).consent_state == "withdrawn"


def test_consent_in_a_row_under_the_old_number_is_recorded_on_the_merged_customer(tenant, ada, twin, tmp_path):
    kept = merged(ada, twin)

    importing.import_customers(tenant, TILL, written(tmp_path, "J-2,,,,,yes,2026-03-01,,,"))

    assert ConsentEvent.objects.get().customer_id == kept.pk


def test_the_old_number_is_found_after_a_second_merge_too(tenant, ada, twin, tmp_path):
    third = customer(tenant, first_name="Ada", email=ADA, external_id="J-3")
    merged(ada, twin)
    merged(third, ada)

    outcome = importing.import_customers(tenant, TILL, written(tmp_path, "J-1,,,,,,,,,", "J-2,,,,,,,,,"))

    assert (outcome.created, outcome.unchanged) == (0, 2)
    assert {former.find(tenant, pk).pk for pk in (ada.pk, twin.pk)} == {third.pk}


def test_a_customers_own_number_comes_before_somebody_elses_former_one(tenant, ada, twin, tmp_path):
    merged(ada, twin)
    own = customer(tenant, first_name="Cleo", external_id="J-2")

    importing.import_customers(tenant, TILL, written(tmp_path, "J-2,Cleopatra,,,,,,,,"))

    own.refresh_from_db()
    assert own.first_name == "Cleopatra"


def test_a_former_number_is_not_given_to_somebody_else(tenant, ada, twin):
    merged(ada, twin)
    cleaned = intake.validate(tenant, first_name="Cleo", last_name="", email="", phone="", external_id="J-2")

    with pytest.raises(ValidationError, match=f"Customer {ada.pk} had this number"):
        intake.create(tenant, TILL, cleaned)


def test_a_customer_may_take_their_former_number_back(tenant, ada, twin):
    kept = merged(ada, twin)
    cleaned = intake.validate(tenant, first_name="Ada", last_name="King", email=ADA, phone="", external_id="J-2")

    assert intake.edit(kept, TILL, cleaned).external_id == "J-2"


def test_a_no_said_on_the_page_of_a_record_that_was_merged_meanwhile_is_recorded(ada, twin):
    merged(ada, twin)

    ledger.record(twin, TILL, granted=False, source="profile")

    ada.refresh_from_db()
    assert (ada.consent_state, twin.consent_state) == ("withdrawn", "withdrawn")


def test_an_edit_of_a_record_that_was_merged_meanwhile_changes_nothing(tenant, ada, twin):
    merged(ada, twin)
    cleaned = intake.validate(tenant, first_name="Gusta", last_name="King", email=OLD, phone="")

    with pytest.raises(ValidationError, match="merged into customer"):
        intake.edit(twin, TILL, cleaned)

    ada.refresh_from_db()
    assert (ada.first_name, ada.email) == ("Ada", ADA)


def test_numbers_of_another_shop_lead_nowhere(ada, twin, other_tenant, tmp_path):
    merged(ada, twin)

    outcome = importing.import_customers(other_tenant, TILL, written(tmp_path, "J-2,Cleo,,,,,,,,"))

    assert outcome.created == 1
    assert former.find(other_tenant, twin.pk) is None


# --- refused --------------------------------------------------------------------------------------------------------


def test_a_record_is_not_merged_with_itself(tenant, ada):
    assert refused(ada.pk, ada.pk, tenant) == merging.SAME


def test_a_record_of_another_shop_is_not_there_to_be_merged(tenant, other_tenant, ada):
    theirs = customer(other_tenant, first_name="Ada", email=ADA)

    assert refused(ada.pk, theirs.pk, tenant) == merging.GONE
    assert refused(theirs.pk, ada.pk, tenant) == merging.GONE
    assert Customer.objects.count() == 2


def test_a_record_that_was_removed_or_merged_meanwhile_is_not_merged_again(tenant, ada, twin):
    merged(ada, twin)

    assert refused(ada.pk, twin.pk, tenant) == merging.GONE


CHANGES = {
    "a detail was edited": lambda one: Customer.objects.filter(pk=one.pk).update(phone="+61412999999"),
    "consent was recorded": lambda one: ledger.record(one, TILL, granted=True, source="pos"),
    "a no was said again": lambda one: event(one, "withdrawn", "2026-03-03"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("which", ["kept", "other"])
def test_what_changed_since_the_page_was_shown_is_not_merged_unseen(tenant, ada, twin, change, which):
    event(ada, "withdrawn", "2026-03-01")
    event(twin, "withdrawn", "2026-03-01")
    for one in (ada, twin):
        one.refresh_from_db()
    seen = merging.seen(ada, twin)
    change(ada if which == "kept" else twin)

    assert refused(ada.pk, twin.pk, tenant, seen_as=seen) == merging.CHANGED
    assert Customer.objects.filter(tenant=tenant).count() == 2


def test_what_was_seen_and_did_not_change_is_merged(ada, twin):
    assert merged(ada, twin, seen_as=merging.seen(twin, ada))


def test_removing_the_customer_who_stayed_takes_the_former_numbers_along(ada, twin):
    kept = merged(ada, twin)

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM customers_customer WHERE id = %s", [kept.pk])

    assert not FormerCustomer.objects.exists()


# --- the list of shared addresses ----------------------------------------------------------------------------------


def listed(tenant) -> list[str]:
    return list(SharedAddress.objects.filter(tenant=tenant).order_by("address").values_list("address", flat=True))


def test_an_address_is_listed_as_long_as_two_customers_hold_it(tenant, other_tenant):
    ada = customer(tenant, email=ADA)
    customer(other_tenant, email=ADA)
    assert listed(tenant) == []
    twin = customer(tenant, email=" ADA@inbox.example")
    assert (listed(tenant), listed(other_tenant)) == ([ADA], [])
    third = customer(tenant, email=OLD)
    Customer.objects.filter(pk=third.pk).update(email=ADA)
    Customer.objects.filter(pk=twin.pk).update(email=OLD)
    assert listed(tenant) == [ADA]
    ada.delete()

    assert listed(tenant) == []


def test_customers_who_are_added_or_changed_together_are_listed_together(tenant):
    Customer.objects.bulk_create([Customer(tenant=tenant, email=email) for email in (ADA, ADA, OLD, OLD, "")])
    Customer.objects.bulk_create([Customer(tenant=tenant), Customer(tenant=tenant)])
    assert listed(tenant) == [ADA, OLD]

    Customer.objects.filter(tenant=tenant).update(email="all@inbox.example")

    assert listed(tenant) == ["all@inbox.example"]


def test_a_merge_takes_the_address_off_the_list(tenant, ada, twin):
    assert listed(tenant) == [ADA]

    merged(ada, twin)

    assert listed(tenant) == []


def test_an_old_no_for_the_address_that_goes_stays_in_the_ledger(tenant, ada):
    moved = customer(tenant, first_name="Ada", email=OLD)
    event(moved, "withdrawn", "2026-03-02")

    kept = merged(ada, moved)

    assert kept.email == ADA
    assert ConsentEvent.objects.filter(tenant=tenant, address=OLD, state="withdrawn").count() == 1


def test_times_of_answers_are_told_to_the_microsecond(ada, twin):
    said = event(ada, "granted", "2026-03-01")
    ConsentEvent.objects.create(
        tenant=ada.tenant, customer=twin, state="withdrawn", recorded_at=said.recorded_at + timedelta(microseconds=1),
        source="intake", actor_kind="system", actor_name="the past",
    )  # fmt: skip

    assert merged(ada, twin).consent_state == "withdrawn"
