"""A customer written down: what a form or a program says, checked, then kept with its audit line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, transaction

from nexpura.customers import former, normalise, returning
from nexpura.customers.models import Customer
from nexpura.tenants import audit
from nexpura.tenants.audit import Actor
from nexpura.tenants.models import Tenant

LONGEST = {"external_id": 100, "first_name": 200, "last_name": 200, "email": 320, "phone": 40}
LONGEST_TAG = 100


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The fields of a customer, checked and in the form the book keeps."""

    first_name: str
    last_name: str
    email: str
    phone: str
    tags: tuple[str, ...]
    external_id: str | None
    note: str

    def fields(self) -> dict[str, object]:
        """Return the values as the model's fields take them."""
        return asdict(self) | {"tags": list(self.tags)}


def validate(
    tenant: Tenant,
    *,
    first_name: str,
    last_name: str,
    email: str,
    phone: str,
    tags: str = "",
    external_id: str = "",
    note: str = "",
) -> Cleaned:
    """Check what was written down; every field may be blank so long as there is a name, an e-mail or a phone.

    Raises `ValidationError` with the messages of each field that needs another look.
    """
    cleaned = Cleaned(
        first_name=words(first_name),
        last_name=words(last_name),
        email=normalise.email_as_kept(email),
        phone=phone.strip(),
        tags=tags_of(tags),
        external_id=words(external_id) or None,
        note=note.strip(),
    )
    problems = _problems(cleaned)
    kept = normalise.phone_as_kept(cleaned.phone, tenant.country) if cleaned.phone else ""
    if kept is None:
        problems.setdefault("phone", []).append(normalise.phone_problem(tenant.country))
    if problems:
        raise ValidationError(problems)
    return Cleaned(**asdict(cleaned) | {"phone": kept})


def _problems(cleaned: Cleaned) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    if not (cleaned.first_name or cleaned.last_name or cleaned.email or cleaned.phone):
        problems["first_name"] = ["Write down a name, an e-mail address or a phone number."]
    for field, value in cleaned.fields().items():
        longest = LONGEST.get(field)
        if longest and isinstance(value, str) and len(value) > longest and field != "email":
            problems.setdefault(field, []).append(f"This is longer than {longest} characters.")
        if "\0" in str(value or ""):
            problems.setdefault(field, []).append("There is a character in it that cannot be kept; type it anew.")
    if any(len(tag) > LONGEST_TAG for tag in cleaned.tags):
        problems.setdefault("tags", []).append(f"A tag is longer than {LONGEST_TAG} characters.")
    wrong = normalise.email_problem(cleaned.email) if cleaned.email else None
    if wrong:
        problems.setdefault("email", []).append(wrong)
    return problems


def words(text: str) -> str:
    """Return `text` with single blanks between its words and none around."""
    return " ".join(text.split())


def tags_of(text: str) -> tuple[str, ...]:
    """Return the tags of a field that separates them by comma or semicolon, each once, in their order."""
    return unique(words(tag) for tag in re.split(r"[,;]", text))


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without blank ones and repetitions."""
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def create(tenant: Tenant, actor: Actor, cleaned: Cleaned, *, again: bool = False) -> Customer:
    """Keep a new customer, who has not been asked about marketing.

    Somebody who was erased is kept only if they are said to want it `again` (B11); consent given before stays gone.
    Raises `ValidationError` if they are not, or if another customer has the same external id, or had it before a merge.
    """
    customer = Customer(tenant=tenant, **cleaned.fields())
    told = _returning(tenant, returning.marks_of(customer), again=again)
    with transaction.atomic():
        _save(customer, adding=True)
        audit.record(tenant, actor, "customer.created", customer, after=customer.snapshot() | told)
    return customer


def _returning(tenant: Tenant, marks: Iterable[str], *, again: bool) -> dict[str, str]:
    """Return what the audit trail is told of somebody who was erased and wants to be in the book again."""
    at = returning.erased_at(tenant, marks)
    if at and not again:
        message = (
            f"Somebody with this e-mail address or customer number was erased on request on "
            f"{returning.on_day(at, tenant)}. Write them down again only if they are here and want it."
        )
        raise ValidationError({"again": [message]})
    return {"again_after_erasure_at": at.isoformat()} if at else {}


def edit(customer: Customer, actor: Actor, cleaned: Cleaned, *, again: bool = False) -> Customer:
    """Change a customer to what was written down; what has not changed leaves no audit line.

    Consent stays what it is: it belongs to the person, and the ledger tells which address it was given for. An address
    or number of somebody who was erased is taken on only `again`, as by `create`. Raises `ValidationError` if another
    customer has the same external id, or this one is not in the book any more.
    """
    return _change(customer, actor, "customer.changed", cleaned.fields(), again=again)


def take_over_email(customer: Customer, actor: Actor, email: str) -> Customer:
    """Give a customer the address that they gave themselves in Mailchimp; raises `ValidationError` as `edit` does."""
    email = normalise.email_as_kept(email)
    if wrong := normalise.email_problem(email):
        raise ValidationError({"email": [wrong]})
    return _change(customer, actor, "customer.address_taken_over", {"email": email})


def _change(
    customer: Customer, actor: Actor, action: str, fields: Mapping[str, object], *, again: bool = False
) -> Customer:
    with transaction.atomic():
        rows = Customer.objects.filter(tenant_id=customer.tenant_id, pk=customer.pk)
        kept = rows.select_for_update(no_key=True).first()
        if kept is None:
            raise ValidationError({NON_FIELD_ERRORS: [_why_gone(customer)]})
        before, known = kept.snapshot(), returning.marks_of(kept)
        for field, value in fields.items():
            setattr(kept, field, value)
        old, new = audit.changes(before, kept.snapshot())
        if new:
            told = _returning(kept.tenant, set(returning.marks_of(kept)) - set(known), again=again)
            _save(kept, adding=False)
            audit.record(kept.tenant, actor, action, kept, before=old, after=new | told)
        customer.refresh_from_db()
    return customer


def _why_gone(customer: Customer) -> str:
    """Say what became of a record that is not in the book any more."""
    into = former.find(customer.tenant, customer.pk)
    if into:
        return f"This record was merged into customer {into.pk} meanwhile; nothing was saved. Change them there."
    return "This customer was erased on request meanwhile; nothing was saved."


def _save(customer: Customer, *, adding: bool) -> None:
    _refuse_former_number(customer)
    try:
        with transaction.atomic():
            customer.save(force_insert=adding)
    except IntegrityError as error:
        if "customer_external_id_once" not in str(error):
            raise
        message = "Another customer has this number in your till or shop system."
        raise ValidationError({"external_id": [message]}) from None


def _refuse_former_number(customer: Customer) -> None:
    """A number that leads to somebody else since a merge is not given away."""
    if not customer.external_id:
        return
    owner = former.by_number(customer.tenant, [customer.external_id]).get(customer.external_id)
    if owner not in (None, customer.pk):
        raise ValidationError({"external_id": [f"Customer {owner} had this number before two records were merged."]})
