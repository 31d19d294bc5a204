"""Pages of a shop with a large book, beside other shops: milliseconds in the server, median and 95th percentile.

    PYTHONPATH=. .venv/bin/python benchmarks/pages.py [--customers 1000000] [--times 200] [--only search]

Pages are asked for as a browser asks, through the whole application: another customer, name, number or page each time.
The book has been synced: a member, a standing and a result for everybody who consents. "Everything marked" is the same
just after the shop connected once more, when the next sync will look at every address.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexpura.tenants.models import Tenant

OTHERS, OF_EACH = 20, 10_000
FIRST = "(ARRAY['Ann','Ben','Cy','Di','Eve','Flo','Gus','Hal','Ida','José','Kay','Léa','Mia','Noah','Ole','Pia','Zoë'])"
SYLLABLES = "(ARRAY['ma','ri','ko','ne','bel','tor','san','lu','vi','gra','hol','den','per','fin','wes','ja'])"


def main() -> None:
    from nexpura.runtime import postgres

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--only", default="", help="only what has this in its name")
    options = parser.parse_args()
    with postgres.temporary() as cluster:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "nexpura.settings",
            "NEXPURA_DATABASE_URL": cluster.app_url,
            "NEXPURA_MIGRATE_DATABASE_URL": cluster.owner_url,
            "NEXPURA_SECRET_KEY": "benchmark",
            "NEXPURA_ENCRYPTION_KEYS": "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=",
        }
        import django

        django.setup()
        prepare(options.customers)
        ask(options.customers, options.times, options.only)


def prepare(customers: int) -> None:
    """Fill the database and let it tidy up."""
    from django.core.management import call_command
    from django.db import connection

    from nexpura.tenants.management.commands.migrate import as_owner
    from nexpura.tenants.models import Tenant

    call_command("migrate", verbosity=0)
    began = time.monotonic()
    for number in range(OTHERS):
        fill(Tenant.objects.create(slug=f"other-{number}", name="Other").pk, OF_EACH)
    fill(Tenant.objects.create(slug="bench", name="Bench").pk, customers)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    print(f"{platform.machine()}, {os.cpu_count()} cores: {customers:,} customers beside {OTHERS} x {OF_EACH:,}")
    print(f"filled in {time.monotonic() - began:.0f} s")


def ask(customers: int, times: int, only: str) -> None:
    """Ask for the pages, and print how long they took."""
    from django.db import connection
    from django.test import Client

    from nexpura.tenants.management.commands.migrate import as_owner
    from nexpura.tenants.models import Tenant, TenantUser

    tenant = Tenant.objects.get(slug="bench")
    alice, _ = TenantUser.objects.get_or_create(tenant=tenant, email="alice@bench.example", role="owner")
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")

    def page(path: str) -> None:
        response = browser.get(path)
        if response.status_code != 200:
            raise SystemExit(f"{path}: {response.status_code}")

    asked = paths(tenant, customers)
    for what, path in asked.items():
        if only in what:
            told(what, times, path, page)
    with connection.cursor() as cursor:
        cursor.execute(MARK_ALL, [tenant.pk])
    for what in ("integrations", "customer", "customers, any page"):
        if only in what:
            told(f"everything marked: {what}", times, asked[what], page)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE sync_dirtyaddress")
    if only in "integrations":
        told("everything marked, known: integrations", times, asked["integrations"], page)
    connection.close()


def paths(tenant: Tenant, customers: int) -> dict[str, Callable[[], str]]:
    """Return what is asked for, by name, each with a way to another of its paths."""
    from nexpura.customers.models import Customer, SharedAddress

    runs = [*tenant.sync_runs.order_by("-id").values_list("pk", flat=True)]
    chance = random.Random(1)
    first, last = (
        Customer.objects.filter(tenant=tenant).order_by(by).values_list("pk", flat=True)[0] for by in ("id", "-id")
    )
    results = [*tenant.member_results.order_by("id").values_list("pk", flat=True)[::997]]
    shared = [*SharedAddress.objects.filter(tenant=tenant).values_list("pk", flat=True)]
    syllables = SYLLABLES[7:-2].replace("'", "").split(",")

    def somebody() -> int:
        return chance.randint(first, last)

    def word(count: int) -> str:
        return "".join(chance.choice(syllables) for _ in range(count))

    return {
        "customers, first page": lambda: "/customers",
        "customers, any page": lambda: f"/customers?after={somebody()}",
        "search: one letter": lambda: f"/customers?q={chance.choice('abcdefghijklmnopqrstuvwxyz')}",
        "search: three letters": lambda: f"/customers?q={word(2)[:3]}",
        "search: a last name": lambda: f"/customers?q={word(3)}",
        "search: a first name": lambda: f"/customers?q={chance.choice(['ann', 'zoe', 'jose', 'pia', 'noah'])}",
        "search: a first name, any page": lambda: f"/customers?q={chance.choice(['ann', 'zoe'])}&after={somebody()}",
        "search: first and last name": lambda: f"/customers?q={chance.choice(['ann', 'zoe'])}+{word(2)}",
        "search: nobody": lambda: f"/customers?q=qqq{chance.randint(0, 9999)}",
        "search: an address": lambda: f"/customers?q=c{chance.randint(1, customers)}%40inbox.example",
        "search: beginning of an address": lambda: f"/customers?q=c{chance.randint(1, 99)}",
        "search: a phone number": lambda: f"/customers?q=04{chance.randint(10_000_000, 10_999_999)}",
        "search: beginning of a phone number": lambda: f"/customers?q=041{chance.randint(0, 99):02}",
        "search: any beginning of one": lambda: "/customers?q=04",
        "customer": lambda: f"/customers/{somebody()}",
        "customer, to edit": lambda: f"/customers/{somebody()}/edit",
        "integrations": lambda: "/integrations",
        "syncs": lambda: "/integrations/mailchimp/runs",
        "syncs, any page": lambda: f"/integrations/mailchimp/runs?before={chance.choice(runs)}",
        "newest sync": lambda: f"/integrations/mailchimp/runs/{runs[0]}",
        "first sync": lambda: f"/integrations/mailchimp/runs/{runs[-1]}",
        "first sync, any page": lambda: f"/integrations/mailchimp/runs/{runs[-1]}?after={chance.choice(results)}",
        "shared addresses": lambda: "/customers/shared",
        "shared addresses, any page": lambda: f"/customers/shared?before={chance.choice(shared)}",
    }


def fill(tenant_id: int, customers: int) -> None:
    """Write a book that has been synced, and the history of its syncs."""
    from django.db import connection

    with connection.cursor() as cursor:
        for statement in BOOK:
            cursor.execute(statement, {"tenant": tenant_id, "customers": customers, "shared": customers // 50})


BOOK = (
    f"""
    INSERT INTO customers_customer (tenant_id, external_id, first_name, last_name, email, phone, tags, note,
                                    consent_state, updated_at)
    SELECT %(tenant)s, 'J-' || n, {FIRST}[1 + n * 31 %% 17],
           initcap({SYLLABLES}[1 + n %% 16] || {SYLLABLES}[1 + n / 16 %% 16] || {SYLLABLES}[1 + n / 256 %% 16]
                   || CASE WHEN n %% 3 = 0 THEN {SYLLABLES}[1 + n / 4096 %% 16] ELSE '' END),
           'c' || CASE WHEN n <= %(shared)s THEN n + %(customers)s / 2 ELSE n END || '@inbox.example',
           '+614' || 10000000 + n, '{{}}', '', CASE mod(n, 10) WHEN 0 THEN 'withdrawn' WHEN 1 THEN 'never'
                                            ELSE 'granted' END, now()
    FROM (SELECT ((n::bigint * 7919) %% %(customers)s) + 1 AS n FROM generate_series(1, %(customers)s) AS n) AS mixed
    """,
    """
    INSERT INTO customers_consentevent (tenant_id, customer_id, state, claimed_at, source, wording_text, address,
                                        actor_kind, actor_name)
    SELECT tenant_id, id, consent_state, now() - interval '30 days', 'intake', '', address, 'system', 'benchmark'
    FROM customers_customer WHERE tenant_id = %(tenant)s AND consent_state <> 'never'
    """,
    """
    INSERT INTO integrations_integration (tenant_id, kind, status, config, connected_at)
    VALUES (%(tenant)s, 'mailchimp', 'connected', '{"audience_id": "abc", "audience_name": "Bench", "auto_sync": true,
            "data_centre": "us14", "key_last4": "cdef", "login_id": "1"}', now())
    """,
    """
    INSERT INTO sync_knownaudience (tenant_id, data_centre, audience_id, name, double_optin, merge_fields, subscribed,
                                    full_read_at, listing_complete, decided_under)
    VALUES (%(tenant)s, 'us14', 'abc', 'Bench', false, '[]', 0, now(), true, '')
    """,
    """
    INSERT INTO sync_syncrun (tenant_id, audience_id, trigger, actor_name, status, phase, past_brake, faulty, token,
                              started_at, finished_at, attempts, requests, planned, done, synced, book, counts)
    SELECT %(tenant)s, a.id, 'schedule', '', 'partial', '', false, false, gen_random_uuid(), now(), now(), 1, 9, 9, 9,
           9, %(customers)s, '{"agreement": 9, "failed": 1}'
    FROM sync_knownaudience AS a, generate_series(1, 400) WHERE a.tenant_id = %(tenant)s
    """,
    """
    INSERT INTO sync_knownmember (tenant_id, audience_id, address, status, merge_fields, rewritten, contact_id, tags,
                                  our_tags, added_by_us, made_for, renamed_to, move_refused)
    SELECT c.tenant_id, a.id, c.address, CASE min(c.consent_state) WHEN 'granted' THEN 'subscribed'
           ELSE 'unsubscribed' END, '{"FNAME": "Ann"}', '{}', md5(c.address), '[]', '[]', true, min(c.id),
           CASE WHEN mod(min(c.id), 5000) = 0 THEN 'new' || min(c.id) || '@inbox.example' ELSE '' END, false
    FROM customers_customer AS c JOIN sync_knownaudience AS a ON a.tenant_id = c.tenant_id
    WHERE c.tenant_id = %(tenant)s AND c.consent_state <> 'never' GROUP BY c.tenant_id, a.id, c.address
    """,
    """
    INSERT INTO sync_addressstanding (tenant_id, address, bucket, reason, detail, customers)
    SELECT tenant_id, address, CASE WHEN mod(min(id), 100) = 0 THEN 'failed' WHEN min(consent_state) = 'granted'
           THEN 'agreement' ELSE 'withheld' END, CASE WHEN mod(min(id), 100) = 0 THEN 'bad_address' WHEN
           min(consent_state) = 'granted' THEN '' ELSE 'withdrawn' END, '', count(*)
    FROM customers_customer WHERE tenant_id = %(tenant)s GROUP BY tenant_id, address
    """,
    """
    INSERT INTO sync_memberresult (tenant_id, run_id, address, customer_ids, version, change, kind, state, bucket,
                                   standing_bucket, reason, detail)
    SELECT c.tenant_id, r.id, c.address, array_agg(c.id), 1, '{}', 'add', 'accepted', 'added', 'agreement', '', ''
    FROM customers_customer AS c, (SELECT min(id) AS id FROM sync_syncrun WHERE tenant_id = %(tenant)s) AS r
    WHERE c.tenant_id = %(tenant)s AND c.consent_state = 'granted' GROUP BY c.tenant_id, r.id, c.address
    """,
    """
    DELETE FROM sync_dirtyaddress WHERE tenant_id = %(tenant)s
    """,
    """
    INSERT INTO sync_dirtyaddress (tenant_id, address, version)
    SELECT DISTINCT tenant_id, address, nextval('sync_mark_version') FROM customers_customer
    WHERE tenant_id = %(tenant)s AND mod(id, 1000) = 0 ON CONFLICT DO NOTHING
    """,
)
MARK_ALL = """
    INSERT INTO sync_dirtyaddress (tenant_id, address, version)
    SELECT DISTINCT tenant_id, address, nextval('sync_mark_version') FROM customers_customer
    WHERE tenant_id = %s ON CONFLICT DO NOTHING
"""


def told(what: str, times: int, path: Callable[[], str], page: Callable[[str], None]) -> None:
    page(path())
    took = []
    for _ in range(times):
        asked = path()
        began = time.perf_counter()
        page(asked)
        took.append((time.perf_counter() - began) * 1000)
    p95 = sorted(took)[int(len(took) * 0.95)]
    late = "" if p95 < 100 else "   over 100 ms"
    print(f"{what:<42} median {statistics.median(took):8.1f} ms   p95 {p95:8.1f} ms{late}", flush=True)


if __name__ == "__main__":
    main()
