"""What goes with an erased customer, and what is forgotten of a member that somebody else's address keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import connection

from nexpura.audience import consent
from nexpura.audience.consent import Granted
from nexpura.customers.models import Customer, Visit
from nexpura.sync import facts
from nexpura.sync.models import AddressStanding, AddressToLookAt, DirtyAddress, KnownMember, MemberResult
from nexpura.sync.store import standings
from nexpura.sync.store.erase.whom import Person, results_of

NAMELESS = "(erased)"


def forget(person: Person) -> None:
    """Delete what names the person; what is others' too stays without them."""
    customer, own, shared = person.customer, sorted(person.own), sorted(person.shared)
    with connection.cursor() as cursor:
        cursor.execute("SELECT nexpura_erase_evidence(%s, %s)", [customer.tenant_id, customer.pk])
    visits = Visit.objects.filter(tenant_id=customer.tenant_id, customer_id=customer.pk)
    visits.filter(kind=Visit.Kind.INTAKE).delete()
    visits.update(customer=None, description=NAMELESS)  # a sale stays in the shop's sums
    results_of(customer, person.own).delete()
    members = KnownMember.objects.filter(tenant_id=customer.tenant_id)
    members.filter(address__in=own).delete()
    members.filter(made_for=customer.pk).update(made_for=None)
    members.filter(renamed_to__in=own).update(renamed_to="")
    Customer.objects.filter(tenant_id=customer.tenant_id, pk=customer.pk).delete()
    # What the deletion has just marked is among these; the address of somebody else is looked at again.
    DirtyAddress.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    AddressStanding.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    AddressToLookAt.objects.filter(tenant_id=customer.tenant_id, address__in=own).delete()
    forget_fields(customer.tenant_id, shared)


def forget_fields(tenant_id: int, shared: Sequence[str]) -> None:
    """Forget what members at addresses of somebody else are called; the next sync reads and writes it anew."""
    MemberResult.objects.filter(tenant_id=tenant_id, address__in=shared).delete()  # first, as a settling run does
    KnownMember.objects.filter(tenant_id=tenant_id, address__in=shared).update(
        merge_fields={}, rewritten={}, refusal=None
    )
    standings.mark_if_connected(tenant_id, shared)


def leave_to_the_merchant(tenant_id: int, shared: Iterable[str]) -> None:
    """Keep syncs from ending a member of ours that is to stay, at an address where nobody else consents."""
    held = facts.load(tenant_id, dict.fromkeys(shared, 0), absence_proven=True)
    nobodys = [one.address for one in held if not isinstance(consent.decide(one), Granted)]
    KnownMember.objects.filter(tenant_id=tenant_id, address__in=nobodys).update(added_by_us=False)
