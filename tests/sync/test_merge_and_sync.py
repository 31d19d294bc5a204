"""What merged records and addresses changed in Mailchimp do to the audience (B3, B4, B5)."""

from __future__ import annotations

import io
import json
import random
import threading
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from nexpura.audience import consent
from nexpura.audience.consent import Granted
from nexpura.customers import importing, intake, ledger, merging
from nexpura.customers.merging import Merged
from nexpura.customers.models import ConsentEvent, Customer
from nexpura.mailchimp.client import MailchimpClient
from nexpura.sync import connect, facts, merge, panel, renames, store
from nexpura.sync.models import DirtyAddress, KnownMember, MemberResult
from nexpura.sync.panel import Unsent
from nexpura.sync.renames import Answered, Refused
from nexpura.tenants.models import AuditEvent, Tenant
from tests.sync.conftest import CLERK

ADA = "ada@inbox.example"
NEW = "ada.king@post.example"
NEWER = "augusta@post.example"


def merged(shop, kept: Customer, other: Customer, *from_other: str) -> Customer:
    answer = merge.merge(shop.tenant, CLERK, kept_id=kept.pk, other_id=other.pk, from_other=set(from_other))
    assert isinstance(answer, Merged), answer
    return Customer.objects.get(pk=kept.pk)


def settled(shop) -> None:
    """A further sync writes nothing."""
    begin = len(shop.writes())
    shop.sync()
    assert shop.writes()[begin:] == []


def written_by_a_sync(shop) -> list[tuple[str, str]]:
    """Sync, and return the method and the kind of place of every write."""
    begin = len(shop.writes())
    shop.sync()
    return [(row["method"], row["path"].rsplit("/", 1)[-1]) for row in shop.writes()[begin:]]


def has_email(customer: Customer, email: str) -> None:
    Customer.objects.filter(pk=customer.pk).update(email=email)


def email_of(customer: Customer) -> str:
    return Customer.objects.values_list("email", flat=True).get(pk=customer.pk)


def marked() -> set[str]:
    return set(DirtyAddress.objects.values_list("address", flat=True))


# --- two records become one -------------------------------------------------------------------------------------------


def test_two_records_at_one_address_become_one_subscriber_with_the_names_that_stay(shop):
    shop.audience()
    ada, twin = shop.consenting(ADA, first="Ada"), shop.consenting(ADA, first="Augusta")
    shop.sync()
    assert shop.member(ADA)["merge_fields"]["FNAME"] == "Augusta"
    merged(shop, twin, ada, "first_name")

    run = shop.sync()

    assert (shop.statuses(), shop.member(ADA)["merge_fields"]["FNAME"]) == ({ADA: "subscribed"}, "Ada")
    assert (run.book, run.synced, run.faulty) == (1, 1, False)
    settled(shop)


def test_a_merge_that_changes_nothing_for_mailchimp_writes_nothing(shop):
    shop.audience()
    ada, twin = shop.customer(ADA), shop.consenting(ADA)
    shop.sync()
    merged(shop, twin, ada)

    settled(shop)


def test_a_no_on_the_record_that_goes_unsubscribes_the_one_that_stays(shop):
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.customer(NEW)
    shop.sync()
    shop.says_no(twin)
    merged(shop, ada, twin)

    run = shop.sync()

    assert (shop.statuses(), run.counts["unsubscribed"]) == ({ADA: "unsubscribed"}, 1)
    settled(shop)


def test_of_two_members_of_ours_for_one_person_the_one_at_the_old_address_ends(shop):
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)
    shop.sync()
    merged(shop, ada, twin)

    run = shop.sync()

    assert shop.statuses() == {ADA: "subscribed", NEW: "unsubscribed"}
    assert (run.book, run.faulty) == (1, False)
    settled(shop)


def test_the_member_made_for_the_other_record_moves_to_the_address_that_stays(shop):
    shop.audience()
    twin = shop.consenting(NEW)
    shop.sync()
    contact = shop.member(NEW)["contact_id"]
    ada = shop.customer(ADA)
    merged(shop, ada, twin)

    shop.sync()

    assert (shop.statuses(), shop.member(ADA)["contact_id"]) == ({ADA: "subscribed"}, contact)
    settled(shop)


def test_the_member_made_for_the_other_record_is_the_kept_ones_when_that_moves_later(shop):
    shop.audience()
    ada, twin = shop.customer(ADA), shop.consenting(ADA)
    shop.sync()
    contact = shop.member(ADA)["contact_id"]
    kept = merged(shop, ada, twin)
    has_email(kept, NEW)

    shop.sync()

    assert (shop.statuses(), shop.member(NEW)["contact_id"]) == ({NEW: "subscribed"}, contact)


def test_both_addresses_are_looked_at_again_even_if_neither_record_seems_to_change(shop):
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)
    shop.sync()
    assert marked() == set()

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE customers_consentevent SET customer_id = %s WHERE customer_id = %s",
            [ada.pk, twin.pk],
        )

    assert marked() == {ADA, NEW}


def test_a_shop_that_is_not_connected_marks_nothing(shop):
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)

    merged(shop, ada, twin)

    assert marked() == set()


def test_a_refused_merge_leaves_the_members_with_whom_they_were(shop):
    shop.audience()
    ada, twin = shop.customer(ADA), shop.consenting(ADA)
    shop.sync()

    answer = merge.merge(shop.tenant, CLERK, kept_id=ada.pk, other_id=twin.pk, seen_as="something else")

    assert answer == merging.Refused(merging.CHANGED)
    assert KnownMember.objects.get(address=ADA).made_for == twin.pk


def test_the_sentence_shown_before_the_merge_is_what_the_rules_say_after_it(shop):
    chance = random.Random(4)
    for number in range(40):
        ada, twin, third = (shop.customer(f"{chance.choice('ab')}{number}@inbox.example") for _ in range(3))
        for _ in range(chance.randrange(5)):
            whose = chance.choice((ada, twin, third))
            at = datetime(2026, 3, chance.randrange(1, 9), tzinfo=UTC)
            state = chance.choice(("granted", "withdrawn"))
            ConsentEvent.objects.create(
                tenant=shop.tenant, customer=whose, state=state, claimed_at=at, source="intake", address=whose.address,
                actor_kind="system", actor_name="chance",
            )  # fmt: skip
        said = merge.consent_after(ada, twin, twin.email)

        kept = merged(shop, ada, twin, "email")

        verdict = consent.decide(facts.load(shop.tenant.pk, {kept.address: 0}, absence_proven=True)[0])
        event = verdict.event if isinstance(verdict, Granted) else verdict.withdrawal
        state = "never" if event is None else "granted" if event.granted else "withdrawn"
        assert (said.state, said.at, said.address) == (state, event and event.at, kept.address)


def test_without_any_address_the_newest_answer_of_both_is_told(shop):
    ada, twin = shop.customer(), shop.customer()
    shop.says_yes(ada)
    shop.says_no(twin)

    said = merge.consent_after(ada, twin, "")

    assert (said.state, said.recorded_on, said.address) == ("withdrawn", twin.pk, "")


# --- while something else goes on -------------------------------------------------------------------------------------


def test_a_merge_while_a_sync_decides_withdraws_what_it_planned(shop, monkeypatch):
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)
    plan_of = store.plan_of

    def planned(run):
        plan = plan_of(run)
        if Customer.objects.filter(pk=twin.pk).exists():
            merged(shop, ada, twin)
        return plan

    monkeypatch.setattr(store, "plan_of", planned)
    run = shop.sync()

    assert shop.statuses() == {}
    assert (run.counts["waiting"], run.book, run.faulty) == (1, 1, False)
    shop.sync()
    assert shop.statuses() == {ADA: "subscribed"}


def test_a_member_whose_call_is_under_way_is_made_for_the_one_who_stays(shop, monkeypatch):
    shop.audience()
    ada, twin = shop.customer(ADA), shop.consenting(NEW)
    send = MailchimpClient.send

    async def merging_meanwhile(self, call):
        result = await send(self, call)
        thread = threading.Thread(target=lambda: (merged(shop, ada, twin), connection.close()))
        thread.start()
        thread.join(10)
        return result

    monkeypatch.setattr(MailchimpClient, "send", merging_meanwhile)
    shop.sync()
    monkeypatch.setattr(MailchimpClient, "send", send)

    assert (shop.statuses(), KnownMember.objects.get(address=NEW).made_for) == ({NEW: "subscribed"}, ada.pk)
    shop.sync()
    assert shop.statuses() == {ADA: "subscribed"}
    settled(shop)


def test_a_merge_during_a_long_import_says_so_and_does_nothing(shop, monkeypatch, tmp_path):
    monkeypatch.setattr(merge, "PATIENCE", "100ms")
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)
    file = tmp_path / "book.csv"
    file.write_text("first_name,email\nCleo,cleo@inbox.example\n")
    answers = []

    def progress(rows):
        thread = threading.Thread(target=during)
        thread.start()
        thread.join(10)

    def during():
        try:
            answers.append(merge.merge(shop.tenant, CLERK, kept_id=ada.pk, other_id=twin.pk))
        finally:
            connection.close()

    importing.import_customers(shop.tenant, CLERK, file, progress=progress)

    assert answers == [merging.Refused(merge.BUSY)]
    assert Customer.objects.filter(pk=twin.pk).exists()
    merged(shop, ada, twin)


def test_a_merge_does_not_wait_long_for_a_sync_that_is_writing(shop, monkeypatch):
    monkeypatch.setattr(merge, "PATIENCE", "100ms")
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.consenting(NEW)
    with transaction.atomic():
        from nexpura.sync import runs

        run, _ = runs.create(shop.tenant, CLERK, "manual", past_brake=True)
    begun = store.begin(run.pk)
    answers = []

    def during():
        try:
            answers.append(merge.merge(shop.tenant, CLERK, kept_id=ada.pk, other_id=twin.pk))
        finally:
            connection.close()

    with transaction.atomic():
        store.fence(begun.tenant_id, begun.id, begun.token)
        thread = threading.Thread(target=during)
        thread.start()
        thread.join(10)

    assert answers == [merging.Refused(merge.BUSY)]
    assert MemberResult.objects.count() == 0


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_merges_and_says_what_came_of_it(shop):
    ada, twin = shop.customer(ADA), shop.consenting(ADA)
    out = io.StringIO()

    call_command("merge_customers", str(ada.pk), str(twin.pk), tenant="opal", json=True, stdout=out)

    assert json.loads(out.getvalue()) == {"customer_id": ada.pk, "merged": twin.pk, "consent": "granted"}
    assert AuditEvent.objects.get(action="customer.merged").actor_kind == "command"


def test_the_command_refuses_with_exit_code_two(shop):
    ada = shop.customer(ADA)

    with pytest.raises(CommandError, match="not in the book") as refused:
        call_command("merge_customers", str(ada.pk), "4711", tenant="opal")

    assert refused.value.returncode == 2


# --- an address changed in Mailchimp ----------------------------------------------------------------------------------


def renamed(shop, email: str = NEW, first: str = "Ada") -> Customer:
    """Ada agreed, was added by us, and gave herself another address in Mailchimp."""
    shop.audience()
    ada = shop.consenting(ADA, first=first)
    shop.sync()
    shop.person(ADA, "address", new_email=email)
    shop.sync()
    assert shop.statuses() == {email: "subscribed"}
    return ada


def test_the_new_address_taken_over_is_in_the_book_and_costs_no_write(shop):
    ada = renamed(shop)

    answer = renames.take_over(shop.tenant, CLERK, ada, NEW)

    assert isinstance(answer, Answered)
    assert email_of(ada) == NEW
    run = shop.sync()
    assert (shop.statuses(), run.synced, run.counts["agreement"]) == ({NEW: "subscribed"}, 1, 1)
    settled(shop)
    line = AuditEvent.objects.get(action="customer.address_taken_over")
    assert (line.before, line.after, line.actor_name) == ({"email": ADA}, {"email": NEW}, CLERK.name)


def test_the_member_taken_over_is_ours_again_and_moves_with_its_customer(shop):
    ada = renamed(shop)
    contact = shop.member(NEW)["contact_id"]
    renames.take_over(shop.tenant, CLERK, ada, NEW)
    shop.sync()
    has_email(ada, NEWER)

    shop.sync()

    assert (shop.statuses(), shop.member(NEWER)["contact_id"]) == ({NEWER: "subscribed"}, contact)
    settled(shop)


def test_tags_we_set_before_the_person_changed_their_address_can_still_be_removed(shop):
    shop.audience()
    ada = shop.customer(ADA)
    Customer.objects.filter(pk=ada.pk).update(tags=["vip", "rings"])
    shop.says_yes(ada)
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    shop.sync()
    renames.take_over(shop.tenant, CLERK, ada, NEW)
    Customer.objects.filter(pk=ada.pk).update(tags=["rings"])

    shop.sync()

    assert shop.member(NEW)["tags"] == ["rings"]
    settled(shop)


def test_the_old_address_kept_is_added_in_its_own_right_and_the_new_one_left_alone(shop):
    ada = renamed(shop)

    answer = renames.keep(shop.tenant, CLERK, ada, NEW)

    assert isinstance(answer, Answered)
    assert [method for method, _ in written_by_a_sync(shop)] == ["PUT"]
    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}
    settled(shop)
    assert AuditEvent.objects.filter(action="customer.address_kept", subject_id=ada.pk).count() == 1


def test_the_member_at_the_new_address_is_not_ours_after_the_old_one_was_kept(shop):
    ada = renamed(shop)
    renames.keep(shop.tenant, CLERK, ada, NEW)
    shop.sync()
    has_email(ada, NEWER)

    shop.sync()

    assert shop.statuses() == {NEWER: "subscribed", NEW: "subscribed"}


@pytest.mark.parametrize("what", ["the customer has no address any more", "the customer has yet another address"])
def test_nothing_of_ours_ends_the_member_whose_person_changed_the_address(shop, what):
    ada = renamed(shop)
    has_email(ada, "" if "no address" in what else NEWER)

    shop.sync()

    assert shop.statuses()[NEW] == "subscribed"
    settled(shop)


def test_a_no_at_the_new_address_is_a_no_of_the_customer_and_keeping_the_old_one_subscribes_nobody(shop):
    ada = renamed(shop)
    shop.person(NEW, "unsubscribe")
    shop.sync()

    ada.refresh_from_db()
    assert ada.consent_state == "withdrawn"
    renames.keep(shop.tenant, CLERK, ada, NEW)
    shop.sync()
    assert shop.statuses() == {NEW: "unsubscribed"}


def test_whoever_changed_the_address_and_left_between_two_syncs_has_said_no(shop):
    shop.audience()
    ada = shop.consenting(ADA)
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    shop.person(NEW, "unsubscribe")

    shop.sync()

    ada.refresh_from_db()
    assert ada.consent_state == "withdrawn"
    assert shop.statuses() == {NEW: "unsubscribed"}


def test_whoever_was_unsubscribed_before_and_changes_the_address_says_no_to_nobody(shop):
    shop.audience({"email_address": ADA, "status": "unsubscribed"})
    twin = shop.customer(NEW)
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)

    shop.sync()

    twin.refresh_from_db()
    assert (twin.consent_state, shop.statuses()) == ("never", {NEW: "unsubscribed"})


def test_a_no_of_somebody_else_at_the_new_address_is_not_the_customers(shop):
    ada = renamed(shop)
    shop.person(NEW, "delete_permanent")
    shop.person(NEW, "signup")
    shop.sync()
    shop.person(NEW, "unsubscribe")

    shop.sync()

    ada.refresh_from_db()
    assert ada.consent_state == "granted"


def test_whoever_left_at_the_new_address_and_signed_up_again_is_left_alone_once_it_is_taken_over(shop):
    ada = renamed(shop)
    shop.person(NEW, "unsubscribe")
    shop.sync()
    shop.person(NEW, "signup")
    shop.sync()
    renames.take_over(shop.tenant, CLERK, ada, NEW)

    run = shop.sync()

    assert (shop.statuses(), run.counts["kept"]) == ({NEW: "subscribed"}, 1)
    settled(shop)


def test_a_no_here_reaches_the_new_address_once_it_is_taken_over(shop):
    ada = renamed(shop)
    shop.says_no(ada)
    shop.sync()
    assert shop.statuses() == {NEW: "subscribed"}
    renames.take_over(shop.tenant, CLERK, ada, NEW)

    shop.sync()

    assert shop.statuses() == {NEW: "unsubscribed"}
    settled(shop)


def test_whoever_changes_the_address_twice_is_proposed_with_the_newest(shop):
    ada = renamed(shop)
    shop.person(NEW, "address", new_email=NEWER)
    shop.sync()

    assert renames.proposal_for(shop.tenant, ada).new_address == NEWER
    assert renames.take_over(shop.tenant, CLERK, ada, NEW) == Refused(renames.CHANGED)
    renames.take_over(shop.tenant, CLERK, ada, NEWER)
    settled(shop)
    assert KnownMember.objects.get(address=NEWER).added_by_us


def test_whoever_changes_back_is_where_they_were_and_ours_as_before(shop):
    ada = renamed(shop)
    shop.person(NEW, "address", new_email=ADA)

    run = shop.sync()

    assert (run.synced, renames.proposal_for(shop.tenant, ada)) == (1, None)
    assert KnownMember.objects.get(address=ADA).added_by_us
    settled(shop)


def test_somebody_who_signs_up_at_the_address_that_was_left_is_not_ours(shop):
    ada = renamed(shop)
    shop.person(ADA, "signup")
    shop.sync()
    assert renames.proposal_for(shop.tenant, ada) is None
    has_email(ada, "")

    shop.sync()

    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}


def test_an_address_changed_while_a_sync_is_sending_is_proposed_and_not_added_again(shop, monkeypatch):
    shop.audience()
    ada = shop.consenting(ADA, first="Ada")
    shop.sync()
    Customer.objects.filter(pk=ada.pk).update(first_name="Augusta")
    send = MailchimpClient.send

    async def after_the_person(self, call):
        if ADA in shop.statuses():
            shop.person(ADA, "address", new_email=NEW)
        return await send(self, call)

    monkeypatch.setattr(MailchimpClient, "send", after_the_person)
    shop.sync()
    monkeypatch.setattr(MailchimpClient, "send", send)
    run = shop.sync()

    assert (shop.statuses(), run.counts["kept"]) == ({NEW: "subscribed"}, 1)
    assert renames.proposal_for(shop.tenant, ada).new_address == NEW
    renames.take_over(shop.tenant, CLERK, ada, NEW)
    assert KnownMember.objects.get(address=NEW).added_by_us


def test_the_new_address_of_another_customer_is_not_taken_over_but_merged(shop):
    ada = renamed(shop)
    contact = shop.member(NEW)["contact_id"]
    twin = shop.customer(NEW)

    assert renames.take_over(shop.tenant, CLERK, ada, NEW) == Refused(renames.TAKEN)
    assert [one.pk for one in renames.proposal_for(shop.tenant, ada).holders] == [twin.pk]
    kept = merged(shop, ada, twin, "email")
    assert kept.email == NEW
    settled(shop)
    has_email(kept, NEWER)
    shop.sync()
    assert (shop.statuses(), shop.member(NEWER)["contact_id"]) == ({NEWER: "subscribed"}, contact)


def test_an_import_that_brings_the_new_address_is_as_good_as_taking_it_over(shop):
    ada = renamed(shop)
    has_email(ada, NEW)

    settled(shop)

    known = KnownMember.objects.get(address=NEW)
    assert (known.added_by_us, known.made_for, renames.count(shop.tenant)) == (True, ada.pk, 0)


def test_of_two_addresses_a_person_left_only_the_one_they_took_in_the_book_is_ours_again(shop):
    shop.audience()
    ada, twin = shop.consenting(ADA), shop.consenting("gusta@inbox.example")
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    shop.person("gusta@inbox.example", "address", new_email=NEWER)
    shop.sync()
    kept = merged(shop, ada, twin)
    has_email(kept, NEW)

    shop.sync()

    ours = dict(KnownMember.objects.filter(status="subscribed").values_list("address", "added_by_us"))
    assert ours == {NEW: True, NEWER: False}
    assert shop.statuses() == {NEW: "subscribed", NEWER: "subscribed"}
    settled(shop)


def test_the_question_stays_open_for_somebody_else_who_holds_the_old_address(shop):
    shop.audience()
    ada, bea = shop.consenting(ADA, first="Ada"), shop.consenting(ADA, first="Bea")
    shop.sync()
    shop.person(ADA, "address", new_email=NEW)
    shop.sync()
    renames.take_over(shop.tenant, CLERK, ada, NEW)

    shop.sync()

    assert shop.statuses() == {NEW: "subscribed"}
    assert [one.pk for one in renames.proposal_for(shop.tenant, bea).holders] == [ada.pk]
    renames.keep(shop.tenant, CLERK, bea, NEW)
    shop.sync()
    assert shop.statuses() == {ADA: "subscribed", NEW: "subscribed"}
    settled(shop)


@pytest.mark.parametrize("answer", [renames.take_over, renames.keep])
def test_an_answer_to_what_is_not_asked_any_more_changes_nothing(shop, answer):
    ada = renamed(shop)
    assert answer(shop.tenant, CLERK, ada, "somebody@else.example") == Refused(renames.CHANGED)
    stale = Customer.objects.get(pk=ada.pk)
    has_email(ada, NEWER)

    assert answer(shop.tenant, CLERK, stale, NEW) == Refused(renames.CHANGED)

    assert email_of(ada) == NEWER


def test_the_panel_counts_who_changed_their_address_as_long_as_the_audience_is_connected(shop):
    ada = renamed(shop)
    state = panel.state(shop.tenant)
    assert (state.renamed_count, [one.customer.pk for one in state.renamed]) == (1, [ada.pk])

    connect.disconnect(shop.tenant, CLERK)

    assert panel.state(shop.tenant).renamed_count == 0
    assert renames.proposal_for(shop.tenant, ada) is None


def test_a_no_that_waits_for_an_answer_counts_among_the_opt_outs_not_yet_in_mailchimp(shop):
    ada = renamed(shop)
    nobody_said_no = panel.unsent_opt_outs(shop.tenant)
    shop.says_no(ada)
    said = panel.unsent_opt_outs(shop.tenant)
    shop.sync()
    synced = panel.unsent_opt_outs(shop.tenant)
    renames.take_over(shop.tenant, CLERK, ada, NEW)
    answered = panel.unsent_opt_outs(shop.tenant)
    shop.sync()

    assert nobody_said_no == panel.unsent_opt_outs(shop.tenant) == Unsent(0, 0)
    assert said == synced == Unsent(to_send=0, to_answer=1)
    assert answered == Unsent(to_send=1, to_answer=0)


def test_a_no_at_an_address_that_gets_no_mail_any_more_waits_for_nothing(shop):
    ada = renamed(shop)
    shop.says_no(ada)
    shop.person(NEW, "unsubscribe")
    shop.sync()

    assert panel.unsent_opt_outs(shop.tenant) == Unsent(0, 0)


def test_the_status_says_what_an_opt_out_waits_for(shop):
    shop.says_no(renamed(shop))
    out = io.StringIO()

    call_command("status", tenant="opal", stdout=out)

    assert "opt-outs not yet in Mailchimp: 1, 1 of them of people who changed their address" in out.getvalue()


def test_other_shops_see_nothing_of_a_changed_address(shop, other_tenant):
    renamed(shop)

    assert renames.count(Tenant.objects.get(pk=other_tenant.pk)) == 0
    assert renames.proposals(other_tenant, 20) == ()


def test_a_customer_with_a_newer_yes_at_the_old_address_is_still_asked_about(shop):
    ada = renamed(shop)
    ledger.record(ada, CLERK, granted=False, source="profile")
    ledger.record(ada, CLERK, granted=True, source="profile")

    run = shop.sync()

    assert (shop.statuses(), run.counts["kept"]) == ({NEW: "subscribed"}, 1)


def test_an_address_that_cannot_work_is_not_taken_over(shop):
    ada = renamed(shop)
    KnownMember.objects.filter(address=ADA).update(renamed_to="no address")

    answer = renames.take_over(shop.tenant, CLERK, ada, "no address")

    assert isinstance(answer, Refused)
    assert (email_of(ada), renames.count(shop.tenant)) == (ADA, 1)
    assert intake.normalise.email_problem("no address") in answer.reason
