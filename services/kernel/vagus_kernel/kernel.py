"""The kernel process: owns partitions of the inbox, and an actor for each session that is awake."""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from vagus.contract import streams
from vagus.contract.errors import InvalidId, Malformed, SettingsError
from vagus.contract.ids import check_id
from vagus.contract.json import Json
from vagus.contract.messages import Verdict, decode
from vagus.contract.streams import inbox_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, telemetry
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.beside import beside
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, Message
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.members import Lease, members, owned
from vagus.runtime.queue import Delivery, KeepAlive, Pull, dead_letter
from vagus.runtime.toolbox import Toolbox
from vagus_kernel import middleware
from vagus_kernel.actor import Actor
from vagus_kernel.archivist import archiving
from vagus_kernel.caretaker import tending
from vagus_kernel.filewriter import FileWriter
from vagus_kernel.handover import Handover
from vagus_kernel.mover import moving
from vagus_kernel.ports import Ports
from vagus_kernel.providers import Providers
from vagus_kernel.settings import KernelSettings
from vagus_kernel.snapshots import Snapshots

_log = logging.getLogger(__name__)

COMMANDS_HELD: Final = 4096
"""Commands of one partition in this process: bounds its memory."""
ANSWERS_HELD: Final = 1024
CLOSE_S: Final = 1.0
SWEEP_S: Final = 10.0
"""How often idle sessions are looked for."""
QUIET_S: Final = 10.0
"""A session to which nobody has spoken for so long keeps a snapshot: then leaving it costs nothing."""
PACE_S: Final = 0.005
"""Between two sessions of a sweep: each may write to the disk that others' ticks wait for."""


class Kernel:
    """All actors of this process."""

    def __init__(self, ports: Ports, tasks: TaskGroup) -> None:
        self._ports = ports
        self._tasks = tasks
        self._actors: dict[str, Actor] = {}
        self._partition_of: dict[str, int] = {}
        self._pulls: dict[int, AsyncExitStack] = {}

    @property
    def active(self) -> int:
        """Sessions in memory."""
        return len(self._actors)

    def owns(self, partition: int) -> bool:
        """Whether it takes inputs of this partition."""
        return partition in self._pulls

    async def own(self, partitions: frozenset[int]) -> None:
        """Take inputs of these partitions and of no other; sessions of the others are given back."""
        await self._release(self._pulls.keys() - partitions)
        for partition in sorted(partitions - self._pulls.keys()):
            self._pulls[partition] = stack = AsyncExitStack()
            for answers, capacity in ((False, COMMANDS_HELD), (True, ANSWERS_HELD)):
                await stack.enter_async_context(
                    Pull(
                        self._ports.bus,
                        inbox_consumer(self._ports.subjects, partition, answers=answers),
                        capacity=capacity,
                        deliver=self._deliver,
                    )
                )

    async def _release(self, partitions: Set[int]) -> None:
        async with anyio.create_task_group() as closing:
            for partition in partitions:
                closing.start_soon(self._pulls.pop(partition).aclose)
        for session_id, actor in tuple(self._actors.items()):
            if self._partition_of.get(session_id) in partitions:
                actor.stop()

    async def release_all(self) -> None:
        """Take nothing any more, and wait until every session is given back."""
        await self._release(set(self._pulls))
        for actor in tuple(self._actors.values()):
            await actor.ended.wait()

    async def close(self) -> None:
        """Take nothing any more, at once."""
        with anyio.move_on_after(CLOSE_S, shield=True):
            while self._pulls:
                await self._pulls.popitem()[1].aclose()

    def on_reconnect(self) -> None:
        """Tell every session that what it sent may be lost."""
        for actor in tuple(self._actors.values()):
            actor.on_reconnect()

    def told(self, message: Message) -> None:
        """A gate's verdict, come straight, for the actor that asked; if it is gone, the next asks anew."""
        # vagus.verdict.<kernel>.<session>
        actor = self._actors.get(Subjects.last_token(message.subject))
        if actor is None or actor.stopping:
            return
        try:
            actor.put(decode(message.data, Verdict))
        except Malformed as error:
            _log.warning("what came on %s is no verdict: %s", message.subject, error)

    def handed(self, message: Message) -> None:
        """A runner's report, come straight, for the actor that asked; if it is gone, it goes by the inbox."""
        # vagus.report.<kernel>.<session>
        handover = Handover(self._ports.bus, message)
        actor = self._actors.get(Subjects.last_token(message.subject))
        if actor is None or actor.stopping:
            handover.refuse()
        else:
            actor.put(handover)

    def _deliver(self, delivery: Delivery) -> None:
        # vagus.inbox.<partition>.<role>.<session>
        session_id = Subjects.last_token(delivery.subject)
        known = self._actors.get(session_id)
        if known is not None and not known.stopping:
            known.put(delivery)
            return
        try:
            check_id("session id", session_id)
        except InvalidId as error:
            self._tasks.start_soon(self._bury, delivery, error.message)
            return
        actor = self._actors[session_id] = Actor(session_id, self._ports)
        self._partition_of[session_id] = int(Subjects.last_token(delivery.subject, 3))
        actor.put(delivery)
        self._tasks.start_soon(self._live, actor, known)

    async def _live(self, actor: Actor, before: Actor | None) -> None:
        partition = self._partition_of[actor.session_id]
        left: list[Delivery] = []
        try:
            if before is not None:
                await before.ended.wait()  # two would be in each other's way
            left = await actor.run()
        finally:
            if self._actors.get(actor.session_id) is actor:
                del self._actors[actor.session_id]
                del self._partition_of[actor.session_id]
        for delivery in left:
            if partition in self._pulls:
                self._deliver(delivery)
            else:
                self._ports.keep_alive.drop(delivery)
                await delivery.give_back()

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        await dead_letter(self._ports.bus, self._ports.subjects, "kernel", delivery, reason)

    async def sweep(self) -> None:
        """Let sessions keep snapshots, and later leave memory, that nobody has spoken to for a while."""
        while True:
            await anyio.sleep(SWEEP_S)
            for actor in tuple(self._actors.values()):
                quiet_s = anyio.current_time() - actor.touched_at
                if actor.busy or actor.stopping or quiet_s < min(QUIET_S, self._ports.settings.idle_s):
                    continue
                if quiet_s > self._ports.settings.idle_s:
                    actor.stop()
                elif actor.keeping.behind:
                    actor.rest()
                else:
                    continue
                await anyio.sleep(PACE_S)


@asynccontextmanager
async def make_ports(bus: Bus, settings: KernelSettings) -> AsyncIterator[Ports]:
    """All adapters of a kernel, running while the block lasts."""
    subjects = settings.subjects
    providers = Providers(settings.provider)
    providers.check()
    writer = FileWriter()

    def bucket(name: str) -> Bucket:
        return Bucket(bus, subjects.named(name))

    async with (
        Toolbox(bus, subjects) as toolbox,
        KeepAlive(bus) as keep_alive,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(writer.run)
        try:
            yield Ports(
                bus=bus,
                subjects=subjects,
                settings=settings,
                config=settings.config(),
                log=JetStreamLog(bus, subjects, direct=True, replicas=settings.replicas),
                snapshots=Snapshots(bucket(streams.SNAPSHOTS), Blobs(bus, subjects.named(streams.BLOBS))),
                sessions=bucket(streams.SESSIONS),
                policies=bucket(streams.POLICIES),
                calls=bucket(streams.CALLS),
                tickets=bucket(streams.TICKETS),
                toolbox=toolbox,
                providers=providers,
                keep_alive=keep_alive,
                files=writer,
                middlewares=middleware.load(settings.middlewares),
                keeper=Keeper(bus, subjects, replicas=settings.replicas),
            )
        finally:
            tasks.cancel_scope.cancel()  # the writer writes what is left


async def serve(
    bus: Bus, settings: KernelSettings, draining: anyio.Event, *, started: Callable[[], None]
) -> None:
    """Own a share of all sessions until told to drain."""
    subjects, me = settings.subjects, f"kernel.{settings.instance}"
    telemetry.show_kernel()
    lease: dict[str, Json] = {
        "provider": settings.provider,
        "since_ns": clock.now_ns(),
        "process": secrets.token_hex(8),
    }
    async with make_ports(bus, settings) as ports, anyio.create_task_group() as tasks:
        kernel = Kernel(ports, tasks)
        forget = bus.on_reconnect(kernel.on_reconnect)
        verdicts = await bus.subscribe_callback(subjects.verdict(settings.instance), kernel.told)
        reports = await bus.subscribe_callback(subjects.report(settings.instance), kernel.handed)
        try:
            async with (
                Lease(bus, subjects, me, lease),
                members(bus, subjects, "kernel.*") as view,
                beside(kernel.sweep),
                moving(bus, subjects),
                archiving(ports, lambda: kernel.owns(0)),
                tending(bus, subjects, lambda: kernel.owns(0)),
            ):
                ready = False
                while not draining.is_set():
                    yield_to_namesake(me, lease, view.live.get(me))
                    live = sorted({*view.live, me})
                    await kernel.own(owned(settings.partitions, me, live))
                    if not ready:
                        ready = True
                        started()
                    await _first(draining.wait, view.changed)
                await kernel.release_all()
        finally:
            forget()
            await kernel.close()
            with anyio.move_on_after(CLOSE_S, shield=True):
                await verdicts.unsubscribe()
                await reports.unsubscribe()


def yield_to_namesake(me: str, lease: Mapping[str, Json], found: Json) -> None:
    """Raise `SettingsError` if an older kernel of the same name lives: both would own the same partitions."""
    if not isinstance(found, dict) or found.get("process") in (None, lease["process"]):
        return
    theirs, ours = ((told.get("since_ns"), told.get("process")) for told in (found, lease))
    if theirs < ours:
        raise SettingsError(f"another {me} lives: every kernel needs a VAGUS_INSTANCE of its own")


async def _first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of these does."""
    async with anyio.create_task_group() as tasks:

        async def one(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            tasks.cancel_scope.cancel()

        for wait in waits:
            tasks.start_soon(one, wait)
