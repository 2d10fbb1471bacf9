"""What the JetStream API lists a page at a time."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from vagus.runtime.bus import Bus

T = TypeVar("T")


class _Place(msgspec.Struct):
    total: int = 0
    limit: int = 0


class _State(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct):
    state: _State


async def subjects_held(bus: Bus, stream: str, filter: str) -> list[str]:  # noqa: A002 -- the word NATS uses
    """The subjects that match, of all messages of a stream, each once; raises as `Bus.api`."""
    return await listed(
        lambda offset: bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": filter, "offset": offset}),
        lambda answer: msgspec.convert(answer, _Info).state.subjects or (),
    )


async def listed(
    ask: Callable[[int], Awaitable[Mapping[str, object]]], read: Callable[[Mapping[str, object]], Iterable[T]]
) -> list[T]:
    """All that `read` finds in the answers; `ask` sends the request for the page at an offset.

    The next page begins a whole page further, whatever has come: on a cluster those are left out whose leader
    does not answer, and what is listed comes and goes between two pages. So nothing is asked for twice, and
    the last page is the last.
    """
    found: list[T] = []
    offset = 0
    while True:
        answer = await ask(offset)
        found += read(answer)
        place = msgspec.convert(answer, _Place)
        offset += place.limit
        if not place.limit or offset >= place.total:
            return found
