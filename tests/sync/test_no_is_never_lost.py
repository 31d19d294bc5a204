"""A no is heard and carried out whatever else goes on at that moment, and nobody is asked who did not want to be."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from nexpura.customers.models import Customer
from nexpura.sync import connect, erasures, forget, store
from tests.sync.conftest import CLERK, Shop

ADA, BEN = "ada@inbox.example", "ben@inbox.example"
NEW = "ada.king@post.example"


def later() -> None:
    """Let Mailchimp's clock, which counts whole seconds, move on."""
    time.sleep(1.1)


def consent_of(customer: Customer) -> str:
    return Customer.objects.values_list("consent_state", flat=True).get(pk=customer.pk)


def just_before_it_is_sent(monkeypatch, act) -> None:
    """Let somebody act once, after a sync has read the audience and before its first call."""
    plan_of = store.plan_of

    def after_the_reading(run):
        monkeypatch.setattr(store, "plan_of", plan_of)
        act()
        return plan_of(run)

    monkeypatch.setattr(store, "plan_of", after_the_reading)


# --- while somebody else is being erased --------------------------------------------------------------------------


def waiting_erasure(shop: Shop, email: str = "erased@inbox.example") -> None:
    """Somebody is erased while Mailchimp does not answer."""
    gone = shop.consenting(email, first="Gone")
    shop.sync()
    shop.emulator.control("faults", [{"kind": "503", "method": "PATCH", "path": ".*", "every": 1}])
    erasure = erasures.erase(shop.tenant, CLERK, gone.pk, "unsubscribe")
    forget.carry_out(erasure.pk, datetime.now(UTC))
    shop.emulator.control("faults", [])


def test_somebody_who_leaves_in_mailchimp_is_heard_while_the_erasure_of_somebody_else_waits(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting(ADA)
    waiting_erasure(shop)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert consent_of(ada) == "withdrawn"


def test_an_erasure_that_waits_in_another_shop_makes_nobody_deaf_here(shop, other_tenant, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    theirs = Shop(other_tenant, shop.emulator)
    theirs.connect()
    waiting_erasure(theirs)
    connect.disconnect(other_tenant, CLERK)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert consent_of(ada) == "withdrawn"


# --- whose address changed in the book or in Mailchimp meanwhile --------------------------------------------------


def test_somebody_who_leaves_at_the_address_they_had_is_not_added_at_the_one_they_have(shop):
    shop.audience()
    ada, ben = shop.consenting(ADA), shop.consenting(BEN)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=NEW)
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert shop.statuses() == {ADA: "unsubscribed", BEN: "subscribed"}
    assert (consent_of(ada), consent_of(ben)) == ("withdrawn", "granted")


def test_a_no_at_an_address_somebody_else_has_by_now_is_not_that_of_whoever_had_it(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(email=NEW)
    ben = shop.consenting(ADA, first="Ben")
    shop.sync()
    later()

    shop.person(ADA, "unsubscribe")
    shop.sync()

    assert (consent_of(ada), consent_of(ben)) == ("granted", "withdrawn")
