"""Rows in, values out: how known members and changes are kept as JSON, and the fence around a run's writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from nexpura.audience.member import Cause, KnownMember, OptOutRecord, Refusal, Rewritten, Status
from nexpura.audience.plan import Add, Ask, Change, Move, OptOut, Retag, Undo, Update
from nexpura.mailchimp.member import SCALARS
from nexpura.tenants import erased


class RunLostError(Exception):
    """This run is no longer ours to write: taken over, cancelled, disconnected or ended."""


@dataclass(frozen=True, slots=True)
class Work:
    """One change that may be sent now."""

    result_id: int
    address: str
    version: int
    customers: int
    change: Change


def fence(tenant_id: int, run_id: int, token: UUID) -> None:
    """Hold the run until the transaction ends; raises `RunLostError` if the token is not ours any more.

    Whoever takes a run away locks its row for update and waits for this; an erasure or a merge, which needs it to stand
    still, has its turn before the next. Signs of life and progress are written beside it, however long this takes.
    """
    erased.hold_still(tenant_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM sync_syncrun "
            "WHERE tenant_id = %s AND id = %s AND token = %s AND status = 'running' FOR KEY SHARE",
            [tenant_id, run_id, token],
        )
        if cursor.fetchone() is None:
            raise RunLostError(f"run {run_id}")


COLUMNS = tuple(column.name for column in fields(KnownMember))
"""The columns of a stored member that the rules know, named alike in both."""


def known_from_row(row: Any) -> KnownMember:
    """Return the rules' view of a stored member: a `models.KnownMember`, or a named row of its columns."""
    opt_out = row.opt_out and OptOutRecord(
        Cause(row.opt_out["cause"]),
        datetime.fromisoformat(row.opt_out["changed"]),
        row.opt_out.get("words", ""),
        Status(row.opt_out.get("before", "subscribed")),
    )
    refusal = row.refusal and Refusal(
        row.refusal["reason"],
        row.refusal["fingerprint"],
        _moment(row.refusal.get("retry_at")),
        row.refusal.get("detail", ""),
    )
    return KnownMember(
        status=Status(row.status),
        merge_fields={tag: str(value) for tag, value in row.merge_fields.items() if isinstance(value, SCALARS)},
        last_changed=row.last_changed,
        status_since=row.status_since,
        contact_id=row.contact_id,
        tags=tuple(row.tags),
        our_tags=tuple(row.our_tags),
        added_by_us=row.added_by_us,
        made_for=row.made_for,
        asked_for=row.asked_for,
        renamed_to=row.renamed_to,
        move_refused=row.move_refused,
        opt_out=opt_out or None,
        carried_out=row.carried_out,
        rewritten={tag: Rewritten(pair["sent"], pair["got"]) for tag, pair in row.rewritten.items()},
        refusal=refusal or None,
    )


def known_to_columns(known: KnownMember) -> dict[str, Any]:
    """Return the columns that hold `known`, JSON values as plain Python."""
    return {
        "status": known.status.value,
        "merge_fields": dict(known.merge_fields),
        "last_changed": known.last_changed,
        "status_since": known.status_since,
        "contact_id": known.contact_id,
        "tags": list(known.tags),
        "our_tags": list(known.our_tags),
        "added_by_us": known.added_by_us,
        "made_for": known.made_for,
        "asked_for": known.asked_for,
        "renamed_to": known.renamed_to,
        "move_refused": known.move_refused,
        "opt_out": known.opt_out
        and {
            "cause": known.opt_out.cause.value,
            "changed": known.opt_out.changed.isoformat(),
            "words": known.opt_out.words,
            "before": known.opt_out.before.value,
        },
        "carried_out": known.carried_out,
        "rewritten": {tag: {"sent": pair.sent, "got": pair.got} for tag, pair in known.rewritten.items()},
        "refusal": known.refusal
        and {**asdict(known.refusal), "retry_at": known.refusal.retry_at and known.refusal.retry_at.isoformat()},
    }


KINDS: dict[str, type[Change]] = {
    "add": Add,
    "update": Update,
    "opt_out": OptOut,
    "undo": Undo,
    "ask": Ask,
    "move": Move,
    "retag": Retag,
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "status": Status,
    "status_if_new": Status,
    "cause": Cause,
    "consent_at": datetime.fromisoformat,
    "unchanged_since": lambda text: datetime.fromisoformat(text) if text else None,
    "tags": tuple,
    "permissions": tuple,
    "add": tuple,
    "remove": tuple,
}
"""How values that JSON has no type for are read back, by the name of their field."""


def kind_of(change: Change) -> str:
    return next(kind for kind, cls in KINDS.items() if isinstance(change, cls))


def change_from_json(kind: str, stored: Mapping[str, Any]) -> Change:
    """Return the change that `as_json` wrote, field by field."""
    read = {name: _READERS[name](value) if name in _READERS else value for name, value in stored.items()}
    if kind in ("opt_out", "ask"):
        read["before"] = Status(read["before"])  # elsewhere it is the fields as they were
    return KINDS[kind](**read)


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as one JSON text for `jsonb_to_recordset`: one parameter, whatever the number of rows and columns.

    Their values may be changes, and moments.
    """
    return orjson.dumps(rows, default=dict).decode()


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
