"""A customer written down at the counter, and corrected later."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from nexpura.customers import intake, ledger
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import TILL, customer

pytestmark = pytest.mark.django_db

ANN = {"first_name": "Ann", "last_name": "Ames", "email": "ann@inbox.example", "phone": "0491 570 156"}


def cleaned(tenant, **fields):
    return intake.validate(tenant, **{"first_name": "", "last_name": "", "email": "", "phone": ""} | fields)


def test_what_was_written_down_is_tidied(tenant):
    ann = cleaned(
        tenant,
        first_name="  Mary  Ann ",
        last_name="O’Brien",
        email=" Ann@München.example ",
        phone="(02) 5550 1234",
        tags="vip; repairs, vip,",
        external_id=" J-1 ",
        note=" rings\nsize 6 ",
    )

    assert ann == intake.Cleaned(
        first_name="Mary Ann",
        last_name="O’Brien",
        email="Ann@xn--mnchen-3ya.example",
        phone="+61255501234",
        tags=("vip", "repairs"),
        external_id="J-1",
        note="rings\nsize 6",
    )


@pytest.mark.parametrize("only", [{"first_name": "Ann"}, {"email": "ann@inbox.example"}, {"phone": "0491570156"}])
def test_one_thing_about_a_customer_is_enough(tenant, only):
    assert cleaned(tenant, **only)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "first_name", "a name, an e-mail address or a phone"),
        ({"email": "name@"}, "email", "nothing after the @"),
        ({"email": "a" * 288 + "@inbox.example"}, "email", "302 characters"),
        ({"phone": "call me"}, "phone", "0412 345 678"),
        ({"first_name": "A" * 201}, "first_name", "200 characters"),
        ({"first_name": "Ann", "external_id": "x" * 101}, "external_id", "100 characters"),
        ({"first_name": "Ann", "tags": "t" * 101}, "tags", "100 characters"),
        ({"first_name": "A\0nn"}, "first_name", "cannot be kept"),
        ({"first_name": "Ann", "note": "\0"}, "note", "cannot be kept"),
    ],
)
def test_what_cannot_be_kept_is_answered_field_by_field(tenant, fields, field, words):
    with pytest.raises(ValidationError) as refused:
        cleaned(tenant, **fields)

    assert list(refused.value.message_dict) == [field]
    assert words in refused.value.message_dict[field][0]


def test_a_new_customer_was_not_asked_about_marketing(tenant, bob):
    ann = intake.create(tenant, Actor.user(bob), cleaned(tenant, **ANN))

    assert (ann.address, ann.phone, ann.consent_state) == ("ann@inbox.example", "+61491570156", "never")
    line = AuditEvent.objects.get(action="customer.created")
    assert (line.actor_id, line.subject_id, line.after["last_name"]) == (bob.pk, ann.pk, "Ames")


def test_an_edit_tells_the_audit_trail_what_changed_and_nothing_else(tenant, bob):
    ann = intake.create(tenant, TILL, cleaned(tenant, **ANN))

    ann = intake.edit(ann, Actor.user(bob), cleaned(tenant, **ANN | {"email": "Ames@post.example"}))

    assert (ann.email, ann.address) == ("Ames@post.example", "ames@post.example")
    line = AuditEvent.objects.get(action="customer.changed")
    assert line.before == {"email": "ann@inbox.example"}
    assert line.after == {"email": "Ames@post.example"}


def test_an_edit_that_changes_nothing_leaves_no_line(tenant):
    ann = intake.create(tenant, TILL, cleaned(tenant, **ANN))

    intake.edit(ann, TILL, cleaned(tenant, **ANN))

    assert not AuditEvent.objects.filter(action="customer.changed").exists()


def test_an_edit_leaves_consent_as_it_is(tenant):
    ann = intake.create(tenant, TILL, cleaned(tenant, **ANN))
    ledger.record(ann, TILL, granted=True, source="intake")

    ann = intake.edit(ann, TILL, cleaned(tenant, **ANN | {"email": "new@inbox.example"}))

    assert ann.marketing_consent
    assert ledger.history(ann)[0].address == "ann@inbox.example"


def test_two_customers_cannot_have_one_number_of_the_till(tenant, other_tenant):
    intake.create(tenant, TILL, cleaned(tenant, **ANN, external_id="J-1"))
    ben = customer(tenant, first_name="Ben")

    with pytest.raises(ValidationError, match="Another customer"):
        intake.create(tenant, TILL, cleaned(tenant, first_name="Cy", external_id="J-1"))
    with pytest.raises(ValidationError, match="Another customer"):
        intake.edit(ben, TILL, cleaned(tenant, first_name="Ben", external_id="J-1"))

    assert intake.create(other_tenant, TILL, cleaned(other_tenant, first_name="Cy", external_id="J-1"))
    assert tenant.customers.count() == 2
