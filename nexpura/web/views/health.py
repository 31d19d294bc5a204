"""For machines that watch over the installation."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from nexpura.sync import runs


@login_not_required
def alive(request: HttpRequest) -> HttpResponse:
    """Answer at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 only when the database is there, in the shape of this version, and a worker shows signs of life."""
    found = _found()
    return JsonResponse(found, status=200 if all(found.values()) else 503)


def _found() -> dict[str, bool]:
    try:
        executor = MigrationExecutor(connection)
        migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        return {"database": True, "migrations": migrated, "worker": migrated and runs.worker_seen()}
    except Error:
        return {"database": False, "migrations": False, "worker": False}
