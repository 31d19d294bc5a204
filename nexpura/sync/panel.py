"""The state of a tenant's Mailchimp integration, as pages and commands show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from nexpura.audience.reasons import explanation
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import counted, drift, erasures, listen, renames, runs, schedule
from nexpura.sync.hear import Outcome
from nexpura.sync.models import AddressStanding, Bucket, DirtyAddress, StandingCount, SyncRun, Webhook
from nexpura.sync.renames import Proposal
from nexpura.sync.store.connected import connected_audience
from nexpura.tenants.models import Tenant

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """One address that Mailchimp will not take, and the customers who hold it."""

    customer_ids: tuple[int, ...]
    email: str
    reason: str
    detail: str
    remedy: str
    code: str


@dataclass(frozen=True, slots=True)
class Counted:
    """How many customers stand under one reason, with what to say about it."""

    code: str
    sentence: str
    remedy: str
    customers: int


@dataclass(frozen=True, slots=True)
class Inbound:
    """How Mailchimp's changes are heard: at once too, if `listening`; at each sync in any case.

    `wanted` tells that this installation can be reached and Mailchimp is asked. `rejected` counts by outcome.
    """

    listening: bool
    wanted: bool
    problem: Mapping[str, str] | None
    accepted: int
    last_at: datetime | None
    rejected: Mapping[str, int]
    last_rejected_at: datetime | None

    @property
    def rejected_count(self) -> int:
        return sum(self.rejected.values())


@dataclass(frozen=True, slots=True)
class Unsent:
    """Opt-outs not yet in Mailchimp: `to_send` by the next sync, `to_answer` once the shop has answered.

    The latter are of people who changed it in Mailchimp and said no here: the new one is not ours to touch (A9).
    """

    to_send: int
    to_answer: int

    @property
    def count(self) -> int:
        return self.to_send + self.to_answer


@dataclass(frozen=True, slots=True)
class Whole:
    """When the whole audience was last read, and the newest run that compared it with what was known (None: none)."""

    read_at: datetime | None
    run: SyncRun | None

    @property
    def drifted(self) -> int:
        return drift.members(self.run.drift) if self.run else 0


@dataclass(frozen=True, slots=True)
class Panel:
    """Everything the Mailchimp panel shows. `run` is the newest; `finished` the newest that is over."""

    integration: Integration | None
    status: str
    run: SyncRun | None
    finished: SyncRun | None
    unsent_opt_outs: Unsent
    open_erasures: int
    """Erased customers of whom Mailchimp has not been told yet (B11)."""
    failures: tuple[Failure, ...]
    failure_count: int
    kept: tuple[Counted, ...]
    withheld: tuple[Counted, ...]
    waiting: tuple[Counted, ...]
    worker_seen: bool
    overdue: bool
    renamed: tuple[Proposal, ...]
    """Customers who changed their address in Mailchimp, as far as they are shown; `renamed_count`: all of them."""
    renamed_count: int
    inbound: Inbound
    whole: Whole

    @property
    def connected(self) -> bool:
        return self.integration is not None and self.integration.is_connected


def state(tenant: Tenant) -> Panel:
    """Return what the panel shows now; a handful of indexed queries, whatever the size of the book."""
    integration = Integration.objects.filter(tenant=tenant, kind=MAILCHIMP).first()
    counts = list(StandingCount.objects.filter(tenant=tenant, customers__gt=0).order_by("-customers"))
    return Panel(
        integration=integration,
        status=integration.status if integration else "",
        run=tenant.sync_runs.order_by("-id").first(),
        finished=tenant.sync_runs.exclude(status__in=SyncRun.ACTIVE).order_by("-id").first(),
        unsent_opt_outs=_unsent_lately(tenant),
        open_erasures=erasures.open_ones(tenant).count(),
        failures=failures(tenant, SHOWN),
        failure_count=sum(count.addresses for count in counts if count.bucket == Bucket.FAILED),
        kept=_counted(counts, Bucket.KEPT),
        withheld=_counted(counts, Bucket.WITHHELD),
        waiting=_counted(counts, Bucket.WAITING),
        worker_seen=runs.worker_seen(),
        overdue=integration is not None and _overdue(integration, timezone.now()),
        renamed=renames.proposals(tenant, SHOWN),
        renamed_count=renames.count(tenant),
        inbound=inbound(tenant),
        whole=_whole(tenant),
    )


def _whole(tenant: Tenant) -> Whole:
    audience = connected_audience(tenant)
    if audience is None or audience.full_read_at is None:
        return Whole(None, None)
    compared = tenant.sync_runs.filter(audience=audience, drift__isnull=False)
    return Whole(audience.full_read_at, compared.order_by("-id").first())


def consenting(tenant: Tenant) -> int:
    """Count the customers whose newest word is a yes: whom a first sync is about."""
    yes = tenant.customers.filter(marketing_consent=True)
    many = tenant.customers.order_by("id")[counted.MANY : counted.MANY + 1].exists()
    return counted.lately(tenant, "consenting", yes.count) if many else yes.count()


def inbound(tenant: Tenant) -> Inbound:
    """Return how Mailchimp's changes are heard, and what came to the webhook that listens now."""
    live = {row.state: row for row in tenant.webhooks.exclude(state=Webhook.State.ENDED)}
    listening, failed = live.get(Webhook.State.LISTENING), live.get(Webhook.State.FAILED)
    counts = {row.outcome: row for row in listening.counts.all()} if listening else {}
    accepted = counts.pop(Outcome.ACCEPTED, None)
    return Inbound(
        listening=listening is not None,
        wanted=bool(listen.public_url()),
        problem=failed.error if failed else None,
        accepted=accepted.count if accepted else 0,
        last_at=accepted.last_at if accepted else None,
        rejected={outcome: row.count for outcome, row in sorted(counts.items())},
        last_rejected_at=max((row.last_at for row in counts.values()), default=None),
    )


def failures(tenant: Tenant, limit: int | None = None) -> tuple[Failure, ...]:
    """Return the addresses that stand as failed, with the customers who hold them."""
    listed = AddressStanding.objects.filter(tenant=tenant, bucket=Bucket.FAILED).order_by("address")[:limit]
    rows = list(listed)
    holders: dict[str, list[Customer]] = {row.address: [] for row in rows}
    for customer in Customer.objects.filter(tenant=tenant, address__in=list(holders)).order_by("id"):
        holders[customer.address].append(customer)
    return tuple(
        Failure(
            customer_ids=tuple(customer.pk for customer in holders[row.address]),
            email=holders[row.address][0].email if holders[row.address] else row.address,
            reason=explanation(row.reason).sentence,
            detail=row.detail,
            remedy=explanation(row.reason).remedy,
            code=row.reason,
        )
        for row in rows
    )


def unsent_opt_outs(tenant: Tenant) -> Unsent:
    """Count the members still mailable in Mailchimp whose newest word is a no (B10).

    Those whose address is marked are unsubscribed by the next sync. Those whose person has another address in Mailchimp
    wait there, until the shop has answered what is to become of the change.
    """
    audience = connected_audience(tenant)
    if audience is None:
        return Unsent(0, 0)
    told = {"tenant": tenant.pk, "audience": audience.pk}
    marked = _marked(tenant)
    if marked is None:
        return _unsent(_UNSENT.format(marked=_ALL_MARKED), told)
    return _unsent(_UNSENT.format(marked="unnest(%(marked)s::text[]) AS d (address)"), told | {"marked": marked})


def _unsent_lately(tenant: Tenant) -> Unsent:
    """Return the same; where it takes a second, as most of the book is marked, as it was half a minute ago."""
    if _marked(tenant) is None:
        return counted.lately(tenant, "unsent", lambda: unsent_opt_outs(tenant))
    return unsent_opt_outs(tenant)


def _marked(tenant: Tenant) -> list[str] | None:
    """Return the addresses the next sync looks at; None: they are many."""
    marks = DirtyAddress.objects.filter(tenant=tenant).values_list("address", flat=True)
    marked = list(marks[: counted.MANY + 1])
    return marked if len(marked) <= counted.MANY else None


def _unsent(question: str, told: Mapping[str, Any]) -> Unsent:
    with connection.cursor() as cursor:
        cursor.execute(question, told)
        to_send, to_answer = cursor.fetchone() or (0, 0)
    return Unsent(int(to_send), int(to_answer))


_ALL_MARKED = "(SELECT address FROM sync_dirtyaddress WHERE tenant_id = %(tenant)s) AS d"
_UNSENT = """
    WITH withdrawn AS (  -- plain joins, so that the database may begin with whichever is fewest: marks, members or noes
        SELECT k.id AS member, false AS renamed, k.address, k.carried_out, e.id, e.effective_at
        FROM {marked}
        JOIN sync_knownmember AS k ON k.tenant_id = %(tenant)s AND k.audience_id = %(audience)s
            AND k.address = d.address AND k.status IN ('subscribed', 'pending')
        JOIN customers_consentevent AS e ON e.tenant_id = %(tenant)s AND e.address = k.address
        WHERE e.state = 'withdrawn'
        UNION ALL  -- said for an address they had before
        SELECT k.id, false, k.address, k.carried_out, e.id, e.effective_at
        FROM {marked}
        JOIN sync_knownmember AS k ON k.tenant_id = %(tenant)s AND k.audience_id = %(audience)s
            AND k.address = d.address AND k.status IN ('subscribed', 'pending')
        JOIN customers_customer AS c ON c.tenant_id = %(tenant)s AND c.address = k.address
        JOIN customers_consentevent AS e ON e.tenant_id = %(tenant)s AND e.customer_id = c.id
        WHERE e.state = 'withdrawn' AND e.address <> c.address
        UNION ALL
        SELECT n.id, true, k.address, k.carried_out, e.id, e.effective_at
        FROM sync_knownmember AS k
        JOIN sync_knownmember AS n ON n.tenant_id = %(tenant)s AND n.audience_id = %(audience)s
            AND n.address = k.renamed_to AND n.status IN ('subscribed', 'pending')
        CROSS JOIN LATERAL (
            SELECT id, effective_at FROM customers_consentevent
            WHERE tenant_id = %(tenant)s AND address = k.address AND state = 'withdrawn'
            UNION ALL
            SELECT o.id, o.effective_at FROM customers_customer AS c
            JOIN customers_consentevent AS o ON o.tenant_id = %(tenant)s AND o.customer_id = c.id
            WHERE c.tenant_id = %(tenant)s AND c.address = k.address AND o.state = 'withdrawn'
        ) AS e
        WHERE k.tenant_id = %(tenant)s AND k.audience_id = %(audience)s AND k.renamed_to <> ''
    ), unsent AS (
        SELECT w.member, bool_and(w.renamed) AS waits FROM withdrawn AS w
        WHERE w.id <> coalesce(w.carried_out, 0)
          AND NOT EXISTS (
              SELECT 1 FROM customers_customer AS c
              JOIN customers_consentevent AS later ON later.tenant_id = %(tenant)s AND later.customer_id = c.id
                  AND later.state = 'granted' AND later.effective_at > w.effective_at
              WHERE c.tenant_id = %(tenant)s AND c.address = w.address)
        GROUP BY w.member
    )
    SELECT count(*) FILTER (WHERE NOT waits), count(*) FILTER (WHERE waits) FROM unsent
"""


def _counted(counts: list[StandingCount], bucket: Bucket) -> tuple[Counted, ...]:
    return tuple(
        Counted(count.reason, explanation(count.reason).sentence, explanation(count.reason).remedy, count.customers)
        for count in counts
        if count.bucket == bucket
    )


def _overdue(integration: Integration, now: datetime) -> bool:
    if not (integration.is_connected and integration.config.get("auto_sync")):
        return False
    since = integration.last_success_at or integration.connected_at
    return since is not None and now - since > schedule.OVERDUE
