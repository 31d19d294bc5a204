"""The state of a tenant's Mailchimp integration, as pages and commands show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.utils import timezone

from nexpura.audience.reasons import explanation
from nexpura.customers.models import Customer
from nexpura.integrations.models import MAILCHIMP, Integration
from nexpura.sync import erasures, listen, renames, runs, schedule
from nexpura.sync.hear import Outcome
from nexpura.sync.models import AddressStanding, Bucket, StandingCount, SyncRun, Webhook
from nexpura.sync.renames import Proposal
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
        unsent_opt_outs=unsent_opt_outs(tenant),
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
    )


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
    with connection.cursor() as cursor:
        cursor.execute(_UNSENT, {"tenant": tenant.pk})
        to_send, to_answer = cursor.fetchone() or (0, 0)
    return Unsent(int(to_send), int(to_answer))


_UNSENT = """
    WITH connected AS (
        SELECT a.tenant_id, a.id FROM sync_knownaudience AS a
        JOIN integrations_integration AS i ON i.tenant_id = a.tenant_id AND i.kind = 'mailchimp'
            AND i.config ->> 'audience_id' = a.audience_id AND i.config ->> 'data_centre' = a.data_centre
        WHERE a.tenant_id = %(tenant)s
    ), mailable AS (
        SELECT k.address, k.carried_out, k.id AS member, false AS renamed FROM connected AS a
        JOIN sync_dirtyaddress AS d ON d.tenant_id = a.tenant_id
        JOIN sync_knownmember AS k ON k.tenant_id = a.tenant_id AND k.audience_id = a.id AND k.address = d.address
            AND k.status IN ('subscribed', 'pending')
        UNION ALL
        SELECT k.address, k.carried_out, n.id, true FROM connected AS a
        JOIN sync_knownmember AS k ON k.tenant_id = a.tenant_id AND k.audience_id = a.id AND k.renamed_to <> ''
        JOIN sync_knownmember AS n ON n.tenant_id = a.tenant_id AND n.audience_id = a.id AND n.address = k.renamed_to
            AND n.status IN ('subscribed', 'pending')
    ), unsent AS (
        SELECT m.member, bool_and(m.renamed) AS waits FROM mailable AS m WHERE EXISTS (
            SELECT 1 FROM (
                SELECT e.id, e.effective_at FROM customers_consentevent AS e
                WHERE e.tenant_id = %(tenant)s AND e.address = m.address AND e.state = 'withdrawn'
                UNION ALL  -- said for an address they had before
                SELECT e.id, e.effective_at FROM customers_customer AS c
                JOIN customers_consentevent AS e ON e.tenant_id = c.tenant_id AND e.customer_id = c.id
                WHERE c.tenant_id = %(tenant)s AND c.address = m.address AND e.state = 'withdrawn'
            ) AS e
            WHERE e.id <> coalesce(m.carried_out, 0)
              AND NOT EXISTS (
                  SELECT 1 FROM customers_consentevent AS later
                  JOIN customers_customer AS c ON c.id = later.customer_id AND c.address = m.address
                  WHERE later.tenant_id = %(tenant)s AND later.state = 'granted'
                    AND later.effective_at > e.effective_at))
        GROUP BY m.member
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
