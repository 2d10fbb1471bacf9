"""Messages that wait for a turn, and steering."""

from vagus.contract.events.base import U64, Kind
from vagus.contract.events.vocabulary import SteeringMode


class Queued(Kind, frozen=True, kw_only=True):
    """A message waits."""

    queue_id: str
    mode: SteeringMode
    message: str


class Steered(Kind, frozen=True, kw_only=True):
    """A message changed the turn in progress."""

    queue_id: str
    preempted_at: str


class QueueDrained(Kind, frozen=True, kw_only=True):
    """The messages that waited are handled."""

    queue_id: str
    processed: U64
