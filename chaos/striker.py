"""Does to the fleet what the plan says, and mends it again."""

from collections import Counter
from collections.abc import Callable, Mapping
from signal import SIGCONT, SIGSTOP
from typing import Final

import anyio

from chaos.faults import Fault
from chaos.line import Line
from chaos.pace import Pace
from chaos.seat import KILLED, Seat
from chaos.servers import Servers, freeze, thaw

AT_ONCE: Final = 3
"""Faults at a time; one at most of the processes of each role, and of the servers."""
REACHED_S: Final = 240.0
"""A process that is to die at a point comes by within this, as long as there are ticks."""


class Striker:
    """Strikes one fault after the other."""

    def __init__(
        self,
        *,
        clients: list[Line],
        pace: Pace,
        queue: str,
        seats: Mapping[str, list[Seat]],
        servers: Servers,
        tell: Callable[[str], None],
    ) -> None:
        self._clients = clients
        self._pace = pace
        self._queue = queue
        self._seats = seats
        self._servers = servers
        self._tell = tell
        self._room = anyio.Semaphore(AT_ONCE)
        self._locks = {role: anyio.Lock() for role in (*seats, "client", "server")}
        self.struck: Counter[str] = Counter()
        """By kind."""
        self.visits: Counter[str] = Counter()
        """Processes that died by themselves, by the named point."""
        self.missed: Counter[str] = Counter()
        """Points at which nobody came by in time."""

    async def strike(self, faults: list[Fault]) -> None:
        """All of them; returns when everything is mended."""
        async with anyio.create_task_group() as tasks:
            for fault in faults:
                await self._pace.fault()
                await self._room.acquire()
                tasks.start_soon(self._one, fault)
        await self._servers.whole()
        self._pace.finish()

    async def _one(self, fault: Fault) -> None:
        try:
            async with self._locks[fault.role]:
                self._tell(f"after {self._pace.ended} ticks: {fault}")
                await self._do(fault)
                self.struck[fault.kind] += 1
        finally:
            self._room.release()
        self._pace.recovered()

    async def _do(self, fault: Fault) -> None:
        if fault.role == "server":
            await self._server(fault)
        elif fault.role == "client":
            await self._line(fault, self._clients[fault.place])
        else:
            seat = self._seats[fault.role][fault.place]
            with seat.held():
                await self._seat(fault, seat)

    async def _seat(self, fault: Fault, seat: Seat) -> None:
        match fault.does:
            case "kill":
                await seat.kill()
            case "drain":
                await seat.drain()
            case "freeze":
                seat.send(SIGSTOP)
                await anyio.sleep(fault.seconds)
                seat.send(SIGCONT)
            case "clock-ahead":
                seat.set_clock(fault.seconds)
            case "clock-behind":
                seat.set_clock(-fault.seconds)
            case "die-at":
                with self._pace.armed():
                    await self._die_at(fault.point, seat)
            case _:
                await self._line(fault, seat.line)
        if not seat.runs:
            seat.start()
            await seat.ready()

    async def _die_at(self, point: str, seat: Seat) -> None:
        await seat.drain()
        name, until = point.partition(":")[0], anyio.current_time() + REACHED_S
        while (left_s := until - anyio.current_time()) > 0:
            seat.start(point)
            if await seat.ended(left_s) == KILLED:
                self.visits[name] += 1
                return
        self.missed[name] += 1
        await seat.drain()

    async def _line(self, fault: Fault, line: Line) -> None:
        match fault.does:
            case "cut":
                line.cut()
            case "lose-request":
                line.lose_next(b"PUB ")
            case "lose-reply":
                line.lose_next(b"MSG ")
            case "close":
                await line.close()
                await anyio.sleep(fault.seconds)
                await line.open()
            case "stall":
                line.stall()
                await anyio.sleep(fault.seconds)
                line.flow()

    async def _server(self, fault: Fault) -> None:
        nodes = self._servers.nodes
        node = nodes[fault.place]
        does, _, whom = fault.does.partition("-")
        if whom == "leader":
            node = await self._servers.leader(self._queue)
        match does:
            case "kill":
                node.kill()
                if whom == "most-servers":
                    nodes[fault.place - 1].kill()
                await anyio.sleep(fault.seconds)
            case "restart":
                await node.stop()
                await anyio.sleep(fault.seconds)
            case "freeze":
                freeze(node)
                await anyio.sleep(fault.seconds)
                thaw(node)
        await self._servers.whole()
