"""What the sync remembers: what changed, what Mailchimp last confirmed, what each run did. A file a subject."""

from nexpura.sync.models.audiences import KnownAudience, KnownMember
from nexpura.sync.models.erasures import Erasure
from nexpura.sync.models.inbound import AddressToLookAt, HeardMessage, MessageCount, Webhook
from nexpura.sync.models.runs import LoginLease, MemberResult, SyncRun
from nexpura.sync.models.standings import AddressStanding, Bucket, DirtyAddress, StandingCount

__all__ = [
    "AddressStanding",
    "AddressToLookAt",
    "Bucket",
    "DirtyAddress",
    "Erasure",
    "HeardMessage",
    "KnownAudience",
    "KnownMember",
    "LoginLease",
    "MemberResult",
    "MessageCount",
    "StandingCount",
    "SyncRun",
    "Webhook",
]
