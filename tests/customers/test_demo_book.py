"""The demo book keeps the number that its README promises, by the file's own rules and by ours."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from mailchimp_emulator.seeding import state_from
from nexpura.audience import consent
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.customers import importing
from nexpura.customers.models import Customer
from nexpura.customers.normalise import email_problem
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import TILL

DEMO = Path(__file__).parents[2] / "demo"
BOOK = DEMO / "customers.csv"
SYNCED = 142
NOW = "9999"


def lines() -> list[dict[str, str]]:
    with BOOK.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def consenting() -> set[str]:
    """The addresses on which consent stands, read from the file alone."""
    granted: dict[str, list[str]] = {}
    withdrawn: dict[str, list[str]] = {}
    who_granted = set()
    for line in lines():
        address = line["email"].strip().lower()
        if line["marketing_consent"] == "yes":
            granted.setdefault(address, []).append(line["consent_at"] or NOW)
            who_granted.add(line["external_id"])
        elif line["marketing_consent"] == "no" and line["external_id"] and line["external_id"] in who_granted:
            withdrawn.setdefault(address, []).append(line["consent_at"])
    return {
        address for address, grants in granted.items() if address and max(grants) > max(withdrawn.get(address, [""]))
    }


def usable(addresses: set[str]) -> set[str]:
    return {address for address in addresses if re.fullmatch(r"[a-z0-9._-]+@[a-z]+\.example", address)}


def members() -> dict[str, dict]:
    seed = json.loads((DEMO / "mailchimp.json").read_text(encoding="utf-8"))
    (audience,) = seed["accounts"][0]["lists"]
    return {member["email_address"]: member for member in audience["members"]}


def kept_by_their_own_choice() -> set[str]:
    return {address for address in usable(consenting()) if members().get(address, {}).get("status") == "unsubscribed"}


def test_the_demo_syncs_142_subscribers():
    assert len(usable(consenting())) == 143
    assert kept_by_their_own_choice() == {"zoe.lindqvist@inbox.example"}
    assert len(usable(consenting()) - kept_by_their_own_choice()) == SYNCED


def test_the_demo_has_one_bad_address_and_it_is_marked():
    marked = [line for line in lines() if "demo:bad-address" in line["tags"]]

    assert [line["email"] for line in marked] == ["petra.holm@"]
    assert consenting() - usable(consenting()) == {"petra.holm@"}
    unusable = {line["email"].strip() for line in lines() if line["email"] and email_problem(line["email"].strip())}
    assert unusable == {"petra.holm@"}


def test_the_demo_audience_is_one_the_emulator_can_hold():
    state, _ = state_from(json.loads((DEMO / "mailchimp.json").read_text(encoding="utf-8")))

    (account,) = state.accounts
    (audience,) = account.audiences.values()
    assert account.dc == "us14"
    assert len(audience.id) == 10
    assert re.fullmatch("[0-9a-f]{32}-us14", account.users[0].keys[0])


def test_four_members_are_in_the_book_and_the_rest_are_their_own():
    in_book = {line["email"].strip().lower() for line in lines()}

    shared = {address: member["status"] for address, member in members().items() if address in in_book}
    assert shared == {
        "zoe.lindqvist@inbox.example": "unsubscribed",
        "renee.castellano@post.example": "subscribed",
        "graham.whitcombe@mail.example": "subscribed",
        "judith.falconer@inbox.example": "subscribed",
    }
    own = [member["status"] for address, member in members().items() if address not in in_book]
    assert {status: own.count(status) for status in own} == {"subscribed": 47, "unsubscribed": 8, "cleaned": 1}


@pytest.mark.django_db
def test_the_imported_book_consents_where_the_file_says_so(tenant):
    outcome = importing.import_customers(tenant, TILL, BOOK)

    assert (outcome.rows, outcome.created, outcome.conflicts) == (324, 320, [])
    assert gate_open(tenant) == consenting()


@pytest.mark.django_db
def test_importing_the_demo_book_again_changes_nothing(tenant):
    importing.import_customers(tenant, TILL, BOOK)

    again = importing.import_customers(tenant, TILL, BOOK)

    assert (again.created, again.changed, again.granted, again.withdrawn) == (0, 0, 0, 0)
    assert len(again.conflicts) == 4
    assert AuditEvent.objects.filter(action="customers.imported").count() == 2


def gate_open(tenant) -> set[str]:
    """The addresses that the consent gate lets through."""
    held: dict[str, list[CustomerFacts]] = {}
    for person in Customer.objects.filter(tenant=tenant).prefetch_related("consent_events"):
        events = tuple(
            ConsentFact(event.pk, event.state == "granted", event.effective_at) for event in person.consent_events.all()
        )
        held.setdefault(person.address, []).append(CustomerFacts(person.pk, events=events))
    verdicts = {address: consent.decide(AddressFacts(address, tuple(people))) for address, people in held.items()}
    return {address for address, verdict in verdicts.items() if isinstance(verdict, consent.Granted)}
