"""Our pages on a port of this machine, for Mailchimp to call; and the jobs that its calls leave behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.core.wsgi import get_wsgi_application
from django.db import connections
from procrastinate.contrib.django.models import ProcrastinateJob

from nexpura.sync import listen, look
from nexpura.sync.clock import Clock

PATIENCE = 30.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            connections.close_all()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def pages() -> Iterator[str]:
    """Serve the pages for the length of the block; the address they are at."""
    server = _Server(("127.0.0.1", 0), _Quiet)
    server.set_app(get_wsgi_application())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def work() -> list[str]:
    """Do the jobs that are queued, as a worker would, but for runs; returns their names in order."""
    done = []
    while job := ProcrastinateJob.objects.filter(task_name__in=("nexpura:look", "nexpura:listen")).first():
        ProcrastinateJob.objects.filter(pk=job.pk).delete()
        done.append(job.task_name.partition(":")[2])
        _do(job.task_name, **job.args)
    return done


def _do(task: str, integration_id: int) -> None:
    if task == "nexpura:look":
        asyncio.run(look.look(integration_id))
    else:
        asyncio.run(listen.listen(integration_id, clock=Clock()))


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
