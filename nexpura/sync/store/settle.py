"""Results written down: the member as now known, where it stands, the mark removed; one transaction a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from nexpura.audience.member import UNKNOWN, KnownMember, Status
from nexpura.audience.plan import Add, Ask, Bucket, Change, Move, OptOut, Retag, Undo, Update
from nexpura.mailchimp.member import NEVER, Member
from nexpura.mailchimp.pace import SERVER_LIMIT
from nexpura.mailchimp.result import Accepted, Result
from nexpura.sync import facts, outcome
from nexpura.sync.models import KnownAudience, MemberResult
from nexpura.sync.store import mirror, standings
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.records import Work, as_json, change_from_json, fence

MAKING = ("add", "move")
"""Changes after which there is a member where there was none."""
STILL_AT_IT = timedelta(seconds=SERVER_LIMIT)
"""How long Mailchimp may go on with a call whose worker died."""


def settle(run: Begun, results: Sequence[tuple[Work, Result]], now: datetime) -> None:
    """Write down what became of each change. Raises `RunLostError`: a re-reading then finds what landed."""
    known = _known_of(run, [(work.address, work.change) for work, _ in results])
    seen_until = _all_seen_until(run)
    settled = []
    for work, result in results:
        change, former = work.change, _former(work.change, known)
        one = outcome.of(change, known[work.address], result, now, former, all_seen_until=seen_until)
        settled.append((work, one))
    _write(run, settled)


def settle_touched(run: Begun, work: Work, member: Member) -> None:
    """Write down a change that was not sent: a last look showed the member otherwise than it was expected."""
    known = facts.known_members(run.tenant_id, run.audience_pk, [work.address])[work.address]
    _write(run, [(work, outcome.touched(work.change, known, member))])


def _write(run: Begun, settled: Sequence[tuple[Work, outcome.Settled]]) -> None:
    if not settled:
        return
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        settled = _not_erased(run, settled)
        _results(run, settled)
        _known(run, settled)
        told = [(work, one) for work, one in settled if _tells_standing(work.change, one)]
        standings.put(run.tenant_id, [(work.address, work.customers, one.standing) for work, one in told])
        standings.unmark(
            run.tenant_id, [(work.address, work.version) for work, one in settled if not one.again], run_id=run.id
        )
        standings.unmark(run.tenant_id, [mark for work, one in settled for mark in _vacated(work.change, one)])


def _not_erased(run: Begun, settled: Sequence[tuple[Work, outcome.Settled]]) -> Sequence[tuple[Work, outcome.Settled]]:
    """Leave out changes of people who were erased while they were on their way: their result is gone, like all else."""
    there = set(
        MemberResult.objects.filter(
            tenant_id=run.tenant_id, pk__any_of={work.result_id for work, _ in settled}
        ).values_list("pk", flat=True)
    )
    return [(work, one) for work, one in settled if work.result_id in there]


def _tells_standing(change: Change, settled: outcome.Settled) -> bool:
    """Where an address stands is said by what concerns its member; of tags only a refusal has a say."""
    return not isinstance(change, Retag) or settled.bucket is Bucket.FAILED


def _vacated(change: Change, settled: outcome.Settled) -> list[tuple[str, int]]:
    """Return the mark of the address a member has left by being moved: nothing is to do there any more."""
    left = isinstance(change, Move) and settled.former is not None and settled.former.status is Status.ABSENT
    return [(change.from_address, change.from_version)] if left and isinstance(change, Move) else []


def _known_of(run: Begun, changes: Iterable[tuple[str, Change]]) -> dict[str, KnownMember]:
    """Return the members at the addresses of these changes, and at those that moves start from."""
    addresses = {address for address, _ in changes}
    addresses |= {change.from_address for _, change in changes if isinstance(change, Move)}
    return facts.known_members(run.tenant_id, run.audience_pk, sorted(addresses))


def _all_seen_until(run: Begun) -> datetime | None:
    """Return up to when, by Mailchimp's clock, every member is known; None: the listing may have missed somebody."""
    read = KnownAudience.objects.filter(pk=run.audience_pk, listing_complete=True)
    return read.values_list("read_through", flat=True).first()


def _former(change: Change, known: Mapping[str, KnownMember]) -> KnownMember:
    return known[change.from_address] if isinstance(change, Move) else UNKNOWN


def settle_landed(run: Begun, now: datetime) -> None:
    """Settle what an interrupted attempt had sent, by what the audience turned out to hold.

    What did not land is forgotten here: its mark is still there, so it is decided anew. Only what makes a member is
    remembered for as long as Mailchimp may still be at it: until then nobody's absence is taken for granted.
    """
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        sending = MemberResult.objects.filter(tenant_id=run.tenant_id, state=MemberResult.State.SENDING)
        rows = list(sending.filter(run__audience_id=run.audience_pk))
        changes = [(row.address, change_from_json(row.kind, row.change)) for row in rows]
        known = _known_of(run, changes)
        landed: list[tuple[Work, outcome.Settled]] = []
        for row, (address, change) in zip(rows, changes, strict=True):
            member = known[address]
            if _has_landed(change, member):
                work = Work(row.pk, address, row.version, len(row.customer_ids), change)
                accepted = Accepted(None if isinstance(change, Retag) else _as_member(address, member))
                landed.append((work, outcome.of(change, member, accepted, now, _former(change, known))))
        lost = sending.exclude(pk__in=[work.result_id for work, _ in landed])
        coming = lost.filter(kind__in=MAKING, sent_at__gt=timezone.now() - STILL_AT_IT)
        coming.update(state=MemberResult.State.DEFERRED, bucket=Bucket.WAITING, standing_bucket=Bucket.WAITING)
        lost.delete()
    _write(run, landed)


def _has_landed(change: Change, member: KnownMember) -> bool:
    match change:
        case Add():
            return member.status is change.status_if_new and _holds(member, change.merge_fields)
        case Update():
            return member.status is change.status and _holds(member, change.merge_fields)
        case OptOut():
            return member.status is Status.UNSUBSCRIBED
        case Undo():
            return member.status is change.status
        case Ask():
            return member.status is Status.PENDING
        case Move():
            return member.status is Status.SUBSCRIBED and member.contact_id == change.contact_id != ""
        case Retag():
            return set(change.add) <= set(member.tags) and not set(change.remove) & set(member.tags)


def _holds(member: KnownMember, fields: object) -> bool:
    return isinstance(fields, dict) and all(member.merge_fields.get(tag) == value for tag, value in fields.items())


def _as_member(address: str, known: KnownMember) -> Member:
    return Member(
        id="",
        address=address,
        status=known.status.value,
        merge_fields=known.merge_fields,
        contact_id=known.contact_id,
        last_changed=known.last_changed or NEVER,
        tags=known.tags,
    )


def count_done(run: Begun, settled: int) -> None:
    """Show the progress."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sync_syncrun SET done = done + %s "
            "WHERE tenant_id = %s AND id = %s AND token = %s AND status = 'running'",
            [settled, run.tenant_id, run.id, run.token],
        )


def _results(run: Begun, results: Sequence[tuple[Work, outcome.Settled]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_memberresult AS r
            SET state = s.state, bucket = s.bucket, standing_bucket = s.standing, reason = s.reason,
                detail = s.detail, settled_at = now()
            FROM jsonb_to_recordset(%s::jsonb)
                AS s (id bigint, state text, bucket text, standing text, reason text, detail text)
            WHERE r.tenant_id = %s AND r.id = s.id
            """,
            [as_json([_row(work, settled) for work, settled in results]), run.tenant_id],
        )


def _row(work: Work, settled: outcome.Settled) -> dict[str, Any]:
    return {
        "id": work.result_id,
        "state": settled.state,
        "bucket": settled.bucket,
        "standing": settled.standing.bucket,
        "reason": settled.standing.reason,
        "detail": settled.standing.detail,
    }


def _known(run: Begun, results: Sequence[tuple[Work, outcome.Settled]]) -> None:
    """Write the members as now known; of two results about one address each leaves the other's columns alone."""
    whole = {work.address: settled.known for work, settled in results if not isinstance(work.change, Retag)}
    whole |= {
        work.change.from_address: settled.former
        for work, settled in results
        if isinstance(work.change, Move) and settled.former
    }
    tags = {work.address: settled.known for work, settled in results if isinstance(work.change, Retag)}
    for address in whole.keys() & tags.keys():
        whole[address] = replace(whole[address], tags=tags[address].tags, our_tags=tags[address].our_tags)
    mirror.put(run.tenant_id, run.audience_pk, whole | {a: tags[a] for a in tags.keys() - whole.keys()})
