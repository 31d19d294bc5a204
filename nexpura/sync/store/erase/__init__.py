"""A customer erased: whatever names them goes in one transaction, and a receipt without an address stays (B11).

erasing.erase     the transaction, whole
whom              whom it is about: Person, and the Errand to Mailchimp
forgotten         what goes
told              until Mailchimp has been told: taken, put off, done
"""

from nexpura.sync.store.erase.erasing import erase
from nexpura.sync.store.erase.told import (
    Told,
    done,
    in_doubt,
    is_over,
    open_errand,
    perhaps_ours,
    put_off,
    queue_due,
    seal_anew,
    take,
    wake,
)
from nexpura.sync.store.erase.whom import Errand, Person, errand_of, last_no, person_of, targets_of

__all__ = [
    "Errand",
    "Person",
    "Told",
    "done",
    "erase",
    "errand_of",
    "in_doubt",
    "is_over",
    "last_no",
    "open_errand",
    "perhaps_ours",
    "person_of",
    "put_off",
    "queue_due",
    "seal_anew",
    "take",
    "targets_of",
    "wake",
]
