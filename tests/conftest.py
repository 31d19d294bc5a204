"""The database of the tests, its cast, and a Mailchimp to talk to.

One embedded PostgreSQL serves a whole test process. Tests run as the run-time role, like the product. A test
marked `django_db` is rolled back; one that uses `committed` shares what it writes with other connections, threads
and processes, and is wiped by the owner afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("NEXPURA_ENCRYPTION_KEYS", "bmV4cHVyYS10ZXN0cy1uZXhwdXJhLXRlc3RzLTAwMDE=")
os.environ.setdefault("NEXPURA_SECRET_KEY", "only-for-tests")
os.environ.setdefault("NEXPURA_HEARTBEAT", "1")
os.environ.setdefault("NEXPURA_STALL", "6")

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from mailchimp_emulator.serve import Running, running
from nexpura.runtime import postgres
from nexpura.tenants.models import Tenant, TenantUser

PASSWORD = "a long enough password"


def pytest_configure() -> None:
    """Settings were read before this file: say again what they could not know."""
    settings.NEXPURA_ENCRYPTION_KEYS = [os.environ["NEXPURA_ENCRYPTION_KEYS"]]
    settings.SECRET_KEY = os.environ["NEXPURA_SECRET_KEY"]
    settings.NEXPURA_HEARTBEAT = float(os.environ["NEXPURA_HEARTBEAT"])
    settings.NEXPURA_STALL = float(os.environ["NEXPURA_STALL"])
    settings.NEXPURA_RETRY_WAIT = 0.02
    settings.NEXPURA_MAILCHIMP_TIMEOUT = 2.0
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.temporary() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_setup(cluster, django_db_blocker) -> Iterator[None]:
    """Make the database as its owner, then go on as the run-time role."""
    from nexpura import settings as ours

    urls = cluster.create_database("nexpura_test")
    for variable, url in (("NEXPURA_DATABASE_URL", urls.app_url), ("NEXPURA_MIGRATE_DATABASE_URL", urls.owner_url)):
        os.environ[variable] = url
    settings.OWNER_DATABASE = ours._database("NEXPURA_MIGRATE_DATABASE_URL")
    run_time = ours._run_time_database()
    settings.DATABASES["default"].update(run_time)
    connection.settings_dict.update(run_time)
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0, interactive=False)
        yield
        connection.close()


@pytest.fixture
def committed(django_db_setup, django_db_blocker) -> Iterator[None]:
    """A database whose commits are real."""
    from nexpura.sync.database import close_connections

    with django_db_blocker.unblock():
        yield
        close_connections()
        wipe()
        connection.close()


def wipe() -> None:
    from nexpura.tenants.management.commands.migrate import as_owner

    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' "
            "AND tablename NOT IN ('django_migrations', 'django_content_type')"
        )
        (tables,) = cursor.fetchone()
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


@pytest.fixture
def any_database(request) -> None:
    """Committed if the test asks for that, rolled back otherwise."""
    request.getfixturevalue("committed" if "committed" in request.fixturenames else "db")


@pytest.fixture
def tenant(any_database) -> Tenant:
    return Tenant.objects.create(slug="opal", name="Opal & Co", country="AU", timezone="Australia/Sydney")


@pytest.fixture
def other_tenant(any_database) -> Tenant:
    return Tenant.objects.create(slug="ruby", name="Ruby Row", country="US", timezone="America/New_York")


def _user(tenant: Tenant, email: str, role: str) -> TenantUser:
    return TenantUser.objects.create_user(tenant=tenant, email=email, role=role, password=PASSWORD)


@pytest.fixture
def alice(tenant) -> TenantUser:
    """Owns the shop."""
    return _user(tenant, "alice@opal.example", "owner")


@pytest.fixture
def mona(tenant) -> TenantUser:
    """Manages the shop."""
    return _user(tenant, "mona@opal.example", "manager")


@pytest.fixture
def bob(tenant) -> TenantUser:
    """Works at the counter."""
    return _user(tenant, "bob@opal.example", "staff")


@pytest.fixture
def charlie(other_tenant) -> TenantUser:
    """Owns another shop."""
    return _user(other_tenant, "charlie@ruby.example", "owner")


@pytest.fixture(scope="session")
def emulator() -> Iterator[Running]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def mailchimp(emulator, settings) -> Running:
    """A fresh Mailchimp that the product under test talks to."""
    emulator.control("reset", {})
    settings.NEXPURA_MAILCHIMP_URL = emulator.api_url
    os.environ["NEXPURA_MAILCHIMP_URL"] = emulator.api_url
    return emulator
