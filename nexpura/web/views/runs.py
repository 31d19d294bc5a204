"""The history of syncs, and one sync with what became of every address it touched."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from nexpura.audience.reasons import explanation
from nexpura.sync import drift, panel, runs
from nexpura.sync.models import Bucket, MemberResult, SyncRun
from nexpura.tenants.roles import Right
from nexpura.web import access, paging

RESULTS_SHOWN = 50
FAILURES_SHOWN = 200


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Every sync, newest first."""
    tenant = access.tenant_for(request)
    page = paging.newest_first(tenant.sync_runs.all(), request.GET.get("before", ""))
    return render(request, "runs.html", {"page": page})


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One sync: progress while it goes on, buckets that add up to the book, and each address's result."""
    tenant = access.tenant_for(request)
    run = get_object_or_404(tenant.sync_runs, pk=pk)
    results = runs.results(run, after=request.GET.get("after", ""), size=RESULTS_SHOWN)
    context = {
        "run": run,
        "buckets": _buckets(run),
        "bucket_sum": sum(run.counts.values()),
        "results": results,
        "started": bool(request.GET.get("after")),
        "told": [_told(result) for result in results.rows],
        "failures": _failures(run),
        "drift": drift.lines(run.drift),
        "caveats": drift.caveats(run.drift),
        "still_there": _still_there(run),
        "may_manage": access.user_of(request).may(Right.MANAGE_INTEGRATION),
    }
    part = "#live" if request.headers.get("HX-Request") else ""
    return render(request, f"run.html{part}", context)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a sync to end; what it has done stays done."""
    tenant = access.tenant_for(request)
    access.require(request, Right.MANAGE_INTEGRATION)
    run = get_object_or_404(tenant.sync_runs, pk=pk)
    runs.cancel(run, access.actor_of(request))
    messages.success(request, "The sync ends at its next call. What it has done stays done.")
    return redirect("run", pk)


def _buckets(run: SyncRun) -> list[tuple[str, int]]:
    return [(bucket.label, run.counts.get(bucket.value, 0)) for bucket in Bucket]


def _failures(run: SyncRun) -> tuple[panel.Failure, ...]:
    """Who could not be synced, as it stands now: told on the newest sync only, as older ones speak of the past."""
    newest = run.tenant.sync_runs.order_by("-id").values_list("pk", flat=True).first()
    return panel.failures(run.tenant, FAILURES_SHOWN) if run.pk == newest and not run.is_active else ()


def _still_there(run: SyncRun) -> set[int]:
    """Return which of the customers that drift names are in the book: others were merged or erased since."""
    named = {number for line in drift.lines(run.drift) for number in line.customer_ids}
    return set(run.tenant.customers.filter(pk__in=named).values_list("pk", flat=True)) if named else set()


def _told(result: MemberResult) -> dict[str, object]:
    said = explanation(result.reason) if result.reason else None
    return {
        "result": result,
        "change": {"opt_out": "Unsubscribe", "undo": "Subscribe again"}.get(result.kind, result.kind.title()),
        "sentence": said.sentence if said else "",
        "remedy": said.remedy if said else "",
    }
