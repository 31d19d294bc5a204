"""Results written down: the member as now known, where it stands, the mark removed; one transaction a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from nexpura.audience.member import KnownMember, Status
from nexpura.audience.plan import Add, OptOut, Undo, Update
from nexpura.mailchimp.member import NEVER, Member
from nexpura.mailchimp.result import Accepted, Result
from nexpura.sync import facts, outcome
from nexpura.sync.models import MemberResult
from nexpura.sync.store import standings
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.records import RunLostError, Work, change_from_json, fence, known_to_columns


def settle(run: Begun, results: Sequence[tuple[Work, Result]], now: datetime) -> None:
    """Write down what became of each change. Raises `RunLostError`: a re-reading then finds what landed."""
    known = facts.known_members(run.tenant_id, run.audience_pk, [work.address for work, _ in results])
    _write(run, [(work, outcome.of(work.change, known[work.address], result, now)) for work, result in results])


def settle_touched(run: Begun, work: Work, member: Member) -> None:
    """Write down an undo that was not sent: somebody acted on the member since our opt-out."""
    known = facts.known_members(run.tenant_id, run.audience_pk, [work.address])[work.address]
    _write(run, [(work, outcome.touched(known, member))])


def _write(run: Begun, settled: Sequence[tuple[Work, outcome.Settled]]) -> None:
    if not settled:
        return
    with transaction.atomic():
        _count(run, len(settled))
        _results(run, settled)
        _known(run, settled)
        standings.put(run.tenant_id, [(work.address, work.customers, one.standing) for work, one in settled])
        standings.unmark(run.tenant_id, [(work.address, work.version) for work, one in settled if not one.again])


def settle_landed(run: Begun, now: datetime) -> None:
    """Settle what an interrupted attempt had sent, by what the audience turned out to hold.

    What did not land is forgotten here: its mark is still there, so it is decided anew.
    """
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        sending = MemberResult.objects.filter(tenant_id=run.tenant_id, state=MemberResult.State.SENDING)
        rows = list(sending.filter(run__audience_id=run.audience_pk))
        known = facts.known_members(run.tenant_id, run.audience_pk, [row.address for row in rows])
        landed: list[tuple[Work, outcome.Settled]] = []
        for row in rows:
            change = change_from_json(row.kind, row.change)
            member = known[row.address]
            if _has_landed(change, member):
                work = Work(row.pk, row.address, row.version, len(row.customer_ids), change)
                landed.append((work, outcome.of(change, member, Accepted(_as_member(row.address, member)), now)))
        sending.exclude(pk__in=[work.result_id for work, _ in landed]).delete()
    _write(run, landed)


def _has_landed(change: Add | Update | OptOut | Undo, member: KnownMember) -> bool:
    match change:
        case Add():
            return member.status is change.status_if_new and _holds(member, change.merge_fields)
        case Update():
            return member.status is change.status and _holds(member, change.merge_fields)
        case OptOut():
            return member.status is Status.UNSUBSCRIBED
        case Undo():
            return member.status is Status.SUBSCRIBED


def _holds(member: KnownMember, fields: object) -> bool:
    return isinstance(fields, dict) and all(member.merge_fields.get(tag) == value for tag, value in fields.items())


def _as_member(address: str, known: KnownMember) -> Member:
    return Member(
        id="",
        address=address,
        status=known.status.value,
        merge_fields=known.merge_fields,
        contact_id="",
        last_changed=known.last_changed or NEVER,
    )


def _count(run: Begun, settled: int) -> None:
    """Fence by the update itself: a shared lock raised to this later would meet another settler's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sync_syncrun SET done = done + %s "
            "WHERE tenant_id = %s AND id = %s AND token = %s AND status = 'running'",
            [settled, run.tenant_id, run.id, run.token],
        )
        if cursor.rowcount != 1:
            raise RunLostError(f"run {run.id}")


def _results(run: Begun, results: Sequence[tuple[Work, outcome.Settled]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_memberresult AS r
            SET state = s.state, bucket = s.bucket, standing_bucket = s.standing, reason = s.reason,
                detail = s.detail, settled_at = now()
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
                AS s (id, state, bucket, standing, reason, detail)
            WHERE r.tenant_id = %s AND r.id = s.id
            """,
            [
                [work.result_id for work, _ in results],
                [settled.state for _, settled in results],
                [settled.bucket.value for _, settled in results],
                [settled.standing.bucket.value for _, settled in results],
                [settled.standing.reason.value for _, settled in results],
                [settled.standing.detail for _, settled in results],
                run.tenant_id,
            ],
        )


def _known(run: Begun, results: Sequence[tuple[Work, outcome.Settled]]) -> None:
    rows = [(work.address, known_to_columns(settled.known)) for work, settled in results]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_knownmember
                (tenant_id, audience_id, address, status, merge_fields, last_changed, added_by_us, opt_out,
                 carried_out, rewritten, refusal, contact_id)
            SELECT %s, %s, s.*, '' FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::timestamptz[], %s::bool[],
                %s::jsonb[], %s::bigint[], %s::jsonb[], %s::jsonb[])
                AS s (address, status, merge_fields, last_changed, added_by_us, opt_out, carried_out,
                      rewritten, refusal)
            ORDER BY s.address
            ON CONFLICT (tenant_id, audience_id, address) DO UPDATE
                SET status = excluded.status, merge_fields = excluded.merge_fields,
                    last_changed = excluded.last_changed, added_by_us = excluded.added_by_us,
                    opt_out = excluded.opt_out, carried_out = excluded.carried_out,
                    rewritten = excluded.rewritten, refusal = excluded.refusal
            """,
            [
                run.tenant_id,
                run.audience_pk,
                [address for address, _ in rows],
                [row["status"] for _, row in rows],
                [Jsonb(row["merge_fields"]) for _, row in rows],
                [row["last_changed"] for _, row in rows],
                [row["added_by_us"] for _, row in rows],
                [row["opt_out"] and Jsonb(row["opt_out"]) for _, row in rows],
                [row["carried_out"] for _, row in rows],
                [Jsonb(row["rewritten"]) for _, row in rows],
                [row["refusal"] and Jsonb(row["refusal"]) for _, row in rows],
            ],
        )
