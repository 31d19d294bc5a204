"""All database work of a run, one file a stage: begin, learn, work, settle, finish.

Every write of a run happens under its token: `fence` raises `RunLostError` once somebody else holds the run, so a
worker that was taken for dead cannot write after its successor began.

Whoever locks several of these, in any part of the product, takes them in this order, so that nobody waits in a circle:

    integration   a run made or ended, connecting, disconnecting
    members' key  `erased.hold_still`: alone by an erasure and a merge, shared by whoever else writes members
    run           shared by `fence`, after the key; whole by whoever begins or ends it, and by erasure and merge
    audience      its row
    members       results, then the mirror, by address
    tenant        an import, a merge, a no heard in Mailchimp
    customers     by id
    marks         by address, mostly by the database's triggers

An erasure learns from the customer which members it is about, and takes them last: it is alone with them.
"""

from nexpura.sync.store.begin import Begun, Busy, Over, beat, begin, put_back, release
from nexpura.sync.store.drift import Expectation
from nexpura.sync.store.finish import Ending, finish
from nexpura.sync.store.gone import gone, missing
from nexpura.sync.store.learn import Reading, begin_reading, keep_settings, learn, reading_ended, take_in
from nexpura.sync.store.records import RunLostError, Work, fence
from nexpura.sync.store.settle import count_done, settle, settle_landed, settle_touched
from nexpura.sync.store.work import (
    cleared,
    decide_chunk,
    forget_unsent,
    give_back,
    hand_over,
    mark_due,
    plan_of,
)

__all__ = [
    "Begun",
    "Busy",
    "Ending",
    "Expectation",
    "Over",
    "Reading",
    "RunLostError",
    "Work",
    "beat",
    "begin",
    "begin_reading",
    "cleared",
    "count_done",
    "decide_chunk",
    "fence",
    "finish",
    "forget_unsent",
    "give_back",
    "gone",
    "hand_over",
    "keep_settings",
    "learn",
    "mark_due",
    "missing",
    "plan_of",
    "put_back",
    "reading_ended",
    "release",
    "settle",
    "settle_landed",
    "settle_touched",
    "take_in",
]
