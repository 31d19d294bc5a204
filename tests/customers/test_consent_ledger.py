"""What counts as consent: the rules a lawyer would ask about (A6, A7, B1, B1a, B4)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import ProgrammingError, transaction
from django.utils import timezone

from nexpura.customers import ledger
from nexpura.customers.ledger import Conflict, Recorded, Unchanged
from nexpura.customers.models import ConsentEvent
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import TILL, customer, day, event

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(tenant):
    return customer(tenant, first_name="Ann", last_name="Ames", email=" Ann@Inbox.example")


# --- B1: three states, an append-only ledger ------------------------------------------------------


def test_a_customer_nobody_asked_has_not_consented(ann):
    assert (ann.consent_state, ann.marketing_consent) == ("never", False)


def test_a_grant_is_kept_with_who_when_where_the_words_and_the_address(ann, bob):
    wording = ledger.current_wording(ann.tenant)

    grant = ledger.record(ann, Actor.user(bob), granted=True, source="intake", ip="203.0.113.9")

    assert (ann.consent_state, ann.marketing_consent) == ("granted", True)
    grant.refresh_from_db()
    assert (grant.actor_kind, grant.actor_id, grant.source, grant.ip) == ("user", bob.pk, "intake", "203.0.113.9")
    assert (grant.wording, grant.wording_text) == (wording, wording.text)
    assert grant.address == "ann@inbox.example"
    assert abs(grant.recorded_at - timezone.now()) < timedelta(hours=1)


def test_the_audit_trail_tells_of_a_grant_and_a_withdrawal(ann, bob):
    ledger.record(ann, Actor.user(bob), granted=True, source="intake")
    ledger.record(ann, Actor.user(bob), granted=False, source="profile")

    lines = AuditEvent.objects.filter(subject_kind="customer", subject_id=ann.pk).order_by("id")
    assert [line.action for line in lines] == ["consent.granted", "consent.withdrawn"]
    assert [line.after["consent_state"] for line in lines] == ["granted", "withdrawn"]
    assert lines[1].before == {"consent_state": "granted"}


def test_a_withdrawal_without_an_earlier_grant_is_recorded(ann):
    withdrawal = ledger.record(ann, TILL, granted=False, source="profile")

    assert withdrawal is not None
    assert ann.consent_state == "withdrawn"


def test_granting_what_is_granted_is_no_event(ann):
    ledger.record(ann, TILL, granted=True, source="intake")

    again = ledger.record(ann, TILL, granted=True, source="pos")

    assert again is None
    assert ConsentEvent.objects.count() == 1


def test_a_yes_given_anew_is_recorded_although_the_book_has_one(ann):
    ledger.record(ann, TILL, granted=True, source="intake")

    again = ledger.record(ann, TILL, granted=True, source="profile", again=True)

    assert again is not None
    assert [event.state for event in ledger.history(ann)] == ["granted", "granted"]


def test_a_no_that_is_said_again_is_recorded_again_because_it_may_have_to_be_carried_out_again(ann):
    ledger.record(ann, TILL, granted=False, source="profile")

    again = ledger.record(ann, TILL, granted=False, source="profile")

    assert again is not None
    assert ConsentEvent.objects.count() == 2


def test_consent_can_be_given_again_after_a_withdrawal_by_asking_the_person(ann):
    event(ann, "granted", "2024-01-01")
    event(ann, "withdrawn", "2025-01-01")

    ledger.record(ann, TILL, granted=True, source="intake")

    assert ann.consent_state == "granted"


@pytest.mark.parametrize(
    "statement", ["UPDATE customers_consentevent SET state = state", "DELETE FROM customers_consentevent"]
)
def test_the_product_cannot_change_the_past(ann, statement):
    from django.db import connection

    event(ann, "withdrawn", "2025-01-01")

    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_the_history_has_the_event_that_counts_first(ann):
    old = event(ann, "granted", "2024-01-01")
    new = event(ann, "withdrawn", "2025-01-01")
    told_late = event(ann, "granted", "2025-06-01", claimed_at=day("2024-06-01"))

    assert list(ledger.history(ann)) == [new, told_late, old]


# --- B1: the words ---------------------------------------------------------------------------------


def test_a_tenant_who_wrote_no_words_shows_some_that_name_the_shop(tenant):
    wording = ledger.current_wording(tenant)

    assert wording.version == 1
    assert "Opal & Co" in wording.text
    assert ledger.current_wording(tenant) == wording


def test_new_words_leave_the_old_ones_with_the_grants_given_under_them(ann, mona):
    before = ledger.record(ann, TILL, granted=True, source="intake")

    wording = ledger.new_wording(ann.tenant, Actor.user(mona), " Write to me about pearls. ")

    before.refresh_from_db()
    assert (wording.version, wording.text) == (2, "Write to me about pearls.")
    assert ledger.current_wording(ann.tenant) == wording
    assert "Opal & Co" in before.wording_text
    assert AuditEvent.objects.get(action="wording.changed").after["version"] == 2


def test_the_same_words_again_are_no_new_version(tenant):
    wording = ledger.current_wording(tenant)

    assert ledger.new_wording(tenant, TILL, wording.text) == wording


# --- B1a: time ------------------------------------------------------------------------------------


def test_an_event_counts_at_the_time_claimed_for_it_if_that_is_earlier(ann):
    event(ann, "withdrawn", "2025-03-01")

    event(ann, "granted", "2025-06-01", claimed_at=day("2025-01-01"))

    assert ann.consent_state == "withdrawn"


def test_an_event_cannot_claim_to_be_of_tomorrow(ann):
    event(ann, "granted", "2025-03-01", claimed_at=day("2035-01-01"))

    event(ann, "withdrawn", "2025-03-02")

    assert ann.consent_state == "withdrawn"


@pytest.mark.parametrize("order", [("granted", "withdrawn"), ("withdrawn", "granted")])
def test_at_the_same_moment_the_withdrawal_wins(ann, order):
    for state in order:
        event(ann, state, "2025-03-01")

    assert ann.consent_state == "withdrawn"


# --- B1a: what an import or another program may say -----------------------------------------------

YES, NO = True, False
OUTSIDE = [
    # held before, said now, dated; what becomes of it; the state after
    ([], YES, None, Recorded, "granted", "a first grant needs no date"),
    ([], YES, "2025-01-01", Recorded, "granted", "a first grant with its date"),
    ([], NO, None, Unchanged, "never", "a no of somebody who never granted says nothing"),
    ([("granted", "2025-01-01")], YES, None, Unchanged, "granted", "granted already"),
    ([("granted", "2025-01-01")], YES, "2025-01-01", Unchanged, "granted", "the same grant again"),
    ([("granted", "2025-01-01")], YES, "2024-01-01", Unchanged, "granted", "an older grant adds nothing"),
    ([("granted", "2025-01-01")], YES, "2026-01-01", Recorded, "granted", "a newer grant is better evidence"),
    ([("granted", "2025-01-01")], NO, None, Recorded, "withdrawn", "a no after a grant withdraws it"),
    ([("granted", "2025-01-01")], NO, "2025-02-01", Recorded, "withdrawn", "a later no withdraws"),
    ([("granted", "2025-01-01")], NO, "2025-01-01", Recorded, "withdrawn", "at a tie the withdrawal wins"),
    ([("granted", "2025-01-01")], NO, "2024-01-01", Unchanged, "granted", "a no from before the grant is overtaken"),
    ([("withdrawn", "2025-01-01")], NO, None, Unchanged, "withdrawn", "withdrawn already"),
    ([("withdrawn", "2025-01-01")], YES, None, Conflict, "withdrawn", "no date: never beats a withdrawal"),
    ([("withdrawn", "2025-01-01")], YES, "2024-06-01", Conflict, "withdrawn", "older than the withdrawal"),
    ([("withdrawn", "2025-01-01")], YES, "2025-01-01", Conflict, "withdrawn", "a tie"),
    ([("withdrawn", "2025-01-01")], YES, "2025-06-01", Recorded, "granted", "a newer grant with its date counts"),
    (
        [("granted", "2024-01-01"), ("withdrawn", "2025-01-01")],
        YES,
        "2024-01-01",
        Conflict,
        "withdrawn",
        "the nightly file repeats the old grant",
    ),
]


@pytest.mark.parametrize(
    ("held", "granted", "dated", "becomes", "state"), [case[:5] for case in OUTSIDE], ids=[c[5] for c in OUTSIDE]
)
def test_what_comes_from_outside_is_weighed(ann, held, granted, dated, becomes, state):
    for held_state, at in held:
        event(ann, held_state, at)

    answer = ledger.record_from_outside(
        ann, TILL, granted=granted, source="import", claimed_at=day(dated) if dated else None
    )

    assert type(answer) is becomes
    assert ann.consent_state == state
    assert ConsentEvent.objects.count() == len(held) + (becomes is Recorded)


def test_a_grant_repeating_a_date_in_the_future_does_not_come_back_after_a_withdrawal(ann):
    tomorrow = timezone.now() + timedelta(days=1)
    ledger.record_from_outside(ann, TILL, granted=True, source="api", claimed_at=tomorrow)
    ledger.record(ann, TILL, granted=False, source="profile")

    answer = ledger.record_from_outside(ann, TILL, granted=True, source="api", claimed_at=tomorrow)

    assert answer == Conflict(ledger.REPEATED)
    assert ann.consent_state == "withdrawn"


def test_words_from_outside_are_kept_as_theirs_not_as_ours(ann):
    answer = ledger.record_from_outside(ann, TILL, granted=True, source="import", wording_text="Keep me posted")

    assert isinstance(answer, Recorded)
    assert (answer.event.wording, answer.event.wording_text) == (None, "Keep me posted")


# --- B4: an address that several customers share --------------------------------------------------


@pytest.fixture
def ben(tenant, ann):
    return customer(tenant, first_name="Ben", last_name="Ames", email="ann@inbox.example")


def test_an_undated_grant_of_a_new_customer_does_not_undo_a_withdrawal_of_the_address(ann, ben):
    event(ann, "withdrawn", "2025-01-01")

    answer = ledger.record_from_outside(ben, TILL, granted=True, source="import")

    assert answer == Conflict(ledger.NO_DATE)


def test_the_withdrawal_stays_with_the_address_when_its_customer_has_another_now(ann, ben):
    event(ann, "withdrawn", "2025-01-01")
    ann.email = "elsewhere@inbox.example"
    ann.save()

    answer = ledger.record_from_outside(ben, TILL, granted=True, source="import")

    assert answer == Conflict(ledger.NO_DATE)


def test_someone_who_says_yes_again_after_the_other_withdrew_is_heard(ann, ben):
    event(ann, "granted", "2024-01-01")
    event(ben, "withdrawn", "2025-01-01")

    again = ledger.record(ann, TILL, granted=True, source="pos")

    assert again is not None


def test_someone_who_says_stop_again_after_the_other_granted_is_heard(ann, ben):
    event(ann, "withdrawn", "2024-01-01")
    event(ben, "granted", "2025-01-01")

    again = ledger.record(ann, TILL, granted=False, source="profile")

    assert again is not None


def test_an_address_left_blank_is_shared_with_nobody(tenant):
    one, other = customer(tenant, first_name="One"), customer(tenant, first_name="Other")
    ledger.record(one, TILL, granted=False, source="profile")

    answer = ledger.record_from_outside(other, TILL, granted=True, source="import")

    assert isinstance(answer, Recorded)


# --- A1 -------------------------------------------------------------------------------------------


def test_a_withdrawal_at_another_shop_is_no_withdrawal_here(ann, other_tenant):
    namesake = customer(other_tenant, first_name="Ann", email="ann@inbox.example")
    event(namesake, "withdrawn", "2025-01-01")

    answer = ledger.record_from_outside(ann, TILL, granted=True, source="import")

    assert isinstance(answer, Recorded)
