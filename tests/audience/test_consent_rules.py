"""The consent gate and the diff, as tables of cases; each name is the sentence a lawyer would read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexpura.audience import consent, diff, moves
from nexpura.audience.consent import Granted, Withheld
from nexpura.audience.desired import Terms, member_for
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts, Former
from nexpura.audience.member import UNKNOWN, Cause, KnownMember, OptOutRecord, Refusal, Rewritten, Status
from nexpura.audience.moves import Held
from nexpura.audience.plan import Add, Ask, Bucket, Move, NoChange, OptOut, Plan, Retag, Undo, Update
from nexpura.audience.reasons import CATALOGUE, Reason

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADDRESS = "ada@inbox.example"


def at(hours: float) -> datetime:
    return NOW - timedelta(days=30) + timedelta(hours=hours)


def yes(hours: float, number: int = 1) -> ConsentFact:
    return ConsentFact(number, True, at(hours))


def no(hours: float, number: int = 2) -> ConsentFact:
    return ConsentFact(number, False, at(hours))


def customer(*events: ConsentFact, number: int = 1, first: str = "Ada", last: str = "Byron") -> CustomerFacts:
    return CustomerFacts(number, first, last, "+61291234567", events)


def facts(*customers: CustomerFacts, withdrawals: tuple[ConsentFact, ...] = (), **more) -> AddressFacts:
    return AddressFacts(ADDRESS, customers, withdrawals, email=ADDRESS, **more)


def known(status: Status, **more) -> KnownMember:
    held = {"FNAME": "Ada", "LNAME": "Byron", "PHONE": "+61291234567"}
    return KnownMember(status, more.pop("merge_fields", held), last_changed=at(100), **more)


PLAIN = Terms()


def decided(told: AddressFacts, member: KnownMember, terms: Terms = PLAIN):
    return diff.change(consent.decide(told), told, member, terms, NOW)


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        pytest.param(facts(customer()), Reason.NEVER_ASKED, id="nobody was asked"),
        pytest.param(facts(), Reason.NOT_IN_BOOK, id="nobody holds the address"),
        pytest.param(facts(customer(yes(1))), "granted", id="a yes opens the gate"),
        pytest.param(facts(customer(yes(1), no(2))), Reason.WITHDRAWN, id="a later no shuts it"),
        pytest.param(facts(customer(no(1), yes(2))), "granted", id="a later yes opens it again"),
        pytest.param(facts(customer(yes(1), no(1))), Reason.WITHDRAWN, id="at the same moment the no wins"),
        pytest.param(facts(customer(no(1))), Reason.WITHDRAWN, id="a no needs no earlier yes"),
        pytest.param(
            facts(customer(yes(1)), customer(no(2), number=2)), Reason.WITHDRAWN, id="the no of a sharer is newer"
        ),
        pytest.param(
            facts(customer(yes(3)), customer(no(2), number=2)), "granted", id="the yes is newer than the sharer's no"
        ),
        pytest.param(
            facts(customer(yes(1)), withdrawals=(no(2),)), Reason.WITHDRAWN, id="a no recorded for the address itself"
        ),
        pytest.param(
            facts(customer(yes(3)), withdrawals=(no(2),)), "granted", id="a yes newer than the address's own no"
        ),
    ],
)
def test_the_newest_word_of_everybody_at_an_address_decides_and_a_tie_means_no(told, verdict):
    decision = consent.decide(told)

    assert ("granted" if isinstance(decision, Granted) else decision.reason) == verdict


def test_a_blank_address_has_no_gate_to_open():
    decision = consent.decide(AddressFacts("", (customer(yes(1)),)))

    assert decision == Withheld(Reason.NO_EMAIL)


def test_names_are_those_of_whoever_gave_consent_last():
    told = facts(customer(yes(1), number=1, first="Ann"), customer(yes(2, 9), number=2, first="Ben"))

    verdict = consent.decide(told)

    assert isinstance(verdict, Granted)
    assert member_for(verdict, Terms()).merge_fields["FNAME"] == "Ben"


GRANT = facts(customer(yes(1)))
WITHDRAWAL = facts(customer(yes(1), no(2)))
NEVER = facts(customer())
OURS = OptOutRecord(Cause.WITHDRAWAL, at(100))


@pytest.mark.parametrize(
    ("told", "member", "kind", "reason"),
    [
        pytest.param(GRANT, UNKNOWN, Add, None, id="yes, not a member: added"),
        pytest.param(GRANT, known(Status.SUBSCRIBED), Bucket.AGREEMENT, Reason.NONE, id="yes, subscribed: nothing"),
        pytest.param(GRANT, known(Status.UNSUBSCRIBED), Bucket.KEPT, Reason.UNSUBSCRIBED_THERE, id="their no stays"),
        pytest.param(GRANT, known(Status.CLEANED), Bucket.KEPT, Reason.CLEANED, id="a bounce stays"),
        pytest.param(GRANT, known(Status.ARCHIVED), Bucket.KEPT, Reason.ARCHIVED, id="an archived member stays"),
        pytest.param(GRANT, known(Status.TRANSACTIONAL), Bucket.KEPT, Reason.NON_SUBSCRIBED, id="unconfirmed stays"),
        pytest.param(GRANT, known(Status.PENDING), Bucket.ASKED, Reason.AWAITING_CONFIRMATION, id="pending waits"),
        pytest.param(
            GRANT, known(Status.UNSUBSCRIBED, opt_out=OURS), Undo, None, id="our own unsubscribe, untouched: undone"
        ),
        pytest.param(
            GRANT,
            replace(known(Status.UNSUBSCRIBED, opt_out=OURS), last_changed=at(101)),
            Bucket.KEPT,
            Reason.UNSUBSCRIBED_THERE,
            id="our own unsubscribe, touched since: kept",
        ),
        pytest.param(WITHDRAWAL, UNKNOWN, Bucket.WITHHELD, Reason.WITHDRAWN, id="no, not a member: nothing"),
        pytest.param(WITHDRAWAL, known(Status.SUBSCRIBED), OptOut, None, id="no, subscribed: unsubscribed"),
        pytest.param(WITHDRAWAL, known(Status.PENDING), OptOut, None, id="no, pending: unsubscribed"),
        pytest.param(
            WITHDRAWAL,
            known(Status.SUBSCRIBED, carried_out=2),
            Bucket.KEPT,
            Reason.SUBSCRIBED_AGAIN,
            id="no, carried out, subscribed again there: left alone",
        ),
        *(
            pytest.param(WITHDRAWAL, known(status), Bucket.WITHHELD, Reason.WITHDRAWN, id=f"no, {status}: stays")
            for status in (Status.UNSUBSCRIBED, Status.CLEANED, Status.ARCHIVED, Status.TRANSACTIONAL)
        ),
        pytest.param(NEVER, UNKNOWN, Bucket.WITHHELD, Reason.NEVER_ASKED, id="never asked, not a member: nothing"),
        *(
            pytest.param(NEVER, known(status), Bucket.WITHHELD, Reason.NEVER_ASKED, id=f"unasked, {status}: untouched")
            for status in Status
            if status
        ),
        pytest.param(
            facts(), known(Status.SUBSCRIBED), Bucket.WITHHELD, Reason.NOT_IN_BOOK, id="not in the book: untouched"
        ),
        pytest.param(
            facts(), known(Status.SUBSCRIBED, added_by_us=True), OptOut, None, id="moved away, and ours: unsubscribed"
        ),
        pytest.param(
            facts(customer(yes(1)), problem="no domain"), UNKNOWN, Bucket.FAILED, Reason.INVALID_EMAIL, id="bad address"
        ),
    ],
)  # fmt: skip
def test_for_each_verdict_and_status_there_is_one_smallest_safe_change(told, member, kind, reason):
    decision = decided(told, member)

    if reason is None:
        assert isinstance(decision, kind)
    else:
        assert (decision.bucket, decision.reason) == (kind, reason)


def test_an_audience_with_double_opt_in_asks_new_people_to_confirm():
    decision = decided(GRANT, UNKNOWN, Terms(double_optin=True))

    assert isinstance(decision, Add)
    assert decision.status_if_new is Status.PENDING


def test_a_withdrawal_counts_as_carried_out_only_if_absence_is_proven():
    proven = decided(WITHDRAWAL, UNKNOWN)
    unproven = decided(replace(WITHDRAWAL, absence_proven=False), UNKNOWN)

    assert (proven.carried_out, unproven.carried_out) == (2, None)


def test_only_what_differs_is_sent_and_blanks_never():
    told = facts(customer(yes(1), first="Ada", last=" "))

    decision = decided(
        told, known(Status.SUBSCRIBED, merge_fields={"FNAME": "A", "LNAME": "B", "PHONE": "+61291234567"})
    )

    assert isinstance(decision, Update)
    assert (decision.before, decision.merge_fields) == ({"FNAME": "A"}, {"FNAME": "Ada"})


def test_a_value_mailchimp_rewrote_is_not_sent_for_ever():
    rewritten = {"PHONE": Rewritten("+61291234567", "(02) 9123 4567")}
    held = {"FNAME": "Ada", "LNAME": "Byron", "PHONE": "(02) 9123 4567"}

    decision = decided(GRANT, known(Status.SUBSCRIBED, merge_fields=held, rewritten=rewritten))

    assert decision == NoChange(Bucket.AGREEMENT)


def test_a_refusal_stands_until_something_changes():
    fields = member_for(consent.decide(GRANT), Terms()).merge_fields
    refused = replace(UNKNOWN, refusal=Refusal("fake_email", diff.fingerprint(fields)))
    changed = facts(customer(yes(1), last="King"))

    assert decided(GRANT, refused) == NoChange(Bucket.FAILED, Reason.FAKE_EMAIL)
    assert isinstance(decided(changed, refused), Add)


@pytest.mark.parametrize(("hours", "again"), [(-1, True), (1, False)])
def test_a_passing_refusal_is_tried_again_at_its_time(hours, again):
    fields = member_for(consent.decide(GRANT), Terms()).merge_fields
    retry_at = NOW + timedelta(hours=hours)
    refused = replace(UNKNOWN, refusal=Refusal("throttled", diff.fingerprint(fields), retry_at))

    decision = decided(GRANT, refused)

    assert isinstance(decision, Add) is again


def test_a_text_longer_than_mailchimp_keeps_is_cut_between_letters():
    told = facts(customer(yes(1), first="é" * 200))

    fields = member_for(consent.decide(told), Terms()).merge_fields

    assert fields["FNAME"] == "é" * 127


MAY_ASK = Terms(may_ask=True)


@pytest.mark.parametrize(
    ("said_yes", "left", "terms", "more", "asked"),
    [
        pytest.param(3, 2, MAY_ASK, {}, True, id="a newer yes, and the shop allows it: asked"),
        pytest.param(3, 2, PLAIN, {}, False, id="the shop does not allow it: left alone"),
        pytest.param(1, 2, MAY_ASK, {}, False, id="the yes is older than their leaving: left alone"),
        pytest.param(2, 2, MAY_ASK, {}, False, id="within one second the no is the later word"),
        pytest.param(3, 2, MAY_ASK, {"asked_for": 1}, False, id="asked for this yes before: once is enough"),
        pytest.param(3, 2, MAY_ASK, {"asked_for": 0}, True, id="asked for an older yes: this one is newer"),
    ],
)
def test_who_left_by_themselves_is_asked_to_confirm_once_after_a_newer_yes(said_yes, left, terms, more, asked):
    member = known(Status.UNSUBSCRIBED, status_since=at(left), **more)

    decision = decided(facts(customer(yes(said_yes))), member, terms)

    assert isinstance(decision, Ask) is asked


@pytest.mark.parametrize("status", [Status.CLEANED, Status.ARCHIVED, Status.TRANSACTIONAL])
def test_who_bounced_or_was_archived_is_never_asked_to_come_back(status):
    decision = decided(GRANT, known(status, status_since=at(0)), MAY_ASK)

    assert (decision.bucket, isinstance(decision, NoChange)) == (Bucket.KEPT, True)


def test_a_refused_undo_may_still_become_a_question_to_the_person():
    fields = member_for(consent.decide(GRANT), Terms()).merge_fields
    refused = Refusal("compliance_state", diff.fingerprint(fields))
    member = known(Status.UNSUBSCRIBED, status_since=at(0), refusal=refused)

    assert decided(GRANT, member) == NoChange(Bucket.KEPT, Reason.COMPLIANCE)
    assert isinstance(decided(GRANT, member, MAY_ASK), Ask)


def test_an_address_changed_in_mailchimp_waits_for_the_shop():
    decision = decided(GRANT, replace(UNKNOWN, renamed_to="ada@new.example"))

    assert decision == NoChange(Bucket.KEPT, Reason.RENAMED)


def test_a_no_is_not_carried_out_by_absence_where_the_person_only_changed_their_address():
    gone = decided(WITHDRAWAL, UNKNOWN)
    elsewhere = decided(WITHDRAWAL, replace(UNKNOWN, renamed_to="ada@new.example"))

    assert gone.carried_out == WITHDRAWAL.customers[0].events[-1].id
    assert elsewhere == replace(gone, carried_out=None)


OLD = "ada@old.example"
MADE_FOR_HER = known(Status.SUBSCRIBED, added_by_us=True, made_for=1, contact_id="c1")


def left(*events: ConsentFact, **more) -> Held:
    """The old address, which nobody holds any more."""
    return Held.of(AddressFacts(OLD, (), events, version=7), replace(MADE_FOR_HER, **more))


@pytest.mark.parametrize(
    ("new", "old", "terms", "moved"),
    [
        pytest.param(
            Held.of(GRANT, UNKNOWN), left(), PLAIN, True, id="made for her, subscribed, new address free: moved"
        ),
        pytest.param(Held.of(GRANT, UNKNOWN), left(added_by_us=False), PLAIN, False, id="not ours"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(made_for=2), PLAIN, False, id="made for somebody else"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(status=Status.PENDING), PLAIN, False, id="never confirmed"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(status=Status.UNSUBSCRIBED), PLAIN, False, id="has left"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(opt_out=OURS), PLAIN, False, id="we ended it"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(no(2)), PLAIN, False, id="somebody said no at the old address"),
        pytest.param(
            Held.of(GRANT, UNKNOWN),
            Held.of(AddressFacts(OLD, (customer(yes(1), number=2),)), MADE_FOR_HER),
            PLAIN,
            False,
            id="somebody else consents at the old address",
        ),
        pytest.param(Held.of(GRANT, known(Status.UNSUBSCRIBED)), left(), PLAIN, False, id="the new address is taken"),
        pytest.param(
            Held.of(replace(GRANT, absence_proven=False), UNKNOWN),
            left(),
            PLAIN,
            False,
            id="nobody knows if it is taken",
        ),
        pytest.param(Held.of(GRANT, UNKNOWN), left(), Terms(double_optin=True), False, id="newcomers have to confirm"),
        pytest.param(Held.of(WITHDRAWAL, UNKNOWN), left(), PLAIN, False, id="no consent at the new address"),
        pytest.param(Held.of(replace(GRANT, problem="bad"), UNKNOWN), left(), PLAIN, False, id="no such address"),
        pytest.param(Held.of(GRANT, UNKNOWN), left(move_refused=True), PLAIN, False, id="Mailchimp refused it before"),
    ],
)
def test_only_a_member_of_ours_moves_and_only_where_nobody_is_in_the_way(new, old, terms, moved):
    former = moves.former_of(new, [old], terms)

    assert former == (Former(OLD, "c1", 7) if moved else None)


def test_a_member_of_ours_is_moved_to_the_new_address_and_not_ended_at_the_old_one():
    arrives = replace(GRANT, moves_from=Former(OLD, "c1", 7))
    leaves = AddressFacts(OLD, moves_away=True)

    moved = decided(arrives, UNKNOWN)
    left_alone = decided(leaves, MADE_FOR_HER)

    assert isinstance(moved, Move)
    assert (moved.from_address, moved.from_version, moved.customer_id) == (OLD, 7, 1)
    assert left_alone == NoChange(Bucket.WITHHELD, Reason.MOVING, undecided=True)


def tagged(*tags: str) -> AddressFacts:
    return facts(replace(customer(yes(1)), tags=tags))


def retag(told: AddressFacts, member: KnownMember) -> Retag | None:
    verdict = consent.decide(told)
    return diff.retag(verdict, diff.change(verdict, told, member, PLAIN, NOW), member)


@pytest.mark.parametrize(
    ("wanted", "held", "ours", "change"),
    [
        pytest.param(("vip",), (), (), Retag(("vip",), ()), id="a tag of the book is set"),
        pytest.param((), ("vip",), ("vip",), Retag((), ("vip",)), id="a tag that we set is taken off"),
        pytest.param((), ("vip",), (), None, id="a tag that others set stays"),
        pytest.param(("vip",), ("VIP",), (), None, id="the same tag in other case is there already"),
        pytest.param(("vip",), ("vip",), ("vip",), None, id="nothing to do"),
        pytest.param((), (), ("vip",), None, id="somebody took ours off: nothing to take off"),
        pytest.param(("b",), ("a",), ("a",), Retag(("b",), ("a",)), id="one for the other"),
        pytest.param(
            ("vip",), tuple(f"t{n}" for n in range(50)), ("vip",), None, id="of more than fifty Mailchimp tells fifty"
        ),
    ],
)
def test_tags_of_the_book_are_set_and_only_ours_are_taken_off(wanted, held, ours, change):
    member = known(Status.SUBSCRIBED, tags=held, our_tags=ours)

    assert retag(tagged(*wanted), member) == change


@pytest.mark.parametrize(
    ("told", "member"),
    [
        pytest.param(tagged("vip"), UNKNOWN, id="a new member's tags go with its making"),
        pytest.param(tagged("vip"), known(Status.UNSUBSCRIBED), id="has left"),
        pytest.param(facts(replace(customer(), tags=("vip",))), known(Status.SUBSCRIBED), id="never asked"),
        pytest.param(facts(replace(customer(no(1)), tags=("vip",))), known(Status.SUBSCRIBED), id="withdrew"),
    ],
)
def test_nobody_without_consent_is_tagged(told, member):
    assert retag(told, member) is None


def test_tags_are_sent_once_each_and_trimmed():
    fields = member_for(consent.decide(tagged(" VIP ", "vip", "", "gold  rings")), PLAIN)

    assert fields.tags == ("VIP", "gold rings")


@pytest.mark.parametrize(
    ("phone", "sent"), [("+14045551212", "404-555-1212"), ("+61291234567", None), ("+11045551212", None)]
)
def test_a_us_phone_field_gets_american_numbers_in_its_own_form_only(phone, sent):
    told = facts(replace(customer(yes(1)), phone=phone))

    fields = member_for(consent.decide(told), Terms(us_phones=frozenset({"PHONE"}))).merge_fields

    assert fields.get("PHONE") == sent


def test_permissions_go_with_adds_undos_and_questions_and_never_with_updates():
    terms = Terms(permissions=("gdpr1",), may_ask=True)
    undone = known(Status.UNSUBSCRIBED, opt_out=OURS)

    added = decided(GRANT, UNKNOWN, terms)
    again = decided(GRANT, undone, terms)
    asked = decided(GRANT, known(Status.UNSUBSCRIBED, status_since=at(0)), terms)
    updated = decided(GRANT, known(Status.SUBSCRIBED, merge_fields={}), terms)

    assert [one.permissions for one in (added, again, asked)] == [("gdpr1",)] * 3
    assert isinstance(updated, Update)


@pytest.mark.parametrize(
    ("opt_outs", "subscribed", "stops"),
    [(10, 10, False), (11, 220, False), (11, 219, True), (500, 10_000, False), (501, 10_000, True)],
)
def test_more_than_ten_people_and_five_per_cent_need_a_person(opt_outs, subscribed, stops):
    assert Plan(opt_outs=opt_outs, subscribed=subscribed).needs_a_person is stops


def test_every_reason_has_a_sentence_and_a_remedy():
    assert set(CATALOGUE) == set(Reason)
    assert all(told.sentence and told.remedy for told in CATALOGUE.values())


events = st.builds(ConsentFact, st.integers(1, 99), st.booleans(), st.integers(0, 5).map(at))
customers = st.builds(
    lambda number, listed: CustomerFacts(number, "A", "B", "", tuple(listed)), st.integers(1, 9), st.lists(events)
)
members = st.builds(
    KnownMember,
    st.sampled_from(list(Status)),
    st.just({}),
    last_changed=st.integers(0, 3).map(at),
    added_by_us=st.booleans(),
    opt_out=st.none() | st.builds(OptOutRecord, st.sampled_from(list(Cause)), st.integers(0, 3).map(at)),
    carried_out=st.none() | st.integers(1, 99),
    status_since=st.none() | st.integers(0, 3).map(at),
    asked_for=st.none() | st.integers(1, 99),
)


@given(st.lists(customers, max_size=3), st.lists(events.filter(lambda event: not event.granted), max_size=2), members)
def test_nobody_is_subscribed_without_a_grant_newer_than_every_withdrawal(holders, withdrawals, member):
    told = facts(*holders, withdrawals=tuple(withdrawals))

    decision = decided(told, member, MAY_ASK)

    everything = [event for holder in holders for event in holder.events] + withdrawals
    newest_yes = max((event.at for event in everything if event.granted), default=None)
    newest_no = max((event.at for event in everything if not event.granted), default=None)
    if isinstance(decision, Add | Undo | Ask | Move):
        assert newest_yes is not None
        assert newest_no is None or newest_no < newest_yes


@given(st.lists(customers, max_size=3), members)
def test_nobody_is_unsubscribed_without_a_withdrawal_unless_we_added_them(holders, member):
    decision = decided(facts(*holders), member)

    if isinstance(decision, OptOut):
        withdrawn = any(not event.granted for holder in holders for event in holder.events)
        assert withdrawn or member.added_by_us
        assert member.status in (Status.SUBSCRIBED, Status.PENDING)
