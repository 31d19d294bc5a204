"""What the public page says, walked from top to bottom in a real browser against real processes."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, expect

from nexpura.integrations.models import Integration
from nexpura.sync.models import SyncRun
from tests.journeys.visitor import Visitor
from tests.sync.conftest import AUDIENCE, KEY, Shop

pytestmark = [pytest.mark.browser, pytest.mark.processes]

NEW_AUDIENCE = "def456abc7"
REVOKED = "fedcba9876543210fedcba9876543210-us14"
PATIENCE = 60.0


@pytest.fixture
def shop(committed, tenant, mailchimp) -> Shop:
    """A shop that is not connected yet; its Mailchimp account has an audience with a past, and an empty one."""
    past = [
        {"email_address": "own@post.example", "status": "subscribed"},
        {"email_address": "ben@inbox.example", "status": "subscribed", "merge_fields": {"FNAME": "Benny"}},
        {"email_address": "eve@inbox.example", "status": "unsubscribed", "unsubscribed_by": "user"},
    ]
    lists = [{"id": AUDIENCE, "name": "Newsletter", "members": past}, {"id": NEW_AUDIENCE, "name": "Spring letter"}]
    users = [{"name": "owner", "role": "owner", "keys": [KEY]}]
    mailchimp.control("reset", {"accounts": [{"dc": "us14", "users": users, "lists": lists}]})
    shop = Shop(tenant, mailchimp)
    shop.consenting("ann@inbox.example", first="Ann", last="Adler", phone="+61290000001")
    shop.consenting("ben@inbox.example", first="Ben", last="Berg")
    shop.consenting("eve@inbox.example", first="Eve", last="Ebner")
    shop.customer("never@inbox.example", first="Nora", last="Never")
    return shop


@pytest.fixture
def connected(shop) -> Shop:
    """The same shop, connected before any browser is there."""
    shop.connect()
    return shop


def statuses(shop: Shop, audience: str = AUDIENCE) -> dict[str, str]:
    return {row["email_address"]: row["status"] for row in shop.emulator.members(audience)}


# --- the owner's way down the page --------------------------------------------------------------------


def test_an_owner_follows_the_public_page_from_connecting_to_mending(shop, alice, installation, visit):
    installation.start("web", "worker")
    owner = visit(alice)

    connects_with_the_key_cut_short(owner, shop)
    connects_with_a_revoked_key(owner, shop)
    connects(owner, shop)
    syncs_and_sees_the_number_appear(owner, shop)
    syncs_again_and_nothing_is_written(owner, shop)
    records_an_opt_out(owner)
    meets_one_who_ticks_the_box_and_one_who_does_not(owner)
    syncs_what_they_said(owner, shop)
    mends_a_bad_address(owner, shop)
    switches_auto_sync_on(owner, shop)
    finds_the_audience_deleted(owner, shop)
    disconnects(owner, shop)
    connects_another_audience(owner, shop)


def connects_with_the_key_cut_short(owner: Visitor, shop: Shop) -> None:
    owner.sees("Email Marketing")
    owner.connects(KEY.removesuffix("-us14"), AUDIENCE)

    banner = owner.main.get_by_role("alert")
    expect(banner).to_contain_text("Mailchimp API error")
    expect(banner).to_contain_text("-us14")
    expect(owner.main.get_by_label("API key")).to_have_value("")
    expect(owner.main.get_by_label("Audience / List ID")).to_have_value(AUDIENCE)
    assert shop.emulator.log() == []  # no data centre is guessed


def connects_with_a_revoked_key(owner: Visitor, shop: Shop) -> None:
    owner.connects(REVOKED, AUDIENCE)

    banner = owner.main.get_by_role("alert")
    expect(banner).to_contain_text("Mailchimp API error")
    expect(banner).to_contain_text("API Key Invalid")
    expect(banner.get_by_role("listitem")).to_have_count(3)
    owner.sees_no_button("Sync Customers Now")
    assert not Integration.objects.exists()


def connects(owner: Visitor, shop: Shop) -> None:
    owner.connects(f"  {KEY} ", AUDIENCE)

    owner.sees("Mailchimp is connected to Newsletter.")
    expect(owner.main.get_by_role("button", name="Sync Customers Now")).to_be_visible()
    assert KEY.removesuffix("-us14") not in owner.page.content()
    assert shop.writes() == []


def syncs_and_sees_the_number_appear(owner: Visitor, shop: Shop) -> None:
    assert owner.syncs() == "✓ Synced 2 subscribers"

    owner.main.get_by_text("Who is not counted, and why").click()
    expect(owner.main.get_by_role("table")).to_contain_text("Unsubscribed in Mailchimp, and not by us")
    assert statuses(shop) == {
        "own@post.example": "subscribed",
        "ben@inbox.example": "subscribed",
        "eve@inbox.example": "unsubscribed",
        "ann@inbox.example": "subscribed",
    }
    assert shop.member("ben@inbox.example")["merge_fields"]["FNAME"] == "Ben"
    ann = shop.member("ann@inbox.example")["merge_fields"]
    assert (ann["FNAME"], ann["LNAME"], ann["PHONE"]) == ("Ann", "Adler", "+61290000001")


def syncs_again_and_nothing_is_written(owner: Visitor, shop: Shop) -> None:
    before = len(shop.writes())

    assert owner.syncs() == "✓ Synced 2 subscribers"

    assert len(shop.writes()) == before


def records_an_opt_out(owner: Visitor) -> None:
    owner.opens("/customers")
    owner.main.get_by_label("Search customers").fill("adl")
    owner.presses("Search")
    owner.follows("Ann Adler")
    owner.main.get_by_role("switch", name="Marketing consent").uncheck()
    owner.main.get_by_label("Where did they say so?").select_option("At the till")
    owner.presses("Save consent")

    owner.sees("Withdrawal recorded.")
    expect(owner.main.get_by_role("table").first).to_contain_text("At the till")
    owner.opens("/integrations")
    expect(fact(owner, "Opt-outs not yet in Mailchimp")).to_contain_text("1")


def meets_one_who_ticks_the_box_and_one_who_does_not(owner: Visitor) -> None:
    owner.opens("/intake")
    writes_down(owner, "Tilda", "Tick", "tilda@inbox.example")
    owner.fills("What did they bring in?", "A ring to be made smaller")
    expect(consent_box(owner)).not_to_be_checked()
    consent_box(owner).check()
    owner.presses("Write down the intake")
    owner.sees("Intake written down for Tilda Tick.")

    owner.opens("/pos")
    writes_down(owner, "Paul", "Passer", "paul@inbox.example")
    owner.fills("What was sold?", "Earrings")
    owner.fills("Amount", "129.00")
    expect(consent_box(owner)).not_to_be_checked()
    owner.presses("Write down the sale")
    owner.sees("Sale of 129.00 to Paul Passer written down.")


def syncs_what_they_said(owner: Visitor, shop: Shop) -> None:
    assert owner.syncs() == "✓ Synced 2 subscribers"

    assert statuses(shop) == {
        "own@post.example": "subscribed",
        "ben@inbox.example": "subscribed",
        "eve@inbox.example": "unsubscribed",
        "ann@inbox.example": "unsubscribed",
        "tilda@inbox.example": "subscribed",
    }
    owner.opens("/customers")
    owner.follows("Paul Passer")
    owner.sees("Why isn’t this customer in Mailchimp?")
    expect(owner.main.get_by_role("switch", name="Marketing consent")).not_to_be_checked()


def mends_a_bad_address(owner: Visitor, shop: Shop) -> None:
    mistyped = shop.consenting("name@", first="Nick", last="Name")  # forms refuse it; an older record may hold it

    assert owner.syncs() == "✓ Synced 2 subscribers"
    owner.sees("Partial success: 1 address could not be synced")
    owner.follows(f"Customer {mistyped.pk}")
    owner.follows("Edit")
    owner.fills("E-mail", "nick@")
    owner.presses("Save")
    expect(owner.main.get_by_role("alert")).to_be_visible()
    owner.fills("E-mail", "nick@inbox.example")
    owner.presses("Save")

    assert owner.syncs() == "✓ Synced 3 subscribers"
    expect(owner.main).not_to_contain_text("Partial success")
    assert statuses(shop)["nick@inbox.example"] == "subscribed"


def switches_auto_sync_on(owner: Visitor, shop: Shop) -> None:
    expect(fact(owner, "Auto-sync")).to_contain_text("off")
    owner.main.get_by_role("switch", name="Auto-sync daily").check()
    owner.presses("Save")

    expect(fact(owner, "Auto-sync")).to_contain_text("daily, next")
    assert Integration.objects.get().next_sync_at is not None


def finds_the_audience_deleted(owner: Visitor, shop: Shop) -> None:
    shop.emulator.control("list_event", {"list_id": AUDIENCE, "event": "delete"})

    assert owner.syncs() == "Audience not found"
    owner.sees("Disconnect, then connect again with the new Audience ID.")


def disconnects(owner: Visitor, shop: Shop) -> None:
    owner.follows("Disconnect")
    owner.presses("Disconnect")

    owner.sees("Mailchimp is disconnected.")
    owner.sees_no_button("Sync Customers Now")
    row = Integration.objects.get()
    assert (row.status, row.config_encrypted, row.config) == ("disconnected", None, {})
    owner.follows("all syncs")
    owner.sees("Sync #")


def connects_another_audience(owner: Visitor, shop: Shop) -> None:
    owner.opens("/integrations")
    owner.connects(KEY, NEW_AUDIENCE)
    owner.sees("Mailchimp is connected to Spring letter.")

    assert owner.syncs() == "✓ Synced 4 subscribers"
    assert set(statuses(shop, NEW_AUDIENCE)) == {f"{name}@inbox.example" for name in ("ben", "eve", "tilda", "nick")}
    owner.opens("/settings/audit")
    for action in ("Mailchimp connected", "Sync started", "Mailchimp disconnected"):
        owner.sees(action)


def fact(owner: Visitor, name: str) -> Locator:
    """The value that stands beside a name on the panel."""
    return owner.main.locator("#live dl > div").filter(has=owner.page.get_by_text(name, exact=True)).locator("dd")


def consent_box(owner: Visitor) -> Locator:
    return owner.main.get_by_role("checkbox", name="Marketing consent")


def writes_down(owner: Visitor, first: str, last: str, email: str) -> None:
    owner.fills("First name", first)
    owner.fills("Last name", last)
    owner.fills("E-mail", email)


# --- other people, other circumstances ----------------------------------------------------------------


def test_without_scripts_signing_in_connecting_and_syncing_work_by_plain_pages(shop, alice, installation, visit):
    installation.start("web", "worker")
    owner = visit(alice, scripts=False)

    owner.connects(KEY, AUDIENCE)
    owner.sees("Mailchimp is connected to Newsletter.")

    assert owner.syncs() == "✓ Synced 2 subscribers"
    assert statuses(shop)["ann@inbox.example"] == "subscribed"


def test_staff_see_the_state_without_buttons_and_an_outsider_finds_none_of_our_customers(
    connected, bob, charlie, installation, visit
):
    ours = connected.consenting("ours@inbox.example")
    installation.start("web")

    staff = visit(bob)
    outsider = visit(charlie, "/customers")
    answer = outsider.page.goto(f"/customers/{ours.pk}")

    staff.sees("Connected")
    staff.sees("Newsletter")
    staff.sees("Owners and managers connect, sync and disconnect.")
    for kind in ("button", "textbox", "switch"):
        expect(staff.main.get_by_role(kind)).to_have_count(0)
    expect(staff.main.get_by_role("link", name="Disconnect")).to_have_count(0)
    assert answer is not None
    assert answer.status == 404
    outsider.sees("Not found")
    assert "ours@inbox.example" not in outsider.page.content()


def test_closing_the_browser_and_killing_the_web_process_leave_a_running_sync_as_it_is(
    connected, alice, installation, visit
):
    for number in range(60):
        connected.consenting(f"p{number:02}@inbox.example", first=f"P{number}")
    slow = [{"method": "PUT", "base_ms": 500}, {"method": "POST", "base_ms": 500, "per_member_ms": 200}]
    connected.emulator.control("latency", slow)
    installation.start("web", "worker")
    owner = visit(alice)
    owner.presses("Sync Customers Now")
    run = wait_for(SyncRun.objects.get(), lambda run: run.done > 0)

    owner.context.close()
    installation.kill("web")
    run.refresh_from_db()
    assert run.is_active
    run = wait_for(run, lambda run: not run.is_active)
    installation.start("web")

    assert (run.status, run.synced, run.faulty) == ("succeeded", 62, False)
    written = [whom for row in connected.writes() for whom in written_by(row)]
    assert len(written) == len(set(written))  # nobody was written twice
    again = visit(alice)
    again.sees("✓ Synced 62 subscribers")


def written_by(call: dict) -> list[str]:
    """Whom a call wrote: one member by its path, or many by their addresses."""
    return [member["email_address"] for member in call["body"].get("members", ())] or [call["path"]]


def wait_for(run: SyncRun, reached) -> SyncRun:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        run.refresh_from_db()
        if reached(run):
            return run
        time.sleep(0.02)
    raise AssertionError(f"run {run.pk} is still {run.status} at {run.done} of {run.planned}")
