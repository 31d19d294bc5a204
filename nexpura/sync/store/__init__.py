"""All database work of a run, one file a stage: begin, learn, work, settle, finish.

Every write of a run happens under its token: `fence` raises `RunLostError` once somebody else holds the run, so a
worker that was taken for dead cannot write after its successor began.
"""

from nexpura.sync.store.begin import Begun, Busy, Over, beat, begin, put_back, release
from nexpura.sync.store.finish import Ending, finish
from nexpura.sync.store.learn import begin_reading, keep_settings, learn, reading_ended, take_in
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
    "Over",
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
    "hand_over",
    "keep_settings",
    "learn",
    "mark_due",
    "plan_of",
    "put_back",
    "reading_ended",
    "release",
    "settle",
    "settle_landed",
    "settle_touched",
    "take_in",
]
