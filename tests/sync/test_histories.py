"""Random histories: whatever happens in whatever order, the promises hold.

    script/test tests/sync/test_histories.py                    two hundred, always the same
    script/soak --histories 2000 --seed 7                       more of them, longer, others for every seed
    script/soak --histories 200 --kills                         with workers that are really killed

A history is played on the real database and the emulator by `tests.sync.histories`. To add something that can
happen: a method there that does it and takes it down in `truth`, and a rule here that calls it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import timedelta

from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.sync.histories import ELSEWHERE, EMAILS, EVENTS, FIELDS, GOOD, MAPPINGS, PERMISSIONS, History, Opening
from tests.sync.mortal import nursery
from tests.sync.quiet import all_is_quiet
from tests.sync.story import TALLY, a_world_for_histories
from tests.sync.truth import CHOSEN

HISTORIES = int(os.environ.get("NEXPURA_TEST_HISTORIES", "200"))
STEPS = int(os.environ.get("NEXPURA_TEST_STEPS", "14"))
SHRINK = os.environ.get("NEXPURA_TEST_SHRINK", "1") == "1"
KILLS = bool(os.environ.get("NEXPURA_TEST_REAL_KILLS"))
FAILED: list[str] = []
"""The stories that failed: of one with kills the first is all there is."""
SEED = os.environ.get("NEXPURA_TEST_SEED", "")

WHO = st.integers(0, 4)
EMAIL = st.sampled_from([*GOOD * 3, *EMAILS])
NAME = st.sampled_from(["Ada", "Zoë", "", "  ", "O'Neil", "ü" * 200])
PHONE = st.sampled_from(["+14045551212", "+61291234567", "", "unknown"])
TAGS = st.lists(st.sampled_from(["vip", "VIP", "rings", "theirs", "x" * 100]), max_size=2)
WHEN = st.sampled_from(
    ["undated", "undated", "now", "this second", "an hour ago", "last month", "as before", "next year"]
)
SAYS = st.sampled_from(["", "yes", "yes", "no"])
YES = st.booleans()
TRIGGER = st.sampled_from(["manual", "schedule"])
ROW = st.fixed_dictionaries(
    {"who": st.none() | WHO, "first": NAME, "last": NAME, "email": EMAIL, "says": SAYS, "when": WHEN, "tags": TAGS}
)
BACK = st.sampled_from(["says yes", "signs up", "left there too", "complained"])
STATUS = st.sampled_from(["subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived"])
OPENING = st.builds(
    Opening,
    double_optin=st.sampled_from([False, False, False, True]),
    permissions=st.sampled_from([False, False, True]),
    asks=st.booleans(),
    fields=st.sampled_from(["usual", "usual", *FIELDS]),
    seeds=st.lists(
        st.tuples(st.sampled_from(GOOD), STATUS, st.sampled_from(["user", "admin"])),
        max_size=2,
        unique_by=lambda seed: seed[0],
    ).map(tuple),
)
FAULT = st.fixed_dictionaries(
    {
        "how": st.sampled_from(
            [("429", "before"), ("403", "before")]  # with these Mailchimp says that it did nothing
            + [
                (kind, when)
                for kind in ("500", "502", "503", "reset", "truncate", "malformed", "hang")
                for when in ("before", "after")
            ]
        ),
        "method": st.sampled_from(["PUT", "PATCH", "PATCH", "POST", "GET"]),
        "seconds": st.just(0.01),
    },
    optional={"nth": st.integers(1, 4), "every": st.integers(1, 3), "times": st.sampled_from([1, 2, 9])},
).map(lambda fault: {"kind": fault["how"][0], "when": fault["how"][1]} | {k: v for k, v in fault.items() if k != "how"})


class Histories(RuleBasedStateMachine):
    """A shop in which anything may happen next."""

    emulator = None

    @initialize(opening=OPENING, emails=st.lists(st.sampled_from(GOOD), min_size=2, max_size=3), yes=st.booleans())
    def opens(self, opening, emails, yes):
        TALLY["histories"] += 1
        self.history = History(self.emulator, opening, tell=note)
        for number, email in enumerate(emails):
            person = self.history.arrives(email, f"Person{number}", "Example", "", ())
            if yes or number:
                self.history.speaks(person, yes=True, when="undated")

    # --- the book ---

    @rule(email=EMAIL, first=NAME, last=NAME, phone=PHONE, tags=TAGS)
    def a_customer_arrives(self, email, first, last, phone, tags):
        self.history.arrives(email, first, last, phone, tags)

    @rule(who=WHO, yes=YES, when=WHEN)
    def somebody_speaks(self, who, yes, when):
        self.history.speaks(self.history.somebody(who), yes=yes, when=when)

    @rule(who=WHO)
    def somebody_says_yes(self, who):
        self.history.speaks(self.history.somebody(who), yes=True, when="undated")

    @rule(who=WHO)
    def somebody_says_no(self, who):
        self.history.speaks(self.history.somebody(who), yes=False, when="undated")

    @rule(who=WHO, yes=YES, when=WHEN)
    def somebody_is_said_to_have_said(self, who, yes, when):
        self.history.is_said_to_have_said(self.history.somebody(who), yes=yes, when=when)

    @rule(rows=st.lists(ROW, min_size=1, max_size=3))
    def a_file_is_imported(self, rows):
        self.history.imports(rows)

    @rule(who=WHO, email=EMAIL)
    def somebody_moves(self, who, email):
        self.history.moves(self.history.somebody(who), email)

    @rule(one=WHO, other=WHO)
    def two_swap(self, one, other):
        one, other = self.history.somebody(one), self.history.somebody(other)
        if one != other:
            self.history.swap(one, other)

    @rule(who=WHO, first=NAME, last=NAME, phone=PHONE)
    def somebody_is_renamed(self, who, first, last, phone):
        self.history.is_renamed(self.history.somebody(who), first, last, phone)

    @rule(who=WHO, tags=TAGS)
    def somebody_is_tagged(self, who, tags):
        self.history.is_tagged(self.history.somebody(who), tags)

    @rule(who=WHO, email=EMAIL, first=NAME, last=NAME, phone=PHONE, tags=TAGS)
    def somebody_is_edited(self, who, email, first, last, phone, tags):
        self.history.is_edited(self.history.somebody(who), email, first, last, phone, tags)

    @rule(one=WHO, other=WHO, from_other=st.sets(st.sampled_from(CHOSEN)))
    def two_turn_out_to_be_one(self, one, other, from_other):
        one, other = self.history.somebody(one), self.history.somebody(other)
        if one != other:
            self.history.merges(one, other, from_other)

    @rule(who=WHO, choice=st.sampled_from(["unsubscribe", "unsubscribe", "delete", "keep"]))
    def somebody_asks_to_be_forgotten(self, who, choice):
        if len(self.history.truth.people) > 1:
            self.history.erases(self.history.somebody(who), choice)

    @rule(fault=st.none() | FAULT)
    def erasures_are_carried_out(self, fault):
        self.history.carries_out_erasures(fault)

    # --- Mailchimp ---

    @rule(which=WHO, event=st.sampled_from(EVENTS), email=st.sampled_from(GOOD), first=NAME)
    def something_happens_there(self, which, event, email, first):
        self.history.acts_there(which, event, email, first)

    @rule(which=WHO, event=st.sampled_from(["unsubscribe", "unsubscribe_admin"]))
    def somebody_leaves_there(self, which, event):
        self.history.acts_there(which, event, "", "")

    @rule(who=WHO, email=st.sampled_from([*GOOD, *ELSEWHERE * 2]))
    def somebody_changes_their_address_there(self, who, email):
        self.history.changes_address_there(who, email)

    @rule(email=st.sampled_from(GOOD), first=NAME)
    def somebody_signs_up_there(self, email, first):
        self.history.signs_up(email, first)

    # --- back and forth ---

    @rule(who=WHO)
    def somebody_leaves_and_is_out(self, who):
        self.history.leaves(who)

    @rule(who=WHO, how=BACK)
    def somebody_comes_back(self, who, how):
        self.history.comes_back(who, how)

    @rule(who=WHO, how=BACK)
    def somebody_leaves_and_comes_back(self, who, how):
        self.history.leaves(who)
        self.history.comes_back(who, how)
        self.history.syncs()

    @rule(who=WHO, email=st.sampled_from([*GOOD, *ELSEWHERE * 2]), take_over=YES)
    def somebody_changes_their_address_there_and_the_shop_answers(self, who, email, take_over):
        self.history.syncs()
        self.history.changes_address_there(who, email)
        self.history.syncs()
        self.history.answers(who, take_over=take_over)

    @rule(one=WHO, other=WHO)
    def somebody_stays_with_another_for_a_while(self, one, other):
        self.history.stays_a_while(self.history.somebody(one), self.history.somebody(other))

    # --- the shop ---

    @rule(ask=YES, mapping=st.sampled_from(MAPPINGS), chosen=YES)
    def the_shop_chooses(self, ask, mapping, chosen):
        permissions = [one["id"] for one in PERMISSIONS][:chosen]
        self.history.chooses(ask_to_confirm=ask, mapping=mapping, permissions=permissions)

    @rule(who=WHO, take_over=YES)
    def the_shop_answers(self, who, take_over):
        self.history.answers(who, take_over=take_over)

    @rule()
    def the_shop_disconnects_or_connects(self):
        if self.history.connected:
            self.history.disconnects()
        else:
            self.history.connects()

    @rule(seconds=st.sampled_from([0.4, 1, 1, 2, 61, 3600, 90_000]))
    def time_passes(self, seconds):
        self.history.passes(timedelta(seconds=seconds))

    # --- syncs ---

    @rule(trigger=TRIGGER)
    def a_sync(self, trigger):
        self.history.syncs(trigger)

    @rule()
    def another_sync(self):
        self.history.syncs()

    @rule(fault=FAULT, trigger=TRIGGER)
    def a_sync_in_bad_weather(self, fault, trigger):
        self.history.syncs_in_bad_weather(fault, trigger)

    @rule(how=st.sampled_from(["killed", "killed", "stopped", "database"]), at=st.integers(1, 60))
    def a_sync_is_interrupted(self, how, at):
        self.history.is_interrupted(how, at)

    @rule()
    def nothing_happens_any_more(self):
        all_is_quiet(self.history)

    def teardown(self):
        import sys

        failing = sys.exc_info()[0]
        try:
            if failing is None and hasattr(self, "history"):
                all_is_quiet(self.history)
        except AssertionError:
            failing = AssertionError
            raise
        finally:
            if failing and issubclass(failing, AssertionError):
                FAILED.append("\n".join(self.history.lines))


class HistoriesWithKills(Histories):
    """The same, with workers that are processes of their own and killed. Not two of these end alike."""

    nursery = None

    @rule(requests=st.integers(0, 9), seconds=st.sampled_from([0, 0.001, 0.003, 0.01, 0.03]), trigger=TRIGGER)
    def a_worker_is_killed(self, requests, seconds, trigger):
        self.history.is_killed(self.nursery, requests, seconds, trigger)


def test_whatever_happens_the_promises_hold(committed, emulator, settings, record_property):
    with a_world_for_histories(settings, emulator) as overheard, ExitStack() as stack:
        Histories.emulator = emulator
        machine = HistoriesWithKills if KILLS else Histories
        if KILLS:
            HistoriesWithKills.nursery = stack.enter_context(nursery(emulator))
        try:
            run_state_machine_as_test(
                seed(int(SEED))(machine) if SEED else machine, settings=how_many(HISTORIES, STEPS)
            )
        except BaseException:
            record_property("history", FAILED[0] if FAILED else "")
            raise
        finally:
            record_property("played", dict(TALLY))

        assert overheard.told == []


def how_many(number: int, steps: int) -> settings:
    return settings(
        max_examples=number,
        stateful_step_count=steps,
        derandomize=not SEED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
        report_multiple_bugs=False,
    )
