"""Running a process's service inside a test, and reading what a session would be told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import msgspec

from tests.kit.waiting import eventually
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.messages import Role, decode
from vagus.contract.streams import ConsumerSpec, inbox_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.provision import consumer_config
from vagus.runtime.queue import Delivery, Pull

S = TypeVar("S", bound=msgspec.Struct)


class Running:
    """A service that runs; `drain` stops it as the first signal would, `kill` as the last."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        self.ended = anyio.Event()
        self.scope = anyio.CancelScope()

    async def drain(self) -> None:
        self.draining.set()
        with anyio.fail_after(60):
            await self.ended.wait()

    async def kill(self) -> None:
        self.scope.cancel()
        await self.ended.wait()


@asynccontextmanager
async def serving(serve: Callable[..., Awaitable[None]], bus: Bus, settings: Any) -> AsyncIterator[Running]:
    """Run `serve` beside the block, which begins when it takes work; drained at the end."""
    running, ready = Running(), anyio.Event()

    async def run() -> None:
        with running.scope:
            await serve(bus, settings, running.draining, started=ready.set)
        running.ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(30):
            await ready.wait()
        yield running
        await running.drain()


class Inbox:
    """The answers that a kernel would take, with their roles; acknowledged as they come."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects
        self.deliveries: list[Delivery] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Inbox"]:
        """Take answers while the block lasts; of an inbox of one partition."""
        async with anyio.create_task_group() as group:

            def deliver(delivery: Delivery) -> None:
                self.deliveries.append(delivery)
                group.start_soon(delivery.ack)

            answers = inbox_consumer(self._subjects, 0, answers=True)
            async with Pull(self._bus, answers, capacity=100, deliver=deliver):
                yield self

    def of(self, role: Role, shape: type[S]) -> list[S]:
        """All messages of a role so far."""
        return [
            decode(delivery.data, shape)
            for delivery in self.deliveries
            if Subjects.last_token(delivery.subject, 2) == role
        ]

    async def count(self, role: Role, shape: type[S], number: int) -> list[S]:
        """Wait until there are `number` of a role."""
        await eventually(lambda: len(self.of(role, shape)) >= number)
        return self.of(role, shape)


async def stored(bus: Bus, stream: str) -> int:
    """How many messages a stream holds."""
    info: Any = await bus.api(f"STREAM.INFO.{stream}")
    return int(info["state"]["messages"])


def wait_until_empty(bus: Bus, stream: str, *, timeout_s: float = 20.0) -> Awaitable[bool]:
    """Wait until everything on a work queue is acknowledged."""

    async def empty() -> bool:
        try:
            return await stored(bus, stream) == 0
        except (OutcomeUnknown, Unavailable):  # servers come and go under some tests
            return False

    return eventually(empty, timeout_s=timeout_s)


async def impatient(bus: Bus, spec: ConsumerSpec, ack_wait_s: float = 0.5) -> None:
    """Have what a dead process held delivered again sooner than in production."""
    config = consumer_config(msgspec.structs.replace(spec, ack_wait_s=ack_wait_s))
    request = {"stream_name": spec.stream, "config": config, "action": "update"}
    await bus.api(f"CONSUMER.CREATE.{spec.stream}.{spec.name}.{spec.filters[0]}", request)
