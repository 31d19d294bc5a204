"""The list of shared addresses and a merge in a large book: milliseconds at the median and the 95th percentile.

    .venv/bin/python benchmarks/shared_addresses.py [--customers 1000000] [--shared 20000] [--times 200]

Pages are asked for as a browser asks, through the whole application; "just imported" is before the database has
tidied up after the import, which is when somebody looks. For comparison: reading the index of the book instead.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

SCAN = (
    "SELECT address FROM customers_customer WHERE tenant_id = %s AND address > '' "
    "GROUP BY address HAVING count(*) > 1 ORDER BY address LIMIT 26"
)


def main() -> None:
    from nexpura.runtime import postgres

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--shared", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    with postgres.temporary() as cluster:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "nexpura.settings",
            "NEXPURA_DATABASE_URL": cluster.app_url,
            "NEXPURA_MIGRATE_DATABASE_URL": cluster.owner_url,
            "NEXPURA_SECRET_KEY": "benchmark",
            "NEXPURA_ENCRYPTION_KEYS": "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=",
        }
        measure(options.customers, options.shared, options.times)


def measure(customers: int, shared: int, times: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from nexpura.customers.models import Customer, SharedAddress
    from nexpura.sync import merge
    from nexpura.tenants.audit import Actor
    from nexpura.tenants.management.commands.migrate import as_owner
    from nexpura.tenants.models import Tenant, TenantUser

    call_command("migrate", verbosity=0)
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    fill(tenant.pk, customers, shared)
    listed = list(SharedAddress.objects.filter(tenant=tenant).values_list("pk", flat=True))
    if len(listed) != shared:
        raise SystemExit(f"{len(listed)} of {shared} shared addresses are listed")
    alice = TenantUser.objects.create_user(tenant=tenant, email="alice@bench.example", role="owner", password="x" * 12)
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    chance = random.Random(1)

    def page(path: str) -> None:
        response = browser.get(path)
        if response.status_code != 200:
            raise SystemExit(f"{path}: {response.status_code}")

    def scan() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SCAN, [tenant.pk])
            cursor.fetchall()

    def one_merge() -> None:
        address = SharedAddress.objects.filter(tenant=tenant, pk__gte=chance.choice(listed)).earliest("pk").address
        kept, other = (
            Customer.objects.filter(tenant=tenant, address=address).order_by("id").values_list("id", flat=True)
        )
        merge.merge(tenant, Actor.system("benchmark"), kept_id=kept, other_id=other)

    print(f"{platform.machine()}, {os.cpu_count()} cores: {customers:,} customers, {shared:,} shared addresses")
    for state in ("just imported", "tidied up"):
        if state == "tidied up":
            with as_owner(), connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
        told(f"{state}: first page of the list", times, lambda: page("/customers/shared"))
        told(f"{state}: any page of it", times, lambda: page(f"/customers/shared?before={chance.choice(listed)}"))
        told(f"{state}: the book, with the link to it", times, lambda: page("/customers"))
        told(f"{state}: instead, reading the index", 10, scan)
    told("a merge", times, one_merge)
    connection.close()


def fill(tenant_id: int, customers: int, shared: int) -> None:
    """Write the book in one statement: each of the first `shared` customers has the address of a later one."""
    from django.db import connection

    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO customers_customer (tenant_id, first_name, last_name, email, phone, tags, note, consent_state,
                                            updated_at)
            SELECT %s, 'First' || n, 'Last' || n, 'c' || CASE WHEN n <= %s THEN n + %s ELSE n END || '@inbox.example',
                   '+6129' || lpad(n::text, 7, '0'), '{}', '', 'never', now()
            FROM (SELECT ((n::bigint * 7919) %% %s) + 1 AS n FROM generate_series(1, %s) AS n) AS numbered
            """,
            [tenant_id, shared, customers // 2, customers, customers],
        )
        cursor.execute(
            "INSERT INTO customers_consentevent (tenant_id, customer_id, state, source, wording_text, address,"
            " actor_kind, actor_name) SELECT tenant_id, id, 'granted', 'intake', '', address, 'system', 'benchmark'"
            " FROM customers_customer WHERE mod(id, 5) < 3"
        )
    print(f"filled in {time.monotonic() - began:.0f} s")


def told(what: str, times: int, work: Callable[[], None]) -> None:
    work()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    p95 = sorted(took)[int(len(took) * 0.95)]
    print(f"{what:<45} median {statistics.median(took):8.1f} ms   p95 {p95:8.1f} ms")


if __name__ == "__main__":
    main()
