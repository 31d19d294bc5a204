"""Where the shop meets people."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from nexpura.customers import visits
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import customer

pytestmark = pytest.mark.django_db


def test_an_intake_is_kept_with_its_audit_line(tenant, bob):
    ann = customer(tenant, first_name="Ann")

    visit = visits.intake(tenant, Actor.user(bob), bob, ann, "  Ring,  resize to 6 ")

    assert (visit.customer, visit.user, visit.description) == (ann, bob, "Ring, resize to 6")
    assert AuditEvent.objects.get(action="visit.intake").after["customer_id"] == ann.pk


def test_a_walk_in_sale_needs_no_customer(tenant, bob):
    sale = visits.sale(tenant, Actor.user(bob), bob, description="Pearl studs", amount=Decimal("129"))

    sale.refresh_from_db()
    assert (sale.customer, sale.amount) == (None, Decimal("129.00"))
    assert AuditEvent.objects.get(action="visit.sale").after["amount"] == "129.00"


@pytest.mark.parametrize("amount", ["-1", "0.001", "NaN", "Infinity", "1e12"])
def test_an_amount_that_is_no_price_is_refused(tenant, bob, amount):
    with pytest.raises(ValidationError) as refused:
        visits.sale(tenant, Actor.user(bob), bob, description="Pearl studs", amount=Decimal(amount))

    assert list(refused.value.message_dict) == ["amount"]


@pytest.mark.parametrize("description", [" ", "x" * 501])
def test_a_visit_says_what_it_was_about(tenant, bob, description):
    with pytest.raises(ValidationError) as refused:
        visits.sale(tenant, Actor.user(bob), bob, description=description, amount=Decimal(1))

    assert list(refused.value.message_dict) == ["description"]


def test_another_shops_customer_cannot_be_named(tenant, bob, other_tenant):
    stranger = customer(other_tenant, first_name="Ann")

    with pytest.raises(IntegrityError), transaction.atomic():
        visits.intake(tenant, Actor.user(bob), bob, stranger, "Ring")
        connection.check_constraints()
