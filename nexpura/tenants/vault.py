"""Sealing of secrets: tink AES256-GCM, bound to tenant, row and field.

A sealed value moved to another tenant's row does not open there. Keys are those of
`NEXPURA_ENCRYPTION_KEYS`, newest first: the first seals, all of them open, so a key is rotated by putting a
new one in front.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

import tink
from django.conf import settings
from tink import aead, secret_key_access
from tink.proto import aes_gcm_pb2, tink_pb2

aead.register()


class CannotOpen(Exception):
    """The sealed value was made with other keys, or for another tenant, or is damaged."""


OTHER_KEYS = "It was sealed with another key than those of this installation."
FORMER_KEYS = "Whoever runs this installation puts its former NEXPURA_ENCRYPTION_KEYS back behind the new ones."
"""What people are told where something cannot be opened, and what mends it."""

TINKS_OWN = b"\x01"
"""The first byte of a value sealed by tink, before the four bytes that name the key."""


@lru_cache(maxsize=4)
def _aead(keys: tuple[str, ...]) -> aead.Aead:
    keyset = tink_pb2.Keyset()
    for key in keys:
        raw = base64.urlsafe_b64decode(key)
        key_id = _key_id(raw)
        keyset.key.append(
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url="type.googleapis.com/google.crypto.tink.AesGcmKey",
                    value=aes_gcm_pb2.AesGcmKey(key_value=raw).SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=key_id,
                output_prefix_type=tink_pb2.TINK,
            )
        )
    keyset.primary_key_id = keyset.key[0].key_id
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    primitive: aead.Aead = handle.primitive(aead.Aead)
    return primitive


def _key_id(raw: bytes) -> int:
    return int.from_bytes(hashlib.sha256(raw).digest()[:4], "big") | 1


def _bound_to(tenant_id: int, row_id: int, field: str) -> bytes:
    return f"{tenant_id}:{row_id}:{field}".encode()


def seal(secret: str, *, tenant_id: int, row_id: int, field: str) -> bytes:
    """Return `secret` sealed for this tenant, row and field only; `field` says of which table, too."""
    primitive = _aead(tuple(settings.NEXPURA_ENCRYPTION_KEYS))
    return bytes(primitive.encrypt(secret.encode(), _bound_to(tenant_id, row_id, field)))


def unseal(sealed: bytes, *, tenant_id: int, row_id: int, field: str) -> str:
    """Return the secret; raises `CannotOpen` (which names ids only)."""
    primitive = _aead(tuple(settings.NEXPURA_ENCRYPTION_KEYS))
    try:
        opened: bytes = primitive.decrypt(bytes(sealed), _bound_to(tenant_id, row_id, field))
    except tink.TinkError:
        raise CannotOpen(f"the sealed {field} of row {row_id} of tenant {tenant_id} cannot be opened") from None
    return opened.decode()


def of_today() -> bytes:
    """Return what every value begins with that is sealed by the newest key: others were sealed by an older one."""
    newest = base64.urlsafe_b64decode(settings.NEXPURA_ENCRYPTION_KEYS[0])
    return TINKS_OWN + _key_id(newest).to_bytes(4, "big")
