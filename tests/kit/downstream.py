"""Reading the firehose with nothing but nats-py, and comparing it with the session logs."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy

from vagus.contract.subjects import Subjects


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
        stream = self._subjects.named("EVENTS")
        everything = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        reader = await self._jetstream.subscribe(
            filter_ or self._subjects.event(), stream=stream, ordered_consumer=True, config=everything
        )
        try:
            info: Any = await self._jetstream.consumer_info(stream, (await reader.consumer_info()).name)
            left = info.num_pending + info.delivered.consumer_seq
            found = []
            while len(found) < left:
                message = await reader.next_msg(timeout=20)
                found.append(Told(message.subject, dict(message.headers or {}), message.data))
            return found
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
            name = self._subjects.session_stream(session)
            last = (await self._jetstream.stream_info(name)).state.last_seq
            for sequence in range(1, last + 1):
                message = await self._jetstream.get_msg(name, sequence)
                branch = str(message.subject).rpartition(".")[2]
                found[session, branch] += (message.data or b"").splitlines()
        return dict(found)


@asynccontextmanager
async def downstream(url: str, subjects: Subjects) -> AsyncIterator[Downstream]:
    """Connected while the block lasts."""
    connection = await nats.connect(url)
    try:
        yield Downstream(connection, subjects)
    finally:
        await connection.close()
