"""What the emulator holds of webhooks: whom to tell what, and what was told. No HTTP, no rules."""

from dataclasses import dataclass

EVENTS = (
    "subscribe",
    "unsubscribe",
    "profile",
    "cleaned",
    "upemail",
    "campaign",
    "sms_subscribe",
    "sms_unsubscribe",
    "upsms",
    "sms_campaign",
)
SOURCES = ("user", "admin", "api")


@dataclass(slots=True, eq=False)
class Webhook:
    """A URL that hears what happens in an audience. Older ones have no secret and are not signed."""

    id: str
    list_id: str
    url: str
    events: dict[str, bool]
    sources: dict[str, bool]
    secret: str | None = None
    enabled: bool = True  # until it answers 410, or is deleted

    def wants(self, event: str, source: str) -> bool:
        return self.enabled and self.events[event] and self.sources[source]

    def answers_for(self, url: str) -> bool:
        """Whether this is the same URL; what differs only behind the `?` counts as the same."""
        return _without_query(self.url) == _without_query(url)


@dataclass(slots=True, eq=False)
class Delivery:
    """One event on its way to one webhook, in the bytes that every attempt sends."""

    number: int
    hook: Webhook
    type: str
    email: str
    body: bytes
    attempts: int = 0
    first_attempt_at: int = 0
    signature: str = ""  # of the newest attempt
    replayed: bool = False  # asked for by a test: one attempt, and the signature it has if there is one


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery and what became of it: a status, or the reason why there was none."""

    delivery: Delivery
    url: str
    time: int
    number: int
    status: int | None
    error: str

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def flags(names: tuple[str, ...], given: dict[str, bool]) -> dict[str, bool]:
    """All flags in Mailchimp's order; those not given are off."""
    return {name: given.get(name, False) for name in names}


def _without_query(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]
