"""Where a message that a consumer delivered comes from: JetStream writes it into the reply subject."""

from typing import Final, Self

import msgspec

_PREFIX: Final = "$JS.ACK."


class Origin(msgspec.Struct, frozen=True):
    """What `$JS.ACK.[domain.account.]stream.consumer.deliveries.…` says."""

    stream: str
    consumer: str
    deliveries: int
    """How often the message was delivered, this time included."""
    stream_sequence: int
    consumer_sequence: int
    """Counts what this consumer delivered, from 1 without gaps: a gap is a loss on the way."""
    stored_ns: int
    """When the server stored it, nanoseconds since the epoch, UTC."""
    pending: int
    """Messages that wait behind it for this consumer."""

    @classmethod
    def of(cls, reply: str) -> Self | None:
        """Read a reply subject; None if it is not that of a delivery."""
        if not reply.startswith(_PREFIX):
            return None
        tokens = reply.split(".")
        at = 2 if len(tokens) < 11 else 4
        stream, consumer, *numbers = tokens[at : at + 7]
        return cls(stream, consumer, *map(int, numbers))
