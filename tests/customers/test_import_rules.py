"""Whom a line of a customer file is about, and what it may change."""

from __future__ import annotations

import itertools
import tracemalloc
from datetime import datetime

import pytest

from nexpura.customers import importing, ledger
from nexpura.customers.models import ConsentEvent, Customer
from tests.customers.asking import TILL, customer, event, written

pytestmark = pytest.mark.django_db

NOON = "T12:00:00+00:00"


@pytest.fixture
def take(tenant, tmp_path):
    """Import these lines."""

    def take(*lines: str):
        return importing.import_customers(tenant, TILL, written(tmp_path, *lines))

    return take


def counts(outcome) -> tuple[int, int, int]:
    return outcome.created, outcome.changed, outcome.unchanged


# --- matching -------------------------------------------------------------------------------------


def test_a_customer_is_known_by_the_number_of_the_till(tenant, take):
    ann = customer(tenant, external_id="J-1", first_name="Ann", email="old@inbox.example")

    outcome = take("J-1,Anne,Ames,new@inbox.example,,,,,,")

    ann.refresh_from_db()
    assert counts(outcome) == (0, 1, 0)
    assert (ann.name, ann.address) == ("Anne Ames", "new@inbox.example")


def test_else_by_the_address_if_one_customer_has_it_and_the_names_do_not_conflict(tenant, take):
    ann = customer(tenant, first_name="ann", email="ANN@inbox.example")

    outcome = take("J-1,Ánn,Ames,ann@inbox.example,,,,,,")

    ann.refresh_from_db()
    assert counts(outcome) == (0, 1, 0)
    assert (ann.external_id, ann.last_name) == ("J-1", "Ames")


@pytest.mark.parametrize(
    "line",
    [
        ",Ben,Ames,ann@inbox.example,,,,,,",
        ",Ann,Brown,ann@inbox.example,,,,,,",
        "J-2,Ann,Ames,ann@inbox.example,,,,,,",
    ],
    ids=["another first name", "another last name", "another number of the till"],
)
def test_somebody_else_with_the_address_is_a_new_customer_and_the_import_says_so(tenant, take, line):
    customer(tenant, external_id="J-1", first_name="Ann", last_name="Ames", email="ann@inbox.example")

    outcome = take(line)

    assert counts(outcome) == (1, 0, 0)
    assert [(note.line, note.column) for note in outcome.warnings] == [(2, "email")]
    assert "a new customer" in outcome.warnings[0].message


def test_of_several_with_the_address_only_the_very_same_name_is_meant(tenant, take):
    for first in ("Ann", "Ben"):
        customer(tenant, first_name=first, last_name="Ames", email="ames@inbox.example")

    outcome = take(",Ben,Ames,ames@inbox.example,0491 570 156,,,,,", ",,Ames,ames@inbox.example,,,,,,")

    assert counts(outcome) == (1, 1, 0)
    assert Customer.objects.get(first_name="Ben").phone == "+61491570156"


def test_without_number_and_address_the_same_name_and_phone_are_the_same_customer(tenant, take):
    customer(tenant, first_name="Ann", last_name="Ames", phone="+61491570156")

    outcome = take(",Ann,Ames,,0491 570 156,,,,,", ",Ann,Ames,,0491 570 157,,,,,")

    assert counts(outcome) == (1, 0, 1)


def test_a_line_knows_the_customers_of_the_lines_before_it(take):
    outcome = take(
        "J-1,Ann,Ames,ann@inbox.example,,,,,,",
        "J-1,,,,0491 570 156,,,,,",
        ",Ann,,Ann@Inbox.example,,,,,,vip",
    )

    assert counts(outcome) == (1, 2, 0)
    ann = Customer.objects.get()
    assert (ann.phone, ann.tags) == ("+61491570156", ["vip"])


def test_another_shops_customer_is_never_meant(other_tenant, take):
    stranger = customer(other_tenant, external_id="J-1", first_name="Ann", email="ann@inbox.example")

    outcome = take("J-1,Ben,,ann@inbox.example,,,,,,")

    stranger.refresh_from_db()
    assert counts(outcome) == (1, 0, 0)
    assert stranger.first_name == "Ann"


def test_a_blank_field_leaves_what_the_book_has_and_tags_are_only_added(tenant, take):
    ann = customer(
        tenant, external_id="J-1", first_name="Ann", email="ann@inbox.example", phone="+61491570156", tags=["vip"]
    )

    outcome = take("J-1,,,,,,,,,repairs;vip")

    ann.refresh_from_db()
    assert counts(outcome) == (0, 1, 0)
    assert (ann.first_name, ann.address, ann.phone) == ("Ann", "ann@inbox.example", "+61491570156")
    assert ann.tags == ["vip", "repairs"]


def test_a_line_about_nobody_is_left_out(take):
    outcome = take("J-1,,,,,yes,,,,", ",,,,,,,,,")

    assert (outcome.rows, outcome.left_out) == (2, 2)
    assert not Customer.objects.exists()


def test_the_same_file_again_changes_nothing(take):
    lines = [
        "J-1,Ann,Ames,ann@inbox.example,0491 570 156,yes,2026-03-14,intake,Keep me posted,vip",
        "J-2,Ben,Ames,ANN@inbox.example ,5550 1234,yes,,,,",
        ",Cy,,ann@inbox.example,,no,,,,",
        ",Di,Dean,,0491 570 157,yes,2026-03-14T10:30,pos,,",
        ",Eve,,eve@münchen.example,,,,,,",
        ",Flo,,flo@,,yes,,,,",
    ]
    first = take(*lines)

    again = take(*lines)

    assert counts(first) == (6, 0, 0)
    assert counts(again) == (0, 0, 6)
    assert (again.granted, again.withdrawn, again.conflicts) == (0, 0, [])


# --- consent --------------------------------------------------------------------------------------


def test_a_yes_becomes_a_grant_with_its_date_source_and_words(tenant, take):
    take("J-1,Ann,,ann@inbox.example,,yes,2026-03-14T10:30,pos,Keep me posted,")

    grant = ConsentEvent.objects.get()
    assert (grant.state, grant.source, grant.wording_text, grant.address) == (
        "granted",
        "pos",
        "Keep me posted",
        "ann@inbox.example",
    )
    assert grant.claimed_at.astimezone(tenant.zone).isoformat() == "2026-03-14T10:30:00+11:00"
    assert grant.actor_name == "till"
    assert Customer.objects.get().marketing_consent


def test_a_day_begins_where_the_shop_is_and_a_withdrawal_counts_until_its_end(tenant, take):
    take("J-1,Ann,,,,yes,2026-03-14,,,", "J-1,Ann,,,,no,2026-03-14,,,")

    grant, withdrawal = ConsentEvent.objects.order_by("claimed_at")
    assert grant.claimed_at.astimezone(tenant.zone).isoformat() == "2026-03-14T00:00:00+11:00"
    assert withdrawal.claimed_at.astimezone(tenant.zone).isoformat() == "2026-03-14T23:59:59.999999+11:00"
    assert Customer.objects.get().consent_state == "withdrawn"


def test_a_source_we_do_not_know_is_recorded_as_import_and_told(take):
    outcome = take("J-1,Ann,,,,yes,,website,,", "J-2,Ben,,,,yes,,mailchimp,,")

    assert set(ConsentEvent.objects.values_list("source", flat=True)) == {"import"}
    assert [note.column for note in outcome.warnings] == ["consent_source", "consent_source"]


def test_an_empty_consent_leaves_consent_as_it_is(tenant, take):
    ann = customer(tenant, external_id="J-1", first_name="Ann")
    event(ann, "granted", "2025-01-01")

    take("J-1,Ann,,,,,2026-03-14,,,")

    assert ConsentEvent.objects.count() == 1


def test_a_no_is_a_withdrawal_only_if_there_was_a_grant(tenant, take):
    ann, ben = (customer(tenant, external_id=number, first_name=number) for number in ("J-1", "J-2"))
    event(ann, "granted", "2025-01-01")

    outcome = take("J-1,,,,,no,,,,", "J-2,,,,,no,,,,")

    ann.refresh_from_db()
    ben.refresh_from_db()
    assert outcome.withdrawn == 1
    assert (ann.consent_state, ben.consent_state) == ("withdrawn", "never")


def test_a_nightly_file_resubscribes_nobody(take):
    line = "J-1,Ann,,ann@inbox.example,,yes,2026-03-14,,,"
    undated = "J-2,Ben,,ben@inbox.example,,yes,,,,"
    take(line, undated)
    for person in Customer.objects.all():
        ledger.record(person, TILL, granted=False, source="profile")

    outcome = take(line, undated)

    assert [(note.line, note.message) for note in outcome.conflicts] == [(2, ledger.REPEATED), (3, ledger.NO_DATE)]
    assert set(Customer.objects.values_list("consent_state", flat=True)) == {"withdrawn"}


def test_a_grant_dated_after_the_withdrawal_counts(tenant, take):
    ann = customer(tenant, external_id="J-1", first_name="Ann")
    event(ann, "withdrawn", "2025-01-01")

    outcome = take("J-1,,,,,yes,2025-06-01,,,")

    ann.refresh_from_db()
    assert (outcome.granted, outcome.conflicts) == (1, [])
    assert ann.consent_state == "granted"


def test_an_undated_yes_of_a_namesake_does_not_undo_a_withdrawal_of_the_address(tenant, take):
    ann = customer(tenant, external_id="J-1", first_name="Ann", email="ann@inbox.example")
    event(ann, "withdrawn", "2025-01-01")

    outcome = take(",Anneke,,ann@inbox.example,,yes,,,,")

    assert outcome.created == 1
    assert [note.message for note in outcome.conflicts] == [ledger.NO_DATE]


def test_a_yes_and_a_no_without_dates_in_one_file_end_as_a_no(take):
    outcome = take("J-1,Ann,,,,yes,,,,", "J-1,,,,,no,,,,", "J-1,,,,,yes,,,,")

    assert (outcome.granted, outcome.withdrawn, len(outcome.conflicts)) == (1, 1, 1)
    assert Customer.objects.get().consent_state == "withdrawn"


# --- size -----------------------------------------------------------------------------------------


def test_more_rows_than_a_batch_are_all_imported_in_few_questions(
    tenant, tmp_path, django_assert_max_num_queries, monkeypatch
):
    monkeypatch.setattr(importing, "BATCH", 1_000)
    lines = [f"J-{n},Ann,Ames{n},c{n}@inbox.example,,yes,,,," for n in range(2_500)]
    path = written(tmp_path, *lines)

    with django_assert_max_num_queries(60):
        outcome = importing.import_customers(tenant, TILL, path)

    assert (outcome.created, outcome.granted) == (2_500, 2_500)
    assert Customer.objects.filter(marketing_consent=True).count() == 2_500


FAMILY = (
    "J-1,Ann,Ames,ann@inbox.example,0491 570 156,yes,2026-03-14,pos,Keep me posted,vip",
    "J-1,Ann,Ames,new@inbox.example,,,,,,rings",
    ",Ben,Ames,ann@inbox.example,,yes,,,,",
    "J-1,,,,,no,2026-03-15,,,",
    ",Cy,Ames,new@inbox.example,,yes,2026-01-01,,,",
    "J-2,Ben,Ames,ann@inbox.example,,,,,,",
    ",Di,Dean,,0491 570 157,yes,,,,",
    ",Di,Dean,,0491 570 157,no,,,,",
    "J-1,,,,,yes,2026-03-16,,,",
    "J-2,,,,,no,,,,",
    "J-2,,,,,yes,,,,",
)


def test_where_a_file_is_cut_into_batches_makes_no_difference(tenant, other_tenant, tmp_path, monkeypatch):
    other_tenant.country, other_tenant.timezone = tenant.country, tenant.timezone
    other_tenant.save()

    whole = importing.import_customers(tenant, TILL, written(tmp_path, *FAMILY))
    monkeypatch.setattr(importing, "BATCH", 1)
    cut = importing.import_customers(other_tenant, TILL, written(tmp_path, *FAMILY))

    assert cut.counts() == whole.counts()
    assert [str(note) for note in cut.conflicts] == [str(note) for note in whole.conflicts]
    assert _told(other_tenant) == _told(tenant)


def _told(tenant) -> list:
    people = Customer.objects.filter(tenant=tenant).order_by("id")
    return [
        (person.snapshot(), person.consent_state, [*person.consent_events.order_by("id").values_list(*EVENT)])
        for person in people
    ]


EVENT = ("state", "claimed_at", "source", "wording_text", "address")


def test_an_event_names_the_address_its_customer_had_in_that_line(take):
    take("J-1,Ann,,old@inbox.example,,yes,2026-03-14,,,", "J-1,Ann,,new@inbox.example,,no,2026-03-15,,,")

    assert [*ConsentEvent.objects.order_by("id").values_list("state", "address")] == [
        ("granted", "old@inbox.example"),
        ("withdrawn", "new@inbox.example"),
    ]


def test_a_file_ten_times_as_long_takes_no_more_memory(tenant, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 100)
    peaks = []

    for size in (300, 300, 3_000):  # the first fills what is kept once for all
        path = written(tmp_path, *[f"J-{n},Ann,Ames{n},c{n}@inbox.example,,yes,,,," for n in range(size)])
        tracemalloc.start()
        importing.import_customers(tenant, TILL, path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[2] < peaks[1] * 1.3


def test_the_import_and_the_ledger_judge_alike(tenant, take):
    """The set-based way and the single way are given the same history and the same claims."""
    histories = [[], ["granted"], ["withdrawn"], ["granted", "withdrawn"], ["withdrawn", "granted"]]
    claims = [
        (said, at)
        for said in ("yes", "no")
        for at in ("", f"2024-01-01{NOON}", f"2025-01-01{NOON}", f"2026-06-01{NOON}")
    ]
    pairs, lines = [], []
    for number, (history, (said, at)) in enumerate(itertools.product(histories, claims)):
        twins = [customer(tenant, external_id=f"{side}{number}", first_name="Ann") for side in "ab"]
        for twin in twins:
            for year, state in zip(("2025", "2026"), history, strict=False):
                event(twin, state, f"{year}-01-01")
        pairs.append((twins, said == "yes", datetime.fromisoformat(at) if at else None))
        lines.append(f"a{number},,,,,{said},{at},,,")

    take(*lines)

    for (imported, other), granted, at in pairs:
        ledger.record_from_outside(other, TILL, granted=granted, source="import", claimed_at=at)
        imported.refresh_from_db()
        assert imported.consent_state == other.consent_state
        assert imported.consent_events.count() == other.consent_events.count()
