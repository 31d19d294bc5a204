"""The work list: marked addresses decided in chunks, changes written down, then cleared for sending."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from nexpura.audience import diff
from nexpura.audience.desired import Terms
from nexpura.audience.member import Status
from nexpura.audience.plan import Bucket, Move, NoChange, Plan
from nexpura.audience.reasons import Reason
from nexpura.customers.models import Customer
from nexpura.sync import deciding
from nexpura.sync.deciding import Decided
from nexpura.sync.models import DirtyAddress, KnownAudience, MemberResult, SyncRun
from nexpura.sync.store import renames, standings
from nexpura.sync.store.begin import Begun
from nexpura.sync.store.records import RunLostError, Work, as_json, change_from_json, fence, kind_of
from nexpura.sync.store.settle import MAKING, STILL_AT_IT

CHUNK = 500
ANYBODYS = ("opt_out", "undo", "ask")
"""Changes that the person may make too: whose one was is told by whether ours was sent, so that is noted by itself."""


def mark_due(run: Begun, terms: Terms, now: datetime) -> int:
    """Mark what is due for another try, and everything if it was last decided under other terms.

    Returns the horizon: marks up to this version belong to this run, later ones to the next.
    """
    under = fingerprint(run.audience_pk, terms)
    if not KnownAudience.objects.filter(pk=run.audience_pk, decided_under=under).exists():
        standings.mark_all(run.tenant_id, run.audience_pk, before_each=lambda: fence(run.tenant_id, run.id, run.token))
    with transaction.atomic(), connection.cursor() as cursor:
        fence(run.tenant_id, run.id, run.token)
        # Changes planned by an attempt that did not reach them are decided again, by newer knowledge.
        results = MemberResult.objects.filter(tenant_id=run.tenant_id, run_id=run.id)
        results.filter(state=MemberResult.State.PLANNED).delete()
        SyncRun.objects.filter(pk=run.id, token=run.token).update(done=results.count())
        renames.follow_the_book(run.tenant_id, run.audience_pk)
        KnownAudience.objects.filter(pk=run.audience_pk).exclude(decided_under=under).update(decided_under=under)
        standings.mark_retries(run.tenant_id, now)
        cursor.execute("SELECT nextval('sync_mark_version')")
        (horizon,) = cursor.fetchone() or (0,)
    return int(horizon)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was decided in one go: its last address, and how many changes of each kind were written down."""

    last: str
    planned: Mapping[str, int]


def decide_chunk(run: Begun, terms: Terms, now: datetime, horizon: int, after: str | None) -> Chunk | None:
    """Decide the next few hundred marked addresses after `after`; None at the end.

    Where nothing has to be sent, the address is settled at once; every change is written down as planned.
    """
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        listed = DirtyAddress.objects.filter(tenant_id=run.tenant_id, version__lte=horizon).order_by("address")
        if after is not None:
            listed = listed.filter(address__gt=after)
        marks = dict(listed.values_list("address", "version")[:CHUNK])
        if not marks:
            return None
        proven = KnownAudience.objects.values_list("listing_complete", flat=True).get(pk=run.audience_pk)
        decided = deciding.decide(run.tenant_id, run.audience_pk, marks, terms, now, absence_proven=proven)
        _settle_at_once(run, decided)
        planned = _write_down(run, decided)
        if "" in marks:
            _settle_blank(run, marks[""])
    return Chunk(max(marks), planned)


def plan_of(run: Begun) -> Plan:
    """Count what is planned and not sent yet, now that everything is decided."""
    with transaction.atomic(), connection.cursor() as cursor:
        fence(run.tenant_id, run.id, run.token)
        cursor.execute(
            "SELECT kind, count(*) FROM sync_memberresult WHERE tenant_id = %s AND run_id = %s AND state = 'planned' "
            "GROUP BY kind",
            [run.tenant_id, run.id],
        )
        kinds = dict(cursor.fetchall())
        subscribed = KnownAudience.objects.values_list("subscribed", flat=True).get(pk=run.audience_pk)
        plan = Plan(
            adds=kinds.get("add", 0),
            updates=kinds.get("update", 0),
            opt_outs=kinds.get("opt_out", 0),
            undos=kinds.get("undo", 0),
            asks=kinds.get("ask", 0),
            moves=kinds.get("move", 0),
            retags=kinds.get("retag", 0),
            subscribed=subscribed,
        )
        begun = MemberResult.objects.filter(tenant_id=run.tenant_id, run_id=run.id).exclude(state="planned").count()
        SyncRun.objects.filter(pk=run.id, token=run.token).update(phase="sending", planned=plan.total + begun)
    return plan


def cleared(run: Begun, kinds: Sequence[str], limit: int) -> list[Work]:
    """Ask the gate, the token and the lease once more, and hand out the next changes to be sent.

    A change whose address was marked again since it was decided (a withdrawal a second ago, say) is skipped
    and decided anew by the next run. Raises `RunLostError` when nothing may be sent any more.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        fence(run.tenant_id, run.id, run.token)
        cursor.execute(
            """
            SELECT 1 FROM sync_syncrun AS r
            JOIN integrations_integration AS i ON i.tenant_id = r.tenant_id AND i.kind = 'mailchimp'
            JOIN sync_loginlease AS l ON l.login_id = %s AND l.token = r.token AND l.expires_at > now()
            WHERE r.tenant_id = %s AND r.id = %s AND r.cancel_requested_at IS NULL AND i.status <> 'disconnected'
            """,
            [run.login_id, run.tenant_id, run.id],
        )
        if cursor.fetchone() is None:
            raise RunLostError(f"run {run.id}")
        while True:
            cursor.execute(
                """
                WITH next AS (
                    SELECT id FROM sync_memberresult
                    WHERE tenant_id = %s AND run_id = %s AND state = 'planned' AND kind = ANY(%s)
                    ORDER BY id LIMIT %s
                )
                UPDATE sync_memberresult AS r SET sent_at = CASE WHEN r.kind <> ALL(%s) THEN now() END,
                    state = CASE WHEN d.id IS NULL THEN 'skipped' ELSE 'sending' END,
                    reason = CASE WHEN d.id IS NULL THEN %s ELSE '' END
                FROM next JOIN sync_memberresult AS n ON n.id = next.id
                LEFT JOIN sync_dirtyaddress AS d
                    ON d.tenant_id = n.tenant_id AND d.address = n.address AND d.version = n.version
                    AND NOT (n.kind = 'retag' AND EXISTS (  -- tags wait for what is to make the member mailable
                        SELECT 1 FROM sync_memberresult AS o
                        WHERE o.tenant_id = n.tenant_id AND o.run_id = n.run_id AND o.address = n.address
                          AND o.kind IN ('undo', 'ask', 'move') AND o.state <> 'accepted'))
                WHERE r.id = next.id
                RETURNING r.id, r.address, r.version, cardinality(r.customer_ids), r.kind, r.change, r.state
                """,
                [run.tenant_id, run.id, list(kinds), limit, list(ANYBODYS), Reason.CHANGED_MEANWHILE],
            )
            rows = cursor.fetchall()
            ready = [
                Work(row[0], row[1], row[2], row[3], change_from_json(row[4], _plain(row[5])))
                for row in rows
                if row[6] == "sending"
            ]
            ready = _still_to_move(run, ready)
            if ready or not rows:
                return sorted(ready, key=lambda work: work.result_id)


def give_back(run: Begun, works: Iterable[Work]) -> None:
    """Return cleared changes that were not sent to the planned ones: they waited too long and are asked again."""
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        MemberResult.objects.filter(
            tenant_id=run.tenant_id, run_id=run.id, pk__any_of={work.result_id for work in works}, state="sending"
        ).update(state="planned", sent_at=None)


def hand_over(run: Begun, work: Work) -> bool:
    """Note that a change that is anybody's is sent now; False: it must not be, the run is lost or the person erased."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_memberresult AS r SET sent_at = now() FROM sync_syncrun AS u
            WHERE r.tenant_id = %s AND r.id = %s AND r.state = 'sending'
              AND u.tenant_id = r.tenant_id AND u.id = r.run_id AND u.token = %s AND u.status = 'running'
            """,
            [run.tenant_id, work.result_id, run.token],
        )
        return bool(cursor.rowcount == 1)


def forget_unsent(run: Begun) -> None:
    """Forget what an interrupted attempt had cleared and not sent: what came of it, people did themselves.

    Its mark is still there, so it is decided anew. Before the reading, which then hears whoever left.
    """
    with transaction.atomic():
        fence(run.tenant_id, run.id, run.token)
        cleared_only = MemberResult.objects.filter(tenant_id=run.tenant_id, run__audience_id=run.audience_pk)
        cleared_only.filter(kind__in=ANYBODYS, state=MemberResult.State.SENDING, sent_at=None).delete()


def _plain(stored: Any) -> dict[str, Any]:
    """Django leaves JSON of raw queries as text."""
    return dict(orjson.loads(stored)) if isinstance(stored, str) else dict(stored)


def _still_to_move(run: Begun, works: list[Work]) -> list[Work]:
    """Leave out moves whose old address was marked again since: somebody may consent there now."""
    moves = {work.result_id: work.change for work in works if isinstance(work.change, Move)}
    if not moves:
        return works
    addresses = [move.from_address for move in moves.values()]
    marked = DirtyAddress.objects.filter(tenant_id=run.tenant_id, address__in=addresses)
    versions = dict(marked.select_for_update().order_by("address").values_list("address", "version"))
    stale = [key for key, move in moves.items() if versions.get(move.from_address, 0) != move.from_version]
    MemberResult.objects.filter(tenant_id=run.tenant_id, pk__in=stale).update(
        state="skipped", reason=Reason.CHANGED_MEANWHILE
    )
    return [work for work in works if work.result_id not in stale]


def _settle_at_once(run: Begun, decided: Sequence[Decided]) -> None:
    """Settle the addresses whose member needs no change; where only tags do, the mark stays until they have it."""
    settled = _unless_on_their_way(run, [(one, one.decision) for one in decided if isinstance(one.decision, NoChange)])
    standings.put(run.tenant_id, [(one.facts.address, len(one.facts.customers), what) for one, what in settled])
    standings.carry_out(
        run.tenant_id,
        run.audience_pk,
        [(one.facts.address, what.carried_out) for one, what in settled if what.carried_out],
    )
    done = [one.facts for one, what in settled if one.retag is None and not what.undecided]
    standings.unmark(run.tenant_id, [(facts.address, facts.version) for facts in done])


def _unless_on_their_way(run: Begun, settled: list[tuple[Decided, NoChange]]) -> list[tuple[Decided, NoChange]]:
    """Take no withdrawal for carried out at an address where a call of a worker that died may still make a member."""
    absent = [
        one.facts.address for one, what in settled if what.carried_out and one.known.status is Status.ABSENT
    ]  # fmt: skip
    lately = timezone.now() - STILL_AT_IT
    sent = MemberResult.objects.filter(tenant_id=run.tenant_id, run__audience_id=run.audience_pk, state="deferred")
    sent = sent.filter(kind__in=MAKING, sent_at__gt=lately)
    coming = set(sent.filter(address__in=absent).values_list("address", flat=True)) if absent else set()
    return [
        (one, replace(what, carried_out=None, undecided=True) if one.facts.address in coming else what)
        for one, what in settled
    ]


def _settle_blank(run: Begun, version: int) -> None:
    """Customers without an e-mail stand together under the blank address."""
    count = Customer.objects.filter(tenant_id=run.tenant_id, address="").count()
    standings.put(run.tenant_id, [("", count, NoChange(Bucket.WITHHELD, Reason.NO_EMAIL))])
    standings.unmark(run.tenant_id, [("", version)])


def _write_down(run: Begun, decided: Sequence[Decided]) -> Mapping[str, int]:
    """Write the changes down as planned; returns how many there are of each kind."""
    rows = [
        {
            "address": one.facts.address,
            "customer_ids": f"{{{','.join(map(str, one.facts.customer_ids))}}}",
            "version": one.facts.version,
            "change": what,
            "kind": kind_of(what),
        }
        for one in decided
        for what in (one.decision, one.retag)
        if what is not None and not isinstance(what, NoChange)
    ]
    if not rows:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_memberresult
                (tenant_id, run_id, address, customer_ids, version, change, kind, state, bucket, standing_bucket,
                 reason, detail)
            SELECT %s, %s, s.address, s.customer_ids::bigint[], s.version, s.change, s.kind, 'planned', '', '', '', ''
            FROM jsonb_to_recordset(%s::jsonb)
                AS s (address text, customer_ids text, version bigint, change jsonb, kind text)
            ORDER BY s.address, s.kind
            ON CONFLICT (tenant_id, run_id, address, kind) DO UPDATE
                SET customer_ids = excluded.customer_ids, version = excluded.version, change = excluded.change,
                    state = 'planned', bucket = '', standing_bucket = '', reason = '',
                    detail = '', sent_at = NULL, settled_at = NULL
            """,
            [run.tenant_id, run.id, as_json(rows)],
        )
    return Counter(str(row["kind"]) for row in rows)


def fingerprint(audience_pk: int, terms: Terms) -> str:
    """Return a digest of what decisions rest on, besides the book and the members."""
    told = (
        f"{diff.RULES_VERSION}|{sorted(terms.merge_tags)}|{terms.double_optin}|{sorted(terms.mapping.items())}"
        f"|{sorted(terms.us_phones)}|{terms.permissions}|{terms.may_ask}|{audience_pk}"
    )
    return hashlib.sha256(told.encode()).hexdigest()
