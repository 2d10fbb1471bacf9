"""Reading the firehose with nothing but nats-py, and comparing it with the session logs."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus

MOVED_ON_S = 60.0


class Told(msgspec.Struct, frozen=True):
    """One event as a reader of the firehose sees it."""

    subject: str
    headers: dict[str, str]
    line: bytes

    @property
    def kind(self) -> str:
        return self.subject.rpartition(".")[2]

    @property
    def sequence(self) -> int:
        return int(self.headers["Vagus-Sequence"])

    @property
    def commit(self) -> int:
        return int(self.headers["Vagus-Commit"])


Branches = dict[tuple[str, str], list[bytes]]


class Downstream:
    """Somebody who has never heard of our code."""

    def __init__(self, connection: Client, subjects: Subjects) -> None:
        self._jetstream = connection.jetstream()
        self._subjects = subjects

    async def told(self, filter_: str = "") -> list[Told]:
        """All events that the firehose has now on `filter_`, in its order."""
        found = await self._messages(self._subjects.named("EVENTS"), filter_ or self._subjects.event())
        return [Told(message.subject, dict(message.headers or {}), message.data) for message in found]

    async def _messages(self, stream: str, filter_: str) -> list[Msg]:
        everything = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        reader = await self._jetstream.subscribe(
            filter_, stream=stream, ordered_consumer=True, config=everything
        )
        try:
            info = await reader.consumer_info()
            left = (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
            return [await reader.next_msg(timeout=20) for _ in range(left)]
        finally:
            await reader.unsubscribe()

    async def lines(self) -> Branches:
        """What the firehose has of each session and branch."""
        found: Branches = defaultdict(list)
        for event in await self.told():
            _, _, session, branch, _ = event.subject.split(".")
            found[session, branch].append(event.line)
        return dict(found)

    async def logged(self, sessions: list[str]) -> Branches:
        """What the logs of these sessions have of each branch."""
        found: Branches = defaultdict(list)
        for session in sessions:
            stream = self._subjects.session_stream(session)
            for message in await self._messages(stream, self._subjects.log(session)):
                found[session, message.subject.rpartition(".")[2]] += message.data.splitlines()
        return dict(found)


@asynccontextmanager
async def downstream(url: str, subjects: Subjects) -> AsyncIterator[Downstream]:
    """Connected while the block lasts."""
    connection = await nats.connect(url.split(","))
    try:
        yield Downstream(connection, subjects)
    finally:
        await connection.close()


async def moved_on(bus: Bus, subjects: Subjects) -> None:
    """Wait until the firehose has got something new."""

    async def last() -> object:
        try:
            info = await bus.api(f"STREAM.INFO.{subjects.named('EVENTS')}")
        except VagusError:
            return before
        return msgspec.convert(info["state"], dict[str, object])["last_seq"]

    before: object = None
    before = await last()

    async def more() -> bool:
        return await last() != before

    await eventually(more, timeout_s=MOVED_ON_S, every_s=0.05)
