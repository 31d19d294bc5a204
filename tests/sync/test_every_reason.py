"""Every no has a reason, and its remedy works (B8): each is brought about, read, followed, and gone.

The customer's page and `nexpura explain` give the same answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from nexpura.audience.member import Cause, KnownMember, Status
from nexpura.audience.plan import Bucket, OptOut, Retag, Update
from nexpura.audience.reasons import CATALOGUE, Reason
from nexpura.customers.models import Customer
from nexpura.mailchimp import errors
from nexpura.mailchimp.member import NEVER, Member
from nexpura.mailchimp.result import Accepted, Refused
from nexpura.sync import connect, erasures, explain, outcome, panel, renames
from nexpura.sync.models import MemberResult
from tests.sync.conftest import CLERK, Shop
from tests.sync.test_consent_in_life import choose, mailchimp_is_at, rename

ADA = "ada@inbox.example"
NEW = "ada.king@post.example"
SIGN_IN = "allauth.account.auth_backends.AuthenticationBackend"


@dataclass(frozen=True, slots=True)
class Case:
    """How a reason comes about (returns the customer), and how its remedy is followed; then a sync."""

    comes_about: Callable[[Shop], Customer]
    remedy: Callable[[Shop, Customer], None]
    afterwards: Reason = Reason.NONE
    """What is told after the remedy and a sync."""
    syncs_first: bool = True


def subscribed(shop: Shop, **fields) -> Customer:
    shop.audience()
    return shop.consenting(ADA, **fields)


def disconnected(shop):
    ada = subscribed(shop)
    connect.disconnect(shop.tenant, CLERK)
    return ada


def without_email(shop):
    shop.audience()
    ada = shop.customer("")
    shop.says_yes(ada)
    return ada


def never_asked(shop):
    shop.audience()
    return shop.customer(ADA)


def withdrawn(shop):
    ada = subscribed(shop)
    shop.sync()
    shop.says_no(ada)
    return ada


def badly_written(shop):
    shop.audience()
    ada = shop.customer("ada@inbox.example")
    shop.says_yes(ada)
    rename(ada, "ada@")
    return ada


def fake(shop):
    shop.audience()
    return shop.consenting("ada@example.com")


def forgotten(shop):
    shop.audience(forgotten=[ADA])
    return shop.consenting(ADA)


def wrong_values(shop):
    shop.audience(merge_fields=[{"tag": "NUMBER", "type": "number"}])
    choose(shop, mapping={"NUMBER": "external_id"})
    ada = shop.consenting(ADA)
    number(ada, "C-7")
    return ada


def number(customer: Customer, external_id: str) -> None:
    Customer.objects.filter(pk=customer.pk).update(external_id=external_id)


def complained(shop):
    """She complained, said yes again, and Mailchimp would not even ask her."""
    shop.audience()
    choose(shop, ask_to_confirm=True)
    mailchimp_is_at(shop, hours=2)
    ada = shop.customer(ADA)
    shop.says_yes(ada, claimed_at=datetime.now(UTC) - timedelta(hours=3))
    shop.sync()
    shop.person(ADA, "complaint")
    shop.sync()
    mailchimp_is_at(shop)
    shop.says_yes(ada)
    return ada


def busy(shop):
    ada = subscribed(shop)
    shop.emulator.control("faults", [{"kind": "503", "method": "PUT"}])
    return ada


def calm(shop, _customer):
    shop.emulator.control("faults", [])


def throttled(shop):
    shop.emulator.control(
        "reset",
        {
            "accounts": [
                {
                    "dc": "us14",
                    "users": [{"keys": ["0123456789abcdef0123456789abcdef-us14"]}],
                    "throttled": [ADA],
                    "lists": [{"id": "abc123def4"}],
                }
            ]
        },
    )
    shop.connect()
    return shop.consenting(ADA)


def archived(shop):
    ada = subscribed(shop)
    shop.sync()
    shop.person(ADA, "archive")
    return ada


def cleaned(shop):
    ada = subscribed(shop)
    shop.sync()
    shop.person(ADA, "hard_bounce")
    return ada


def non_subscribed(shop):
    shop.audience({"email_address": ADA, "status": "transactional"})
    return shop.consenting(ADA)


def pending(shop):
    shop.audience(double_optin=True)
    return shop.consenting(ADA)


def unsubscribed_there(shop):
    shop.audience({"email_address": ADA, "status": "unsubscribed", "unsubscribed_by": "user"})
    return shop.consenting(ADA)


def subscribed_again(shop):
    ada = withdrawn(shop)
    shop.sync()
    shop.person(ADA, "signup")
    return ada


def held_by_the_brake(shop):
    shop.audience()
    people = [shop.consenting(f"c{number}@inbox.example") for number in range(12)]
    shop.sync()
    for person in people:
        shop.says_no(person)
    shop.sync("schedule")
    return people[0]


def changed_and_not_synced(shop):
    ada = subscribed(shop)
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(first_name="Augusta")
    return ada


def erased_there(shop):
    """Somebody with this address was erased; Bea, whose yes is older, takes it over."""
    shop.audience()
    ada, bea = shop.consenting(ADA), shop.consenting(NEW)
    erasures.erase(shop.tenant, CLERK, ada.pk, "keep")
    rename(bea, ADA)
    return bea


def renamed_there(shop):
    ada = subscribed(shop)
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    return ada


def takes_it_over(shop, customer):
    renames.take_over(shop.tenant, CLERK, customer, NEW)


def signs_up(shop, customer):
    shop.person(customer.email, "signup")


CASES: dict[Reason, Case] = {
    Reason.NONE: Case(subscribed, lambda shop, ada: None),
    Reason.NO_EMAIL: Case(without_email, lambda shop, ada: rename(ada, ADA)),
    Reason.NEVER_ASKED: Case(never_asked, lambda shop, ada: shop.says_yes(ada)),
    Reason.WITHDRAWN: Case(withdrawn, lambda shop, ada: shop.says_yes(ada)),
    Reason.ERASED: Case(erased_there, lambda shop, bea: shop.says_yes(bea)),
    Reason.INVALID_EMAIL: Case(badly_written, lambda shop, ada: rename(ada, ADA)),
    Reason.FAKE_EMAIL: Case(fake, lambda shop, ada: rename(ada, ADA)),
    Reason.COMPLIANCE: Case(complained, signs_up),
    Reason.FORGOTTEN: Case(forgotten, signs_up),
    Reason.MERGE_FIELDS: Case(wrong_values, lambda shop, ada: number(ada, "7")),
    Reason.THROTTLED: Case(throttled, lambda shop, ada: None, afterwards=Reason.THROTTLED),
    Reason.UNSUBSCRIBED_THERE: Case(unsubscribed_there, signs_up),
    Reason.SUBSCRIBED_AGAIN: Case(
        subscribed_again, lambda shop, ada: shop.person(ADA, "unsubscribe_admin"), afterwards=Reason.WITHDRAWN
    ),
    Reason.CLEANED: Case(cleaned, lambda shop, ada: rename(ada, NEW)),
    Reason.ARCHIVED: Case(archived, signs_up),
    Reason.NON_SUBSCRIBED: Case(non_subscribed, signs_up),
    Reason.AWAITING_CONFIRMATION: Case(pending, lambda shop, ada: shop.person(ADA, "confirm")),
    Reason.BRAKE: Case(held_by_the_brake, lambda shop, ada: None, afterwards=Reason.WITHDRAWN, syncs_first=False),
    Reason.RENAMED: Case(renamed_there, takes_it_over),
    Reason.NEXT_SYNC: Case(changed_and_not_synced, lambda shop, ada: None, syncs_first=False),
    Reason.NOT_CONNECTED: Case(disconnected, lambda shop, ada: shop.connect(), syncs_first=False),
}


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.value or "none")
def test_a_reason_is_told_alike_everywhere_and_its_remedy_works(reason, shop, alice):
    case = CASES[reason]
    customer = case.comes_about(shop)
    if case.syncs_first:
        shop.sync()
    customer.refresh_from_db()

    told = explain.explain(shop.tenant, customer)

    assert Reason(told.reason) is reason
    assert as_a_command_says(shop, customer)["reason"] == reason.value
    assert_the_page_says(told, customer, alice)
    case.remedy(shop, customer)
    shop.sync()
    customer.refresh_from_db()
    assert Reason(explain.explain(shop.tenant, customer).reason) is case.afterwards


def as_a_command_says(shop: Shop, customer: Customer) -> dict:
    if not customer.address:
        return {"reason": Reason.NO_EMAIL.value}  # the command is asked about an address
    out = StringIO()
    call_command("explain", "--tenant", shop.tenant.slug, customer.email, "--json", stdout=out)
    return json.loads(out.getvalue())


def assert_the_page_says(told: explain.Explanation, customer: Customer, alice) -> None:
    browser = Client()
    browser.force_login(alice, backend=SIGN_IN)
    page = unescape(browser.get(f"/customers/{customer.pk}").content.decode())
    assert told.headline in page
    assert told.sentence in page
    assert told.remedy in page or told.remedy == "Nothing to do."


def test_a_field_that_mailchimp_does_not_accept_is_named(shop):
    ada = wrong_values(shop)

    shop.sync()

    assert "NUMBER: " in explain.explain(shop.tenant, ada).detail
    assert "NUMBER: " in panel.failures(shop.tenant)[0].detail


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value or "none")
def test_a_reason_is_told_in_whole_sentences_that_need_no_other_page(reason):
    told = CATALOGUE[reason]

    for words in (told.sentence, told.remedy):
        assert words[0].isupper()
        assert words.endswith(".")
        assert not {"below", "above", "run", "bucket"} & set(words.lower().strip(".").split())


# --- reasons that belong to one change of one run --------------------------------------------------------------------


def reason_of_the_change(customer: Customer) -> str:
    return MemberResult.objects.filter(address=customer.address).latest("id").reason


def test_a_busy_mailchimp_is_tried_again_by_the_next_sync(shop, settings):
    settings.NEXPURA_RETRY_WAIT = 0.001
    ada = busy(shop)
    shop.sync()
    assert reason_of_the_change(ada) == Reason.BUSY

    calm(shop, ada)
    shop.sync()

    assert shop.statuses() == {ADA: "subscribed"}


KNOWN = KnownMember(Status.SUBSCRIBED)
REFUSED = Refused(errors.MemberRefused(400, "Invalid Resource", "ada@inbox.example: no", errors.Refusal.OTHER))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(Retag(("vip",), ()), Reason.TAGS, id="tags"),
        pytest.param(Update(Status.SUBSCRIBED, {}, {"FNAME": "A"}, {"FNAME": "A"}), Reason.REFUSED, id="a member"),
    ],
)
def test_a_refusal_of_any_other_kind_fails_with_mailchimps_words_and_without_the_address(change, reason):
    settled = outcome.of(change, KNOWN, REFUSED, datetime.now(UTC))

    assert (settled.bucket, settled.standing.reason) == (Bucket.FAILED, reason)
    assert settled.standing.detail == "The address no"


SENT = datetime(2026, 3, 1, 12, 0, 5, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "first_sent", "bucket", "ours"),
    [
        pytest.param(SENT.replace(second=2), SENT, Bucket.WITHHELD, False, id="was out before we asked"),
        pytest.param(SENT.replace(second=3, microsecond=0), SENT, Bucket.UNSUBSCRIBED, True, id="clocks may be apart"),
        pytest.param(SENT.replace(second=9), SENT, Bucket.UNSUBSCRIBED, True, id="out since a try of ours"),
        pytest.param(SENT.replace(hour=1), None, Bucket.UNSUBSCRIBED, True, id="no date in the reply"),
        pytest.param(NEVER, SENT, Bucket.UNSUBSCRIBED, True, id="no moment told"),
    ],
)
@pytest.mark.parametrize("withdrawal", [7, None], ids=["withdrawn", "moved"])
def test_an_unsubscribe_is_ours_unless_the_reply_shows_them_out_before_it(
    changed, first_sent, bucket, ours, withdrawal
):
    change = OptOut(Cause.WITHDRAWAL if withdrawal else Cause.MOVED, Status.SUBSCRIBED, withdrawal)
    member = Member("", ADA, "unsubscribed", {}, "", changed)

    settled = outcome.of(change, KNOWN, Accepted(member, first_sent=first_sent), datetime.now(UTC))

    assert (settled.bucket, settled.again, settled.known.carried_out) == (bucket, False, withdrawal)
    assert (settled.known.opt_out is not None) is ours
    assert settled.known.status is (Status.UNSUBSCRIBED if ours else KNOWN.status)


def test_every_reason_of_the_catalogue_is_brought_about_here_or_named_as_untold():
    of_one_change = {Reason.BUSY, Reason.CHANGED_MEANWHILE, Reason.TAGS, Reason.REFUSED}
    of_an_address_nobody_holds = {Reason.NOT_IN_BOOK, Reason.MOVING}

    assert set(CATALOGUE) == set(CASES) | of_one_change | of_an_address_nobody_holds
