"""Failures and slowness a test asks for."""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field

KINDS = ("429", "403", "500", "502", "503", "reset", "hang", "truncate", "malformed")
STATUS_KINDS = ("429", "403", "500", "502", "503")


@dataclass(slots=True)
class Fault:
    """A failure and when it strikes: the n-th matching requests, every n-th, by chance, or always."""

    kind: str
    method: str = ""
    path: re.Pattern[str] | None = None
    nth: frozenset[int] = frozenset()
    every: int = 0
    probability: float | None = None
    times: int | None = None
    when: str = "before"
    retry_after: int | None = None
    body: bool = True
    seconds: float = 120.0  # Mailchimp cuts a call after this long
    seen: int = 0
    struck: int = 0

    def strikes(self, method: str, path: str, chance: random.Random) -> bool:
        """Count the request if it matches; whether it fails."""
        if not _matches(self.method, self.path, method, path):
            return False
        self.seen += 1
        if self.times is not None and self.struck >= self.times:
            return False
        if self.nth and self.seen not in self.nth:
            return False
        if self.every and self.seen % self.every:
            return False
        if self.probability is not None and chance.random() >= self.probability:
            return False
        self.struck += 1
        return True


@dataclass(slots=True)
class Latency:
    """How long a call takes. Half passes before the write, half between the write and the reply."""

    base_ms: float = 0.0
    per_member_ms: float = 0.0
    jitter_ms: float = 0.0
    method: str = ""
    path: re.Pattern[str] | None = None


@dataclass(slots=True)
class Weather:
    """What is asked of the emulator just now; the dice are thrown the same way after every reset."""

    faults: list[Fault] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311

    def fault_for(self, method: str, path: str, kinds: Collection[str] = KINDS) -> Fault | None:
        """The first fault of these kinds that strikes; every one of them counts the request."""
        asked = [fault for fault in self.faults if fault.kind in kinds]
        struck = [fault for fault in asked if fault.strikes(method, path, self.chance)]
        return struck[0] if struck else None

    def seconds_for(self, method: str, path: str, members: int) -> float:
        for latency in self.latencies:
            if _matches(latency.method, latency.path, method, path):
                jitter = self.chance.uniform(0, latency.jitter_ms) if latency.jitter_ms else 0.0
                return (latency.base_ms + latency.per_member_ms * members + jitter) / 1000
        return 0.0


def _matches(wanted: str, pattern: re.Pattern[str] | None, method: str, path: str) -> bool:
    return (not wanted or wanted == method) and (pattern is None or pattern.search(path) is not None)
