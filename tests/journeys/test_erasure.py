"""An erasure from the page to Mailchimp, with real processes and one of them killed (B11)."""

from __future__ import annotations

import getpass
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nexpura.customers.models import Customer
from nexpura.sync.models import Erasure
from nexpura.tenants.models import AuditEvent
from tests.sync.conftest import Shop
from tests.sync.erasing import tables_that_name

pytestmark = pytest.mark.processes

NEXPURA = str(Path(sys.executable).with_name("nexpura"))
ADA = "ada.quill@inbox.example"
PATIENCE = 30.0


@pytest.fixture
def shop(committed, tenant, mailchimp) -> Shop:
    shop = Shop(tenant, mailchimp)
    shop.audience()
    return shop


@pytest.fixture
def ada(shop) -> Customer:
    ada = shop.consenting(ADA, first="Ada", last="Quill")
    shop.sync()
    return ada


def wait_until_done() -> Erasure:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        erasure = Erasure.objects.get()
        if not erasure.is_open:
            return erasure
        time.sleep(0.1)
    raise AssertionError(f"the erasure is still {erasure.state} after {erasure.attempts} tries: {erasure.problem}")


@pytest.mark.browser
def test_an_owner_erases_a_customer_and_a_worker_that_starts_later_tells_mailchimp(
    shop, ada, alice, installation, visit
):
    installation.start("web")
    owner = visit(alice, f"/customers/{ada.pk}")
    owner.follows("Erase this customer")
    owner.sees("What goes")
    owner.fills("To confirm, type the customer’s name or record number", "Ada")
    owner.presses("Erase for good")
    owner.sees("This is neither Ada Quill nor")
    owner.fills("To confirm, type the customer’s name or record number", "Ada Quill")
    owner.presses("Erase for good")
    owner.sees("Not done in Mailchimp yet")
    subscribed = shop.statuses()
    installation.kill("web")

    installation.start("web", "worker")
    erasure = wait_until_done()
    owner.opens("/erasures/1")

    owner.sees("The member was unsubscribed.")
    assert (subscribed, shop.statuses()) == ({ADA: "subscribed"}, {ADA: "unsubscribed"})
    assert (erasure.state, erasure.sealed) == ("done", None)
    assert tables_that_name("quill") == set()


def test_a_try_that_failed_is_made_again_by_the_worker_itself(shop, ada, installation):
    shop.emulator.control("faults", [{"kind": "503", "method": "POST", "path": ".*permanent", "nth": [1, 2]}])
    said = erase_customer(shop, ada, "--member", "delete", "--yes")

    installation.start("web", "worker")
    erasure = wait_until_done()

    assert "Mailchimp does not answer" in said.stdout
    assert (erasure.outcomes, erasure.attempts, shop.statuses()) == (["deleted"], 2, {})


def test_the_command_erases_tells_mailchimp_and_says_what_it_did(shop, ada):
    asked = erase_customer(shop, ada)
    nothing = Customer.objects.filter(pk=ada.pk).exists(), shop.statuses()
    said = erase_customer(shop, ada, "--yes")
    again = erase_customer(shop, ada, "--yes")

    assert (asked.returncode, said.returncode, again.returncode) == (2, 0, 2)
    assert "Say --yes to go ahead. Nothing was erased." in asked.stderr
    assert nothing == (True, {ADA: "subscribed"})
    assert said.stdout == "Erased. Receipt 1.\nThe member was unsubscribed.\n"
    assert f"There is no customer {ada.pk}" in again.stderr
    assert shop.statuses() == {ADA: "unsubscribed"}
    line = AuditEvent.objects.get(action="customer.erased")
    assert (line.actor_kind, line.actor_name) == ("command", getpass.getuser())


def erase_customer(shop: Shop, customer: Customer, *more: str) -> subprocess.CompletedProcess[str]:
    command = [NEXPURA, "erase-customer", "--tenant", shop.tenant.slug, str(customer.pk), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
