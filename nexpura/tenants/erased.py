"""Who was erased, by keyed hashes only (B11): enough to know somebody again, not enough to find anybody.

    by_address, by_number, ...        what a person is recognised by, as one text each
    remember                          when they are erased
    among                             which of such texts belong to somebody who was erased, and since when

A hash is HMAC-SHA256 under a random key of the tenant's own, which lies in the tenant's row, sealed by the vault.
Whoever has the database alone can neither read nor try out addresses; no hash of one tenant says anything to another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import BinaryField
from django.db.models.functions import Substr

from nexpura.tenants import vault
from nexpura.tenants.models import ErasedIdentity, Tenant

FIELD = "erasure_key"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Erased:
    """When somebody was erased, and up to when no yes counts for their address (None: somebody else holds it)."""

    at: datetime
    no_before: datetime | None = None


def by_address(address: str) -> str:
    """Recognised by an address, as `audience.address_of` returns it."""
    return f"address\0{address}"


def by_number(external_id: str) -> str:
    """Recognised by the customer number of the till."""
    return f"number\0{external_id}"


def by_name(first_key: str, last_key: str, phone: str) -> str:
    """Recognised by folded names and phone: for people of whom there is neither address nor number."""
    return f"name\0{first_key}\0{last_key}\0{phone}"


def by_contact(contact_id: str) -> str:
    """Recognised by Mailchimp's id of a contact, which stays when the person changes their address there."""
    return f"contact\0{contact_id}"


def remember(tenant: Tenant, people: Mapping[str, datetime | None], now: datetime) -> None:
    """Remember what a person erased `now` was recognised by, each text with its `no_before`.

    For whoever holds the tenant's row: two that make the key at once would each forget what the other remembered.
    """
    key = _key(tenant.pk) or _made_now(tenant)
    earlier = among(tenant.pk, people)
    ErasedIdentity.objects.bulk_create(
        [
            ErasedIdentity(
                tenant=tenant,
                digest=_digest(key, text),
                erased_at=now,
                no_before=_later(no_before, earlier[text].no_before if text in earlier else None),
            )
            for text, no_before in people.items()
        ],
        update_conflicts=True,
        unique_fields=["tenant", "digest"],
        update_fields=["erased_at", "no_before"],
    )


def among(tenant_id: int, people: Iterable[str]) -> dict[str, Erased]:
    """Return those of the texts by which an erased person was recognised; two queries, however many texts.

    Raises `vault.CannotOpen` if the tenant's key was sealed with keys this installation no longer has: then nobody
    can tell, and whoever asks must not go on as if nobody had been erased.
    """
    key = _key(tenant_id)
    if key is None:
        return {}
    digests = {_digest(key, text): text for text in set(people)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT digest, erased_at, no_before FROM tenants_erasedidentity WHERE tenant_id = %s AND digest = ANY(%s)",
            [tenant_id, list(digests)],  # one parameter: two thousand take twice as long
        )
        return {digests[bytes(digest)]: Erased(at, no_before) for digest, at, no_before in cursor.fetchall()}


def hold_still(tenant_id: int, *, alone: bool = False) -> None:
    """Until the transaction ends, keep an erasure or a merge (`alone`) and whatever else writes members apart.

    PostgreSQL lets those who ask for it in by turns: whoever wants to be alone is let in as soon as those before are
    done, however many come after, while a row that is shared all the time would never be theirs.
    """
    function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    number = int.from_bytes(hashlib.sha256(f"erasure {tenant_id}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [number])


def seal_anew() -> int:
    """Seal the keys of tenants with today's sealing key where an older one did; returns how many.

    So that an old sealing key can be taken away some day: a key that cannot be opened is a shop that cannot import.
    """
    resealed = 0
    begins = Substr("erasure_key", 1, len(vault.of_today()), output_field=BinaryField())
    for tenant in Tenant.objects.exclude(erasure_key=None).alias(begins=begins).exclude(begins=vault.of_today()):
        old = bytes(tenant.erasure_key or b"")
        try:
            key = vault.unseal(old, tenant_id=tenant.pk, row_id=tenant.pk, field=FIELD)
        except vault.CannotOpen:
            continue  # told to whoever needs it
        new = vault.seal(key, tenant_id=tenant.pk, row_id=tenant.pk, field=FIELD)
        resealed += Tenant.objects.filter(pk=tenant.pk, erasure_key=old).update(erasure_key=new)
    return resealed


def _later(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment), default=None)


def _key(tenant_id: int) -> bytes | None:
    sealed = Tenant.objects.values_list("erasure_key", flat=True).get(pk=tenant_id)
    if sealed is None:
        return None
    return base64.b64decode(vault.unseal(bytes(sealed), tenant_id=tenant_id, row_id=tenant_id, field=FIELD))


def _made_now(tenant: Tenant) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    text = base64.b64encode(key).decode()
    tenant.erasure_key = vault.seal(text, tenant_id=tenant.pk, row_id=tenant.pk, field=FIELD)
    tenant.save(update_fields=["erasure_key"])
    return key


def _digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
