"""Mailchimp would not ask somebody to confirm: the reason told is its own, and what can pass or be mended does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nexpura.audience import diff
from nexpura.audience.consent import Granted
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.member import KnownMember, Status
from nexpura.audience.plan import Ask, Bucket, Decision
from nexpura.audience.reasons import Reason
from nexpura.customers.models import Customer
from nexpura.mailchimp import errors
from nexpura.mailchimp.errors import Refusal
from nexpura.mailchimp.result import Refused
from nexpura.sync import outcome
from tests.sync.test_consent_in_life import ADA, choose, left_and_said_yes_again, settled

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEFT = KnownMember(Status.UNSUBSCRIBED, {}, last_changed=NOW - timedelta(days=9), status_since=NOW - timedelta(days=9))
TERMS = Terms(may_ask=True)


def ada(first: str = "Ada", yes: int = 1) -> CustomerFacts:
    return CustomerFacts(7, first, events=(ConsentFact(yes, True, NOW - timedelta(days=1)),))


def decided(customer: CustomerFacts, known: KnownMember, now: datetime = NOW) -> Decision:
    facts = AddressFacts(ADA, (customer,), email=ADA)
    return diff.change(Granted(customer, customer.events[0]), facts, known, TERMS, now)


def refused(kind: Refusal, known: KnownMember = LEFT, customer: CustomerFacts | None = None) -> outcome.Settled:
    """Ask, and let Mailchimp refuse it."""
    question = decided(customer or ada(), known)
    assert isinstance(question, Ask)
    return outcome.of(question, known, Refused(errors.MemberRefused(400, "No", "no", kind)), NOW)


@pytest.mark.parametrize(
    ("kind", "bucket", "reason"),
    [
        (Refusal.COMPLIANCE, Bucket.KEPT, Reason.COMPLIANCE),
        (Refusal.FORGOTTEN, Bucket.KEPT, Reason.FORGOTTEN),
        (Refusal.THROTTLED_ADDRESS, Bucket.WAITING, Reason.THROTTLED),
        (Refusal.MERGE_FIELDS, Bucket.FAILED, Reason.MERGE_FIELDS),
        (Refusal.INVALID_ADDRESS, Bucket.FAILED, Reason.INVALID_EMAIL),
        (Refusal.FAKE_ADDRESS, Bucket.FAILED, Reason.FAKE_EMAIL),
        (Refusal.OTHER, Bucket.FAILED, Reason.REFUSED),
    ],
)
def test_a_refused_question_is_told_with_the_reason_of_its_refusal(kind, bucket, reason):
    settled = refused(kind)

    assert (settled.standing.bucket, settled.standing.reason) == (bucket, reason)


@pytest.mark.parametrize("kind", [kind for kind in Refusal if kind is not Refusal.EXISTS])
def test_a_yes_counts_as_asked_for_only_where_mailchimp_would_refuse_it_again(kind):
    settled = refused(kind)

    assert settled.known.asked_for == (1 if kind is Refusal.COMPLIANCE else None)


@pytest.mark.parametrize("kind", [Refusal.FAKE_ADDRESS, Refusal.OTHER, Refusal.FORGOTTEN, Refusal.COMPLIANCE])
def test_a_refused_question_is_not_put_again_until_something_changes(kind):
    known = refused(kind).known

    assert not isinstance(decided(ada(), known), Ask)
    assert isinstance(decided(ada(yes=2), known), Ask)


def test_a_refused_question_is_put_again_once_the_customer_is_corrected():
    known = refused(Refusal.OTHER).known

    assert isinstance(decided(ada("Augusta"), known), Ask)


def test_a_question_refused_for_the_time_being_is_put_again_when_its_time_has_come():
    settled = refused(Refusal.THROTTLED_ADDRESS)

    soon = decided(ada(), settled.known, NOW + timedelta(hours=1))
    then = decided(ada(), settled.known, NOW + outcome.THROTTLE_WAIT)

    assert (soon, settled.standing.retry_at) == (settled.standing, NOW + outcome.THROTTLE_WAIT)
    assert isinstance(then, Ask)


def test_values_that_mailchimp_does_not_take_keep_nobody_from_being_asked():
    settled = refused(Refusal.MERGE_FIELDS)

    again = decided(ada(), settled.known)

    assert settled.again
    assert isinstance(again, Ask)
    assert again.merge_fields == {}


def test_a_question_without_values_that_is_refused_too_is_not_put_a_third_time():
    known = refused(Refusal.MERGE_FIELDS).known
    settled = refused(Refusal.OTHER, known)

    assert decided(ada(), settled.known) == settled.standing
    assert not settled.again
    assert isinstance(decided(ada("Augusta"), settled.known), Ask)


def test_the_question_of_another_customer_is_another_question():
    known = replace(refused(Refusal.OTHER).known, contact_id="c1")

    assert isinstance(decided(CustomerFacts(8, "Ada", events=(ConsentFact(5, True, NOW),)), known), Ask)


def test_somebody_whose_number_does_not_fit_is_asked_all_the_same_and_the_number_told(shop):
    left_and_said_yes_again(shop, merge_fields=[{"tag": "NUMBER", "type": "number"}])
    choose(shop, ask_to_confirm=True, mapping={"NUMBER": "external_id"})
    Customer.objects.update(external_id="C-7")

    first = shop.sync()
    told = first.results.get().reason
    second = shop.sync()

    assert (first.counts["failed"], told) == (1, Reason.MERGE_FIELDS)
    assert (second.counts["asked"], shop.statuses()) == (1, {ADA: "pending"})
    settled(shop)
