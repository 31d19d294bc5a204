"""What the database computes agrees with what the rules say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexpura.audience.address import TRIMMED, address_of
from nexpura.audience.fold import ACCENTED, fold
from nexpura.customers.models import ConsentEvent, Customer
from tests.customers.asking import customer

pytestmark = pytest.mark.django_db

in_one_database = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.lists(st.text(letters | st.sampled_from(TRIMMED + ACCENTED + "İıẞKÅ"), max_size=20), min_size=1, max_size=30)


def computed(function: str, values: list[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {function}(text) FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, n) ORDER BY n", [values]
        )
        return [value for (value,) in cursor.fetchall()]


@in_one_database
@given(values=texts)
def test_the_database_reads_an_address_as_the_rules_do(values, db):
    assert computed("nexpura_address", values) == [address_of(value) for value in values]


@in_one_database
@given(values=texts)
def test_the_database_folds_a_name_as_the_rules_do(values, db):
    assert computed("nexpura_fold", values) == [fold(value) for value in values]


MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
hours = st.integers(0, 5).map(lambda hour: MONDAY + timedelta(hours=hour))
told = st.lists(
    st.lists(st.tuples(st.sampled_from(["granted", "withdrawn"]), st.none() | hours, hours), min_size=1, max_size=3),
    max_size=4,
)


@in_one_database
@given(told=told)
def test_the_state_is_that_of_the_newest_event_and_a_tie_is_a_withdrawal(told, tenant):
    ann, ben = customer(tenant, first_name="Ann"), customer(tenant, first_name="Ben")

    for together in told:
        ConsentEvent.objects.bulk_create(
            ConsentEvent(
                tenant=tenant,
                customer=ann,
                state=state,
                claimed_at=claimed_at,
                recorded_at=recorded_at,
                source="import",
                actor_kind="system",
                actor_name="test",
            )
            for state, claimed_at, recorded_at in together
        )

    events = [
        (min(claimed_at or recorded_at, recorded_at), state == "withdrawn")
        for together in told
        for state, claimed_at, recorded_at in together
    ]
    expected = "never" if not events else "withdrawn" if max(events)[1] else "granted"
    ann, ben = Customer.objects.get(pk=ann.pk), Customer.objects.get(pk=ben.pk)
    assert (ann.consent_state, ann.marketing_consent) == (expected, expected == "granted")
    assert ben.consent_state == "never"


@pytest.mark.parametrize("whose", ["nobody", "another shop"])
def test_an_event_of_nobody_in_this_shop_is_refused(tenant, other_tenant, whose):
    pk = customer(other_tenant, first_name="Ann").pk if whose == "another shop" else 1_000_000

    with pytest.raises(IntegrityError, match="consent_customer_same_tenant"):
        ConsentEvent.objects.create(
            tenant=tenant, customer_id=pk, state="granted", source="import", actor_kind="system", actor_name="test"
        )
