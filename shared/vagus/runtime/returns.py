"""Returns: what was given back in good order, so that it does not count as a delivery that ended its reader.

The server counts how often a message was delivered, and forgives nothing. Who gives one back although nothing
is wrong with it (a process that drains, a kernel whose partition is another's from now on) notes the count at
which it did. From there on it is counted anew.
"""

from vagus.contract.streams import returns_of
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus


def note(bus: Bus, stream: str, sequence: int, deliveries: int) -> None:
    """Note that a message is given back in good order at this delivery. Lost without a connection."""
    Bucket(bus, returns_of(stream)).put_nowait(f"{stream}.{sequence}", b"%d" % deliveries)


async def noted(bus: Bus, stream: str, sequence: int) -> int:
    """The delivery at which a message was last given back in good order, 0 if it never was.

    Raises as `Bucket.get`.
    """
    entry = await Bucket(bus, returns_of(stream)).get(f"{stream}.{sequence}", fresh=True)
    return int(entry.value) if entry is not None and entry.value.isdigit() else 0
