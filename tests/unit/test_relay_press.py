"""What waits goes into one batch, and whom the firehose refuses does not hold up the others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from vagus.contract.errors import Conflict, OutcomeUnknown, Unavailable, VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Stored
from vagus_relay.cursor import Cursor
from vagus_relay.event import EventMessage
from vagus_relay.press import BATCH_MESSAGES, Press

EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class FakeBus:
    """A stream that takes batches, and checks of each session what its first message expects."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.batches: list[int] = []
        self.error: VagusError | None = None
        self._staged: list[tuple[str, Mapping[str, str]]] = []
        self._places: dict[str, int] = {}

    async def publish(self, subject: str, data: bytes, *, headers: Mapping[str, str]) -> None:
        assert headers["Nats-Batch-Sequence"] == str(len(self._staged) + 1)
        self._staged.append((subject, headers))

    async def store(self, subject: str, data: bytes, *, headers: Mapping[str, str]) -> Stored:
        batch, self._staged = [*self._staged, (subject, headers)], []
        assert ("Nats-Batch-Commit" in headers) == (len(batch) > 1)
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        for _, own in batch:
            if EXPECTED in own and self._places.get(own[f"{EXPECTED}-Subject"], 0) != int(own[EXPECTED]):
                raise Conflict("wrong last sequence")
        self.batches.append(len(batch))
        for subject_, own in batch:
            self.stored.append(own["Nats-Msg-Id"])
            self._places[Subjects().event(subject_.split(".")[2])] = len(self.stored)
        return Stored("VAGUS_EVENTS", len(self.stored))


def events(session: str, count: int, first: int = 1) -> list[EventMessage]:
    return [
        EventMessage(
            Subjects().event(session, "main", "UserMessage"),
            {"Nats-Msg-Id": f"{session}{n}"},
            b"{}",
            Cursor(n, n),
        )
        for n in range(first, first + count)
    ]


@asynccontextmanager
async def pressing(bus: FakeBus) -> AsyncIterator[Press]:
    press = Press(bus, Subjects())  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(press.run)
        yield press
        tasks.cancel_scope.cancel()


async def test_what_waits_of_several_sessions_goes_along_in_one_batch() -> None:
    bus, places = FakeBus(), dict[str, int]()
    async with pressing(bus) as press, anyio.create_task_group() as carriers:

        async def store(session: str, count: int) -> None:
            places[session] = await press.store(session, 0, events(session, count))

        for session, count in (("a", 2), ("b", 3), ("c", 1)):
            carriers.start_soon(store, session, count)
    assert bus.batches == [6]
    assert places == {"a": 2, "b": 5, "c": 6}
    assert bus.stored == ["a1", "a2", "b1", "b2", "b3", "c1"]


async def test_a_batch_has_no_more_than_the_server_takes() -> None:
    bus = FakeBus()
    async with pressing(bus) as press, anyio.create_task_group() as carriers:
        for session in ("a", "b", "c"):
            carriers.start_soon(press.store, session, 0, events(session, BATCH_MESSAGES // 2))
    assert bus.batches == [BATCH_MESSAGES, BATCH_MESSAGES // 2]


async def test_one_event_alone_needs_no_batch() -> None:
    bus = FakeBus()
    async with pressing(bus) as press:
        assert await press.store("a", 0, events("a", 1)) == 1
        assert await press.store("a", 1, events("a", 1, first=2)) == 2
    assert bus.batches == [1, 1]


async def test_only_who_is_refused_is_told_so() -> None:
    bus, refused = FakeBus(), list[str]()
    async with pressing(bus) as press, anyio.create_task_group() as carriers:

        async def store(session: str, place: int) -> None:
            try:
                await press.store(session, place, events(session, 2))
            except Conflict:
                refused.append(session)

        for session, place in (("a", 0), ("b", 7), ("c", 0)):
            carriers.start_soon(store, session, place)
    assert refused == ["b"]
    assert bus.stored == ["a1", "a2", "c1", "c2"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ApiError("repeats an id", 400, 10201), Conflict),
        (ApiError("is incomplete", 400, 10176), Unavailable),
        (OutcomeUnknown("no reply"), OutcomeUnknown),
    ],
)
async def test_what_the_server_answers_is_what_its_carrier_is_told(
    answer: VagusError, told: type[VagusError]
) -> None:
    bus = FakeBus()
    bus.error = answer
    async with pressing(bus) as press:
        with pytest.raises(told):
            await press.store("a", 0, events("a", 2))
