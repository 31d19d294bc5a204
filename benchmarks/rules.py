"""How many addresses a second the consent rules decide, without a database: verdict, change and tags.

    .venv/bin/python benchmarks/rules.py [--cases 200000]

The cases are made before the clock starts, by chance with a fixed seed: one to three customers at an address, up to
four events each, every status, tags, and what we did to the member before. The best and the median of five rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from nexpura.audience import consent, diff
from nexpura.audience.desired import Terms
from nexpura.audience.facts import AddressFacts, ConsentFact, CustomerFacts
from nexpura.audience.member import Cause, KnownMember, OptOutRecord, Status
from nexpura.audience.plan import NoChange

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("Ada", "Bea", "Zoë", "", "A name that is rather longer than most names are")
TAGS = ("vip", "rings", "repairs", "wholesale")
TERMS = Terms(may_ask=True)
Case = tuple[AddressFacts, KnownMember]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200_000)
    wanted = parser.parse_args()
    chance = random.Random(1)
    cases = [case(chance, number) for number in range(wanted.cases)]
    rounds = [decide_all(cases) for _ in range(5)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {wanted.cases:,} cases")
    seconds = [seconds for seconds, _ in rounds]
    print(f"median {wanted.cases / statistics.median(seconds):,.0f} a second, best {wanted.cases / min(seconds):,.0f}")
    print(", ".join(f"{name} {count:,}" for name, count in rounds[0][1].most_common()))


def decide_all(cases: list[Case]) -> tuple[float, Counter[str]]:
    decided: Counter[str] = Counter()
    started = time.perf_counter()
    for facts, known in cases:
        verdict = consent.decide(facts)
        decision = diff.change(verdict, facts, known, TERMS, NOW)
        decided[decision.bucket.value if isinstance(decision, NoChange) else type(decision).__name__] += 1
        if diff.retag(verdict, decision, known):
            decided["Retag"] += 1
    return time.perf_counter() - started, decided


def case(chance: random.Random, number: int) -> Case:
    address = f"c{number}@inbox.example"
    customers = tuple(customer(chance, number * 3 + place) for place in range(chance.choice((1, 1, 1, 2, 3))))
    return AddressFacts(address, customers, email=address), member(chance)


def customer(chance: random.Random, number: int) -> CustomerFacts:
    events = tuple(
        ConsentFact(number * 4 + place, chance.random() < 0.7, moment(chance)) for place in range(chance.randrange(5))
    )
    tags = tuple(chance.sample(TAGS, chance.randrange(3)))
    return CustomerFacts(number, chance.choice(NAMES), chance.choice(NAMES), "+61291234567", events, tags)


def member(chance: random.Random) -> KnownMember:
    status = chance.choices(list(Status), (8, 3, 1, 1, 1, 1, 5))[0]
    if status is Status.ABSENT:
        return KnownMember(status)
    changed = moment(chance)
    ours = chance.random() < 0.5
    return KnownMember(
        status,
        {"FNAME": chance.choice(NAMES), "LNAME": chance.choice(NAMES), "PHONE": "+61291234567"},
        last_changed=changed,
        status_since=changed,
        tags=tuple(chance.sample(TAGS, chance.randrange(3))),
        added_by_us=ours,
        opt_out=OptOutRecord(Cause.WITHDRAWAL, changed) if ours and status is Status.UNSUBSCRIBED else None,
    )


def moment(chance: random.Random) -> datetime:
    return NOW - timedelta(hours=chance.randrange(10_000))


if __name__ == "__main__":
    main()
