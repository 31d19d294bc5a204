"""The unit of the sync: an address, trimmed and in ASCII lower case.

The same rule stands in SQL as `nexpura_address(text)`, of which `Customer.address` is generated; a test holds
the two together.
"""

from __future__ import annotations

TRIMMED = " \t\n\r\v\f\u00a0"


def address_of(email: str) -> str:
    """Return the address that an e-mail field of the book stands for; blank for a blank field.

    Only ASCII letters are lowered: what other letters lower to depends on who is asked.
    """
    return email.strip(TRIMMED).encode().lower().decode()
