"""Where the shop meets people: an intake (a piece left for work) and a walk-in sale at the till."""

from __future__ import annotations

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db import transaction

from nexpura.customers.models import Customer, Visit
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant, TenantUser

LONGEST_DESCRIPTION = 500
HIGHEST_AMOUNT = Decimal("9999999999.99")


def intake(tenant: Tenant, actor: Actor, user: TenantUser | None, customer: Customer, description: str) -> Visit:
    """Write down that a customer left something with the shop. Raises `ValidationError` by field."""
    visit = Visit(
        tenant=tenant,
        kind=Visit.Kind.INTAKE,
        customer=customer,
        description=_described(description),
        user=user,
    )
    return _keep(visit, actor)


def sale(
    tenant: Tenant,
    actor: Actor,
    user: TenantUser | None,
    *,
    description: str,
    amount: Decimal,
    customer: Customer | None = None,
) -> Visit:
    """Write down a sale at the till, to a known customer or to nobody in particular."""
    visit = Visit(
        tenant=tenant,
        kind=Visit.Kind.SALE,
        customer=customer,
        description=_described(description),
        amount=_priced(amount),
        user=user,
    )
    return _keep(visit, actor)


def _described(description: str) -> str:
    text = " ".join(description.replace("\0", " ").split())
    if not text:
        raise ValidationError({"description": ["Say in a few words what it was."]})
    if len(text) > LONGEST_DESCRIPTION:
        raise ValidationError({"description": [f"This is longer than {LONGEST_DESCRIPTION} characters."]})
    return text


def _priced(amount: Decimal) -> Decimal:
    if not amount.is_finite() or not 0 <= amount <= HIGHEST_AMOUNT:
        raise ValidationError({"amount": ["Write an amount such as 129.00."]})
    if amount != amount.quantize(Decimal("0.01")):
        raise ValidationError({"amount": ["An amount has two places after the point at most."]})
    return amount.quantize(Decimal("0.01"))


@transaction.atomic
def _keep(visit: Visit, actor: Actor) -> Visit:
    visit.save(force_insert=True)
    audit.record(
        visit.tenant,
        actor,
        f"visit.{visit.kind}",
        visit,
        after={
            "customer_id": visit.customer_id,
            "description": visit.description,
            "amount": str(visit.amount) if visit.amount is not None else None,
        },
    )
    return visit
