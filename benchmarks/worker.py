"""Carry out one run, as a worker would, and print what it took: `python -m benchmarks.worker RUN`."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time


def main() -> None:
    import django

    django.setup()
    from nexpura.sync.clock import Clock
    from nexpura.sync.management.commands.worker import prepare_python
    from nexpura.sync.run import run_sync

    prepare_python()
    run_id = int(sys.argv[1])
    cpu, began = time.process_time(), time.monotonic()
    asyncio.run(run_sync(run_id, clock=Clock()))
    told = {
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
