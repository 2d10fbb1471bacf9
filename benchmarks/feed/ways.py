"""The ways to get events, each as those use it who live off it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import msgspec
import nats
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

import vagus
from tests.kit.postgres import missing, running
from tests.kit.processes import process
from tests.kit.receiver import OK, Request, receiver
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Message

POLL_S: Final = 0.01
LOOK_S: Final = 0.1
BATCH: Final = 500
_SECRET: Final = "whsec_" + "YmVuY2htYXJr" * 3

Arrived: TypeAlias = Callable[[str, int], None]
"""An event has arrived: its session and its sequence."""


@dataclass(frozen=True)
class Place:
    """Where everything runs."""

    client: vagus.Client
    environ: Mapping[str, str]
    """Of processes."""
    folder: Path
    url: str


Way: TypeAlias = Callable[[Place, str, bool, Arrived], AbstractAsyncContextManager[None]]
"""Gets events while its block lasts: under this durable name, from the first one or from now on."""


@asynccontextmanager
async def feed(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """Commits, as the server republishes them; at most once, and only live."""
    if first:
        raise ValueError(f"{name}: the feed has no past")

    def hear(message: Message) -> None:
        session_id = Subjects.last_token(message.subject, 2)
        for sequence in range(int(message.headers["Vagus-First"]), int(message.headers["Vagus-Last"]) + 1):
            arrived(session_id, sequence)

    subscription = await place.client.bus.subscribe_callback(place.client.subjects.feed(), hear)
    yield
    await subscription.unsubscribe()


@asynccontextmanager
async def consumer(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """A JetStream consumer of nats-py, with nothing of ours."""

    async def hear(message: Msg) -> None:
        headers = message.headers or {}
        arrived(message.subject.split(".")[2], int(headers["Vagus-Sequence"]))

    connection = await nats.connect(place.url, name=name)
    subjects = place.client.subjects
    try:
        await connection.jetstream().subscribe(
            subjects.event(),
            stream=subjects.named("EVENTS"),
            ordered_consumer=True,
            cb=hear,
            deliver_policy=DeliverPolicy.ALL if first else DeliverPolicy.NEW,
        )
        yield
    finally:
        await connection.close()


@asynccontextmanager
async def subscription(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """`client.subscribe` with a durable name: acknowledged, its place written down."""
    opened = place.client.subscribe(vagus.Filter(), durable=name, start="first" if first else "new")
    async with opened as events, anyio.create_task_group() as tasks:

        async def read() -> None:
            while True:
                batch = await events.batch(BATCH, POLL_S)
                for delivery in batch:
                    arrived(delivery.session_id, delivery.sequence)
                await events.ack(batch)

        tasks.start_soon(read)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def webhook(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """Signed requests, one an event, to a receiver that answers at once."""

    def hear(request: Request) -> bytes | str:
        event = msgspec.json.decode(request.body, type=_Where)
        arrived(event.session_id, event.sequence)
        return OK

    async with receiver(hear) as listening:
        settings = {
            "type": "webhook",
            "url": listening.url,
            "allow_http": True,
            "secrets": [{"env": "HOOK_SECRET"}],
        }
        async with _sink(place, name, first, settings, {"HOOK_SECRET": _SECRET}):
            yield


@asynccontextmanager
async def ndjson(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """Files of lines, each finished after a second, and looked for ten times a second."""
    folder = anyio.Path(place.folder / name)
    seen: set[str] = set()

    async def look() -> None:
        while True:
            async for path in folder.rglob("*.ndjson"):
                if path.name not in seen:
                    seen.add(path.name)
                    for line in (await path.read_bytes()).splitlines():
                        event = msgspec.json.decode(line, type=_Where)
                        arrived(event.session_id, event.sequence)
            await anyio.sleep(LOOK_S)

    settings = {"type": "ndjson", "folder": str(folder), "roll_s": 1}
    async with _sink(place, name, first, settings, {}), anyio.create_task_group() as tasks:
        await folder.mkdir(exist_ok=True)
        tasks.start_soon(look)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def rows(place: Place, name: str, first: bool, arrived: Arrived) -> AsyncIterator[None]:
    """Rows in PostgreSQL, looked for a hundred times a second."""
    query = "SELECT session_id, max(sequence) FROM vagus.events GROUP BY session_id"
    last: dict[str, int] = {}
    settings = {"type": "postgres", "dsn": {"env": "DSN"}}
    async with (
        running() as server,
        _sink(place, name, first, settings, {"DSN": server.dsn}),
        server.connection() as connection,
        anyio.create_task_group() as tasks,
    ):

        async def look() -> None:
            while True:
                for session_id, newest in await connection.fetch(query):
                    for sequence in range(last.get(session_id, 0) + 1, newest + 1):
                        arrived(session_id, sequence)
                    last[session_id] = newest
                await anyio.sleep(POLL_S)

        tasks.start_soon(look)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _sink(
    place: Place, name: str, first: bool, settings: Mapping[str, object], secrets: Mapping[str, str]
) -> AsyncIterator[None]:
    """A process with one sink."""
    start = {"start": "first" if first else "new"}
    sinks = msgspec.json.encode({"sinks": {name: {**settings, **start}}}).decode()
    environ = {**place.environ, **secrets, "VAGUS_SINKS": sinks}
    async with process("vagus_relay.sinks", environ, place.folder / f"{name}.log"):
        yield


class _Where(msgspec.Struct):
    session_id: str
    sequence: int


LIVE: Final[Mapping[str, Way]] = {
    "feed (commits)": feed,
    "JetStream consumer": consumer,
    "durable subscription": subscription,
    "webhook": webhook,
}
STORED: Final[Mapping[str, Way]] = {
    "JetStream consumer": consumer,
    "durable subscription": subscription,
    "webhook": webhook,
    "NDJSON files": ndjson,
}
DATABASE: Final = "PostgreSQL"


def live() -> dict[str, Way]:
    """All that can run here and whose lag can be seen; files are as late as they are old when finished."""
    return {**LIVE, **({} if missing() else {DATABASE: rows})}


def stored() -> dict[str, Way]:
    """All that can run here and have a past."""
    return {**STORED, **({} if missing() else {DATABASE: rows})}
