"""The identifiers Mailchimp gives to an address and to a contact."""

import hashlib

_SCRAMBLE = 0x9E3779B1  # odd, so multiplying modulo 2**32 can be undone
_UNSCRAMBLE = pow(_SCRAMBLE, -1, 2**32)


def subscriber_hash(address: str) -> str:
    """The member's id in paths: MD5 of the lower-cased address."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def unique_email_id(account_id: str, address: str) -> str:
    """Ten hex digits per account and address; they change when the address does."""
    return _digits(f"{account_id}:{address.lower()}", 10)


def campaign_id(list_id: str, moment: int) -> str:
    """Ten hex digits for the campaign that went out to this audience just then; there are no campaigns here."""
    return _digits(f"campaign:{list_id}:{moment}", 10)


def group_ids(list_id: str, group: str) -> tuple[str, str]:
    """The older number and the newer ten hex digits of a group of interests."""
    digits = _digits(f"group:{list_id}:{group}", 14)
    return str(int(digits[:4], 16) + 10_000), digits[4:]


def contact_id(list_id: str, web_id: int) -> str:
    """32 hex digits that outlive a change of address; the first eight carry the web id and save an index."""
    return f"{web_id * _SCRAMBLE % 2**32:08x}{_digits(f'{list_id}:{web_id}', 24)}"


def web_id_of(contact: str) -> int:
    """The web id inside a contact id; the caller checks that the rest of the contact id agrees."""
    return int(contact[:8], 16) * _UNSCRAMBLE % 2**32


def number(text: str) -> int:
    """Nine digits for a text, always the same."""
    return int(_digits(text, 16), 16) % 10**9


def _digits(text: str, count: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:count]
