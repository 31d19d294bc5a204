"""What each role may do (the promise A17), in one table."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a user is to the tenant."""

    OWNER = "owner"
    MANAGER = "manager"
    STAFF = "staff"


class Right(StrEnum):
    """One thing a user may be allowed to do."""

    EDIT_CUSTOMERS = "edit customers and record consent"
    IMPORT_CUSTOMERS = "import and merge customers"
    MANAGE_INTEGRATION = "connect, sync and disconnect"
    EDIT_WORDING = "change the consent wording"
    SEE_AUDIT = "read the audit trail"
    MANAGE_USERS = "manage users"
    ERASE_CUSTOMERS = "erase customers"


_STAFF = frozenset({Right.EDIT_CUSTOMERS})
_MANAGER = _STAFF | {Right.IMPORT_CUSTOMERS, Right.MANAGE_INTEGRATION, Right.EDIT_WORDING, Right.SEE_AUDIT}
_OWNER = _MANAGER | {Right.MANAGE_USERS, Right.ERASE_CUSTOMERS}

RIGHTS: dict[Role, frozenset[Right]] = {Role.STAFF: _STAFF, Role.MANAGER: _MANAGER, Role.OWNER: _OWNER}


def may(role: str, right: Right) -> bool:
    """Tell whether somebody with `role` has `right`; an unknown role has none."""
    return role in set(Role) and right in RIGHTS[Role(role)]
