"""A preview announces exactly what the sync then does (B9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from nexpura.audience import consent
from nexpura.customers.models import Customer
from nexpura.sync import explain, preview, renames
from nexpura.sync.models import AddressStanding, DirtyAddress, KnownMember
from tests.sync.conftest import CLERK, Shop
from tests.sync.test_consent_in_life import choose, left_and_said_yes_again
from tests.sync.test_every_reason import throttled
from tests.sync.test_merge_and_sync import NEW, NEWER, has_email, renamed

KINDS = {"opt_out": "unsubscribe", "undo": "resubscribe"}


def foretold(shop: Shop) -> Counter[str]:
    told = preview.preview(shop.tenant)
    kinds = ("add", "update", "unsubscribe", "resubscribe", "ask", "move", "retag")
    return +Counter({kind: told[kind] for kind in kinds})


def done(shop: Shop) -> Counter[str]:
    """Sync, and return what was sent."""
    return Counter(KINDS.get(kind, kind) for kind in shop.sync().results.values_list("kind", flat=True))


def tagged_and_renamed(shop: Shop) -> Customer:
    shop.audience()
    ada = shop.consenting("ada@inbox.example", first="Ada")
    Customer.objects.filter(pk=ada.pk).update(tags=["vip", "rings"])
    shop.sync()
    shop.person(ada.email, "address", new_email=NEW)
    shop.sync()
    return ada


def the_book_has_the_new_address_and_fewer_tags(shop):
    ada = tagged_and_renamed(shop)
    Customer.objects.filter(pk=ada.pk).update(email=NEW, tags=["rings"])
    return {"retag": 1}


def the_book_has_the_new_address_and_a_no(shop):
    ada = renamed(shop)
    has_email(ada, NEW)
    shop.says_no(ada)
    return {"unsubscribe": 1}


def the_book_has_the_new_address(shop):
    has_email(renamed(shop), NEW)
    return {}


def the_book_had_the_new_address_and_lost_it(shop):
    ada = renamed(shop)
    has_email(ada, NEW)
    shop.sync()
    has_email(ada, "")
    return {"unsubscribe": 1}


def nobody_has_answered(shop):
    ada = renamed(shop)
    Customer.objects.filter(pk=ada.pk).update(first_name="Augusta", tags=["vip"])
    return {}


def the_old_address_was_kept(shop):
    ada = renamed(shop)
    renames.keep(shop.tenant, CLERK, ada, NEW)
    return {"add": 1}


def the_customer_has_yet_another_address(shop):
    has_email(renamed(shop), NEWER)
    return {"add": 1}


def somebody_else_holds_the_old_address(shop):
    ada = tagged_and_renamed(shop)
    shop.consenting("ada@inbox.example", first="Bea")
    Customer.objects.filter(pk=ada.pk).update(email=NEW, tags=[])
    return {"retag": 1}


def they_were_asked_and_changed_their_address(shop):
    """She was asked to confirm for this yes, changed her address, and left: she is not asked for it again."""
    ada = left_and_said_yes_again(shop)
    choose(shop, ask_to_confirm=True)
    shop.sync()
    KnownMember.objects.filter(address=ada.address).update(added_by_us=True, made_for=ada.pk, asked_for=10**9)
    shop.person(ada.email, "confirm")
    shop.person(ada.email, "address", new_email=NEW)
    shop.sync()
    shop.person(NEW, "unsubscribe")
    shop.sync()
    has_email(ada, NEW)
    shop.says_yes(ada)
    KnownMember.objects.filter(address=NEW).update(status_since=datetime.now(UTC) - timedelta(hours=1))
    return {}


@pytest.mark.parametrize(
    "happens",
    [
        the_book_has_the_new_address,
        the_book_has_the_new_address_and_fewer_tags,
        the_book_has_the_new_address_and_a_no,
        the_book_had_the_new_address_and_lost_it,
        nobody_has_answered,
        the_old_address_was_kept,
        the_customer_has_yet_another_address,
        somebody_else_holds_the_old_address,
        they_were_asked_and_changed_their_address,
    ],
    ids=lambda case: case.__name__,
)
def test_what_is_foretold_of_members_who_changed_their_address_is_what_the_sync_does(
    shop, happens: Callable[[Shop], dict[str, int]]
):
    expected = happens(shop)
    known = list(KnownMember.objects.order_by("pk").values())

    told = foretold(shop)

    assert list(KnownMember.objects.order_by("pk").values()) == known  # looking ahead changes nothing
    assert told == done(shop) == Counter(expected)


def test_a_customers_page_foretells_it_too(shop):
    ada = tagged_and_renamed(shop)
    Customer.objects.filter(pk=ada.pk).update(email=NEW, tags=["rings"])
    ada.refresh_from_db()

    assert explain.explain(shop.tenant, ada).headline == "In the audience; changed tags go at the next sync"


def test_what_is_due_for_another_try_is_foretold(shop):
    throttled(shop)
    shop.sync()
    waiting = foretold(shop)
    shop.emulator.control("reset", {})
    AddressStanding.objects.update(retry_at=datetime.now(UTC))
    KnownMember.objects.update(refusal=None)

    assert (waiting, foretold(shop)) == (Counter(), Counter(add=1))


def test_another_choice_of_what_goes_to_mailchimp_is_foretold_of_everybody(shop):
    shop.audience()
    for name in ("ada", "bea", "carl"):
        shop.consenting(f"{name}@inbox.example", phone="+61291234567")
    shop.sync()
    choose(shop, mapping={"FNAME": "full_name"})

    told = preview.preview(shop.tenant)

    assert (told["update"], told["in_agreement"], told["marked"], DirtyAddress.objects.count()) == (3, 0, 3, 0)
    assert foretold(shop) == done(shop)
    assert foretold(shop) == Counter()


def test_a_preview_of_some_addresses_says_that_there_are_more(shop, monkeypatch):
    monkeypatch.setattr(preview, "CHUNK", 2)
    shop.audience()
    for number in range(5):
        shop.consenting(f"c{number}@inbox.example")

    told = preview.preview(shop.tenant, at_most=2)

    assert (told["add"], told["looked_at"], told["more"], told["marked"]) == (2, 2, True, 5)
    assert preview.preview(shop.tenant)["add"] == 5


def test_the_verdict_on_an_address_is_reached_once(shop, monkeypatch):
    reached: Counter[str] = Counter()
    decide = consent.decide

    def counted(facts):
        reached[facts.address] += 1
        return decide(facts)

    shop.audience()
    for number in range(3):
        shop.consenting(f"c{number}@inbox.example")
    shop.customer("asked@inbox.example")
    monkeypatch.setattr(consent, "decide", counted)

    preview.preview(shop.tenant)

    assert set(reached.values()) == {1}
    assert len(reached) == 4
