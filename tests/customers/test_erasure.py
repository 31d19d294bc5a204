"""Somebody who was erased turns up again: in a file, at the counter, at another customer's address (B11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nexpura.customers import importing, intake, ledger, returning
from nexpura.customers.models import Customer
from nexpura.sync import erasures
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import TILL, customer, written

pytestmark = pytest.mark.django_db

ANN = {"first_name": "Ann", "last_name": "Ames", "email": "ann@inbox.example", "phone": "", "external_id": "J-1"}
AGAIN = "Write them down again only if they are here and want it"


@pytest.fixture
def erased_ann(tenant) -> None:
    ann = intake.create(tenant, TILL, cleaned(tenant))
    erasures.erase(tenant, TILL, ann.pk, "unsubscribe")


@pytest.fixture
def take(tenant, tmp_path):
    """Import these lines."""

    def take(*lines: str):
        return importing.import_customers(tenant, TILL, written(tmp_path, *lines))

    return take


def cleaned(tenant, **fields) -> intake.Cleaned:
    return intake.validate(tenant, **ANN | fields)


def a_moment_ago(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


# --- the file -------------------------------------------------------------------------------------


def test_a_line_about_an_erased_person_is_left_out_and_named(tenant, erased_ann, take):
    outcome = take("J-2,Ben,Ames,ben@inbox.example,,,,,,", "J-1,Ann,Ames,ann@inbox.example,,yes,,,,")

    (note,) = outcome.warnings
    assert (outcome.created, outcome.left_out) == (1, 1)
    assert note.line == 3
    assert str(note).startswith("line 3: left out: this person was erased on ")
    assert str(note).endswith("; a new dated consent is needed")
    assert "ann" not in str(note).lower()


@pytest.mark.parametrize(
    ("line", "back"),
    [
        ("J-1,Ann,Ames,ann@inbox.example,,yes,{newer},,,", True),
        ("J-1,Ann,Ames,,,yes,{newer},,,", True),
        (",,,ann@inbox.example,,yes,{newer},,,", True),
        ("J-1,Ann,Ames,ann@inbox.example,,yes,{older},,,", False),
        ("J-1,Ann,Ames,ann@inbox.example,,yes,,,,", False),
        ("J-1,Ann,Ames,ann@inbox.example,,no,{newer},,,", False),
        ("J-1,Ann,Ames,ann@inbox.example,,,,,,", False),
        ("J-1,Ann,Ames,other@inbox.example,,,,,,", False),
        ("J-9,Ann,Ames,ANN@inbox.example ,,,,,,", False),
        ("J-9,Ann,Ames,other@inbox.example,,,,,,", True),  # nothing of hers is in it that we would know
    ],
)
def test_only_a_yes_with_a_date_of_its_own_since_then_brings_somebody_back(tenant, erased_ann, take, line, back):
    moments = {"newer": a_moment_ago(seconds=0), "older": a_moment_ago(days=1)}

    outcome = take(line.format(**moments))

    assert (outcome.created, outcome.left_out) == ((1, 0) if back else (0, 1))


def test_an_existing_customer_is_not_given_the_address_of_an_erased_one_by_a_file(tenant, erased_ann, take):
    ben = customer(tenant, external_id="J-2", first_name="Ben", email="ben@inbox.example")

    outcome = take("J-2,Ben,Ames,ann@inbox.example,,,,,,")

    ben.refresh_from_db()
    assert (outcome.changed, outcome.left_out, ben.address) == (0, 1, "ben@inbox.example")


def test_whoever_shared_the_address_is_found_by_the_file_as_before(tenant, take):
    ann = intake.create(tenant, TILL, cleaned(tenant))
    customer(tenant, external_id="J-2", first_name="Ben", last_name="Ames", email="ann@inbox.example")
    erasures.erase(tenant, TILL, ann.pk, "keep")

    outcome = take("J-2,Ben,Ames,ann@inbox.example,0491 570 156,,,,,", "J-1,Ann,Ames,ann@inbox.example,,,,,,")

    assert (outcome.changed, outcome.left_out) == (1, 1)
    assert [one.external_id for one in Customer.objects.all()] == ["J-2"]


def test_a_dry_run_says_who_would_be_left_out(tenant, erased_ann, tmp_path):
    file = written(tmp_path, "J-1,Ann,Ames,ann@inbox.example,,,,,,")

    outcome = importing.import_customers(tenant, TILL, file, dry_run=True)

    assert outcome.as_json()["left_out"] == 1


def test_looking_for_the_erased_costs_a_batch_the_same_however_many_lines(tenant, erased_ann, tmp_path):
    asked = []
    for people in (5, 500):
        lines = [f"N-{people}-{n},N,{n},n{people}x{n}@inbox.example,,,,,," for n in range(people)]
        with CaptureQueriesContext(connection) as queries:
            importing.import_customers(tenant, TILL, written(tmp_path, *lines))
        asked.append([one["sql"] for one in queries if "erasedidentity" in one["sql"] or "erasure_key" in one["sql"]])

    assert len(asked[0]) == len(asked[1]) <= 4


# --- the counter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["email", "external_id"])
def test_an_erased_person_is_not_written_down_again_by_mistake(tenant, erased_ann, field):
    blank = {"email": "", "external_id": ""} | {field: ANN[field]}

    with pytest.raises(ValidationError) as refused:
        intake.create(tenant, TILL, cleaned(tenant, **blank))

    assert AGAIN in refused.value.message_dict["again"][0]
    assert not Customer.objects.exists()


def test_somebody_who_is_here_and_wants_it_is_written_down_again_and_the_audit_trail_says_so(tenant, erased_ann):
    ann = intake.create(tenant, TILL, cleaned(tenant), again=True)

    line = AuditEvent.objects.get(action="customer.created", subject_id=ann.pk)
    assert "again_after_erasure_at" in line.after
    assert ann.consent_state == "never"


def test_a_customer_takes_on_the_address_of_an_erased_one_only_if_somebody_says_so(tenant, erased_ann):
    ben = customer(tenant, first_name="Ben", email="ben@inbox.example")
    wanted = cleaned(tenant, first_name="Ben", external_id="")

    with pytest.raises(ValidationError):
        intake.edit(ben, TILL, wanted)
    intake.edit(ben, TILL, wanted, again=True)

    assert ben.address == "ann@inbox.example"


def test_whoever_is_back_is_edited_like_anybody(tenant, erased_ann):
    ann = intake.create(tenant, TILL, cleaned(tenant), again=True)

    intake.edit(ann, TILL, cleaned(tenant, last_name="Brown"))

    assert ann.last_name == "Brown"


def test_a_yes_said_at_the_counter_after_coming_back_counts(tenant, erased_ann):
    ann = intake.create(tenant, TILL, cleaned(tenant), again=True)

    event = ledger.record(ann, TILL, granted=True, source="intake", claimed_at=datetime.now(UTC))

    assert event is not None
    assert ann.marketing_consent


def test_a_yes_said_anew_is_recorded_where_the_earlier_one_no_longer_counts(tenant, erased_ann):
    ben = customer(tenant, first_name="Ben", email="ben@inbox.example")
    ledger.record(ben, TILL, granted=True, source="intake", claimed_at=datetime.now(UTC) - timedelta(days=9))
    intake.edit(ben, TILL, cleaned(tenant, first_name="Ben", external_id=""), again=True)

    again = ledger.record(ben, TILL, granted=True, source="profile", claimed_at=datetime.now(UTC))
    once_more = ledger.record(ben, TILL, granted=True, source="profile", claimed_at=datetime.now(UTC))

    assert again is not None
    assert once_more is None


def test_without_the_key_nobody_with_an_address_is_written_down(tenant, erased_ann, settings):
    settings.NEXPURA_ENCRYPTION_KEYS = ["b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyMDE="]

    with pytest.raises(ValidationError) as refused:
        intake.create(tenant, TILL, cleaned(tenant))

    assert refused.value.message_dict["email"] == [returning.CANNOT_TELL]


def test_nobody_was_erased_in_another_shop(other_tenant, erased_ann):
    assert intake.create(other_tenant, TILL, cleaned(other_tenant)).pk
