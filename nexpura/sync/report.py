"""Runs and panels as the plain values that `--json` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.utils import timezone

from nexpura.sync import drift, panel
from nexpura.sync.models import MemberResult, SyncRun
from nexpura.sync.panel import Inbound, Panel, Unsent


def of_run(run: SyncRun) -> dict[str, Any]:
    """Return a run with the keys scripts rely on; buckets count customers, `synced` counts addresses."""
    counts = run.counts or {}
    end = run.finished_at or timezone.now()
    return {
        "run_id": run.pk,
        "trigger": run.trigger,
        "status": run.status,
        "faulty": run.faulty,
        "synced": run.synced,
        "added": counts.get("added", 0),
        "updated": counts.get("updated", 0),
        "unsubscribed": counts.get("unsubscribed", 0),
        "unchanged": counts.get("agreement", 0),
        "pending": counts.get("asked", 0),
        "kept": counts.get("kept", 0),
        "withheld": counts.get("withheld", 0),
        "waiting": counts.get("waiting", 0),
        "failed": counts.get("failed", 0),
        "failures": [asdict(failure) for failure in panel.failures(run.tenant)] if not run.is_active else [],
        "book": run.book,
        "writes": run.results.filter(state=MemberResult.State.ACCEPTED).count(),
        "requests": run.requests,
        "seconds": round((end - (run.started_at or run.queued_at)).total_seconds(), 3),
        "error": run.error,
        "full": run.full,
        "drift": run.drift,
    }


def of_panel(state: Panel) -> dict[str, Any]:
    """Return what `nexpura status --json` prints; never the key but for its last four characters."""
    integration = state.integration
    config = integration.config if integration else {}
    return {
        "status": state.status or "never connected",
        "audience": config.get("audience_id"),
        "audience_name": config.get("audience_name"),
        "data_centre": config.get("data_centre"),
        "key_last4": config.get("key_last4"),
        "auto_sync": config.get("auto_sync"),
        "last_sync_at": integration and integration.last_sync_at,
        "last_checked_at": integration and integration.last_checked_at,
        "whole_audience_read_at": state.whole.read_at,
        "next_sync_at": integration and integration.next_sync_at,
        "unsent_opt_outs": state.unsent_opt_outs.count,
        "opt_outs_awaiting_an_answer": state.unsent_opt_outs.to_answer,
        "renamed_in_mailchimp": state.renamed_count,
        "open_erasures": state.open_erasures,
        "worker_seen": state.worker_seen,
        "overdue": state.overdue,
        "error": integration and integration.error,
        "inbound": {name: value for name, value in asdict(state.inbound).items() if name != "wanted"},
        "last_run": of_run(state.finished) if state.finished else None,
    }


def line(run: SyncRun) -> str:
    """Return the one line a person looks for."""
    if run.status in (SyncRun.Status.SUCCEEDED, SyncRun.Status.PARTIAL):
        failed = run.counts.get("failed", 0)
        partly = f"; {failed} could not be synced" if failed else ""
        return f"✓ Synced {run.synced} subscribers{partly}"
    error = run.error or {}
    return " ".join(part for part in (error.get("title", run.status), error.get("detail"), error.get("remedy")) if part)


def of_drift(run: SyncRun) -> list[str]:
    """Return what a whole reading of the audience found, line by line; nothing of a run that compared nothing."""
    if run.drift is None:
        return []
    members = drift.members(run.drift)
    compared = f"{members} member{'s were' if members > 1 else ' was'} otherwise than known here"
    head = f"Read everybody in the audience: {compared if members else 'as known here'}"
    return [head, *(f"  {line.members} {line.words}" for line in drift.lines(run.drift)), *drift.caveats(run.drift)]


def unsent(opt_outs: Unsent) -> str:
    """Return how many opt-outs Mailchimp has not been told, and what some of them wait for."""
    if not opt_outs.to_answer:
        return str(opt_outs.count)
    return (
        f"{opt_outs.count}, {opt_outs.to_answer} of them of people who changed their address in Mailchimp: answer on "
        "their pages which address holds"
    )


def hearing(inbound: Inbound) -> str:
    """Return how Mailchimp's changes are heard, as a sentence."""
    if inbound.listening:
        last = f", the last at {inbound.last_at:%Y-%m-%d %H:%M} UTC" if inbound.last_at else ""
        rejected = f"; {inbound.rejected_count} rejected" if inbound.rejected_count else ""
        return f"Mailchimp tells us at once: {inbound.accepted} messages{last}{rejected}"
    if inbound.problem:
        return f"Mailchimp is heard at each sync. {inbound.problem['title']}: {inbound.problem['remedy']}"
    return "Mailchimp is heard at each sync."
