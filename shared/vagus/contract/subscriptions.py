"""Subscriptions: which events somebody wants, and how far a durable subscription has come."""

from functools import lru_cache
from itertools import product
from typing import Final

import msgspec
from blake3 import blake3

from vagus.contract import limits
from vagus.contract.errors import Malformed
from vagus.contract.ids import check_id
from vagus.contract.subjects import Subjects

KIND_CHARS: Final = 64
"""Of the name of a kind, as it stands in a subject."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events: those that fit every field that is given; an empty field fits all.

    Raises `InvalidId` or `Malformed` where a value cannot be one.
    """

    sessions: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    """Names as on the wire, such as `ToolCallRequested`."""
    owner: str | None = None
    """Of the session. Not in the subject: whoever reads looks it up."""

    def __post_init__(self) -> None:
        for session in self.sessions:
            check_id("session id", session)
        for branch in self.branches:
            check_id("branch id", branch)
        for kind in self.kinds:
            if not (kind.isascii() and kind.isalnum() and len(kind) <= KIND_CHARS):
                raise Malformed(f"not a kind of event: {kind[:80]!r}; use a name such as ToolCallRequested")

    def fits(self, session: str, branch: str, kind: str) -> bool:
        """Whether an event is wanted, as far as its subject tells; not the owner."""
        return (
            (not self.sessions or session in self.sessions)
            and (not self.branches or branch in self.branches)
            and (not self.kinds or kind in self.kinds)
        )

    def subjects(self, names: Subjects) -> tuple[str, ...]:
        """What to ask the server for: all that is wanted, and more where that would be too many subjects."""
        tokens = [sorted(set(field)) or ["*"] for field in (self.sessions, self.branches, self.kinds)]
        while len(tokens[0]) * len(tokens[1]) * len(tokens[2]) > limits.FILTER_SUBJECTS:
            tokens[tokens.index(max(tokens, key=len))] = ["*"]
        return tuple(names.event(*each) for each in product(*tokens))


class Cursor(msgspec.Struct, frozen=True):
    """A place in the stream of events: a subscription that starts there begins with what comes after it."""

    position: int


class Subscribed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A durable subscription, in the bucket `SUBSCRIPTIONS` under its name; never changed."""

    filter: Filter
    partitions: int
    """Sessions are spread over so many shares, of which each has one holder at a time."""
    after: int
    """It began after this sequence of the stream."""
    created_at: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one share of a durable subscription has come, under `<name>.<partition>`.

    All up to `position` is done, but for what is `open`.
    """

    position: int
    """A sequence of the stream."""
    open: dict[int, int] = msgspec.field(default_factory=dict)
    """What is not done, with how often it has failed."""
    tried_s: dict[int, float] = msgspec.field(default_factory=dict)
    """Of what is open, for how many seconds its holders had failed with it when this was written; that
    nobody held the share is no part of it. Only of subscribers that ask for it."""
    holder: str | None = None
    """The lease of who works on it; None: it was put down in good order."""


class Revived(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dead letter that a durable subscription is given again.

    It stands under `<name>.<partition>.<session>.<id of the letter>`. Whoever holds the partition removes it
    when it is done.
    """

    position: int
    """Of the event in the stream, where it may be no more."""
    event: msgspec.Raw
    """As it stands on the log."""
    attempts: int = 0
    """How often it was handed out since it came back."""


@lru_cache(maxsize=4096)
def partition_of(session: str, partitions: int) -> int:
    """The share that a session's events belong to."""
    return int.from_bytes(blake3(session.encode()).digest(4), "big") % partitions
