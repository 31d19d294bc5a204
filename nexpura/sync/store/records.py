"""Rows in, values out: how known members and changes are kept as JSON, and the fence around a run's writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from nexpura.audience.member import Cause, KnownMember, OptOutRecord, Refusal, Rewritten, Status
from nexpura.audience.plan import Add, Change, OptOut, Undo, Update
from nexpura.sync import models


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
    """Hold the run row until the transaction ends; raises `RunLostError` if the token is not ours any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM sync_syncrun "
            "WHERE tenant_id = %s AND id = %s AND token = %s AND status = 'running' FOR SHARE",
            [tenant_id, run_id, token],
        )
        if cursor.fetchone() is None:
            raise RunLostError(f"run {run_id}")


def known_from_row(row: models.KnownMember) -> KnownMember:
    """Return the rules' view of a stored member."""
    opt_out = row.opt_out and OptOutRecord(Cause(row.opt_out["cause"]), datetime.fromisoformat(row.opt_out["changed"]))
    refusal = row.refusal and Refusal(
        row.refusal["reason"],
        row.refusal["fingerprint"],
        _moment(row.refusal.get("retry_at")),
        row.refusal.get("detail", ""),
    )
    return KnownMember(
        status=Status(row.status),
        merge_fields={
            tag: str(value) for tag, value in row.merge_fields.items() if isinstance(value, str | int | float)
        },
        last_changed=row.last_changed,
        added_by_us=row.added_by_us,
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
        "added_by_us": known.added_by_us,
        "opt_out": known.opt_out and {"cause": known.opt_out.cause.value, "changed": known.opt_out.changed.isoformat()},
        "carried_out": known.carried_out,
        "rewritten": {tag: {"sent": pair.sent, "got": pair.got} for tag, pair in known.rewritten.items()},
        "refusal": known.refusal
        and {**asdict(known.refusal), "retry_at": known.refusal.retry_at and known.refusal.retry_at.isoformat()},
    }


KINDS: dict[str, type[Change]] = {"add": Add, "update": Update, "opt_out": OptOut, "undo": Undo}


def kind_of(change: Change) -> str:
    return next(kind for kind, cls in KINDS.items() if isinstance(change, cls))


def change_to_json(change: Change) -> dict[str, Any]:
    """Return the change as plain JSON values; `change_from_json` gives it back."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(change).items()}


def change_from_json(kind: str, stored: dict[str, Any]) -> Change:
    match kind:
        case "add":
            return Add(
                stored["email"],
                stored["merge_fields"],
                Status(stored["status_if_new"]),
                datetime.fromisoformat(stored["consent_at"]),
                stored["consent_ip"],
            )
        case "update":
            return Update(Status(stored["status"]), stored["before"], stored["merge_fields"], stored["desired"])
        case "opt_out":
            return OptOut(Cause(stored["cause"]), Status(stored["before"]), stored["withdrawal"])
        case _:
            return Undo(
                datetime.fromisoformat(stored["unchanged_since"]),
                stored["merge_fields"],
                datetime.fromisoformat(stored["consent_at"]),
                stored["consent_ip"],
            )


def columns(rows: Iterable[dict[str, Any]], *names: str) -> list[list[Any]]:
    """Return the rows as one list a column, for `unnest`."""
    listed = list(rows)
    return [[row[name] for row in listed] for name in names]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
