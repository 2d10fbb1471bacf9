"""The whole run: servers, fleet, clients and faults; then the checker, as a process of its own."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec

import vagus
from chaos import tools
from chaos.book import Book
from chaos.checker.log import CannotCheck
from chaos.checker.log import server as reading
from chaos.checker.names import QUEUES, Names
from chaos.checker.report import Report
from chaos.client import Player
from chaos.faults import CLIENTS, ROLES, Fault, faults, points
from chaos.line import Line, lines
from chaos.models import write_answers
from chaos.pace import Pace
from chaos.report import Asked, Outcome
from chaos.script import script
from chaos.seat import Seat, Stuck
from chaos.servers import Servers, servers
from chaos.striker import Striker
from vagus.contract.subjects import Subjects
from vagus.runtime.grants import generate_key

PLAYERS: Final = 12
"""Sessions at a time."""
STUCK_S: Final = 300.0
"""Nothing moves for so long: no tick is answered, no fault ends."""
QUIET_LOOKS: Final = 10
"""The queues are looked at one after the other: a message may pass us once, not so often."""
LOOK_S: Final = 0.3
CHECK_S: Final = 900.0
CONNECT_S: Final = 60.0
APPROVAL_S: Final = 15
"""After which a ticket that nobody answers times out."""

TOO_LATE: Final = r"^schedule \S+: BranchReadOnly: .* is read-only; it is dropped$"
"""The one justified dead letter: nobody waits for a tick for later, so that its refusal is told there."""

Tell = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is to be run."""

    asked: Asked
    folder: Path
    minutes: float
    """After so many no new session is begun: what is missing then is missing."""


class Fleet:
    """All processes of ours, and the clients' lines."""

    def __init__(self, seats: dict[str, list[Seat]], clients: list[Line]) -> None:
        self.seats = seats
        self.clients = clients

    @property
    def all(self) -> list[Seat]:
        """Every seat."""
        return [seat for seats in self.seats.values() for seat in seats]


async def run(options: Options, tell: Tell) -> Outcome:
    """Do all of it; raises nothing that a fault of Vagus could cause."""
    asked, folder = options.asked, options.folder
    planned = faults(asked.seed, asked.faults, asked.servers)
    (folder / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(planned), indent=1))
    outcome = Outcome(
        asked=asked,
        kinds_planned=len({fault.kind for fault in planned}),
        points_planned=tuple(points(planned)),
    )
    began = time.monotonic()
    async with servers(folder, asked.servers) as running:
        try:
            async with _fleet(folder, running, asked.servers) as fleet:
                tell(f"{len(fleet.all)} processes run on {running.url}")
                await _play(options, planned, fleet, running, outcome, tell)
                await _quiet(running, tell)
                outcome.check = await _check(running, folder)
        except* (Stuck, CannotCheck, AssertionError, vagus.VagusError) as ended:
            outcome.problems += [f"{type(error).__name__}: {error}" for error in _flat(ended)]
    outcome.took_s = time.monotonic() - began
    outcome.problems += _tracebacks(folder)
    outcome.judge()
    (folder / "outcome.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1))
    return outcome


@asynccontextmanager
async def _fleet(folder: Path, running: Servers, replicas: int) -> AsyncIterator[Fleet]:
    """Everybody, working."""
    logs, seed = folder / "logs", folder / "grant.seed"
    logs.mkdir()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VAGUS_", "OTEL_"))},
        tools.LEDGER: str(folder / "ledger.ndjson"),
        "VAGUS_ROOT": str(folder / "root"),
        "VAGUS_REPLICAS": str(replicas),
        "VAGUS_PARTITIONS": "16",
        "VAGUS_GRANT_SEED_FILE": str(seed),
        "VAGUS_GRANT_PUBLIC_KEYS": generate_key(seed),
        "VAGUS_TOOLS": tools.__file__,
        "VAGUS_APPROVAL_TIMEOUT_S": str(APPROVAL_S),
        "VAGUS_EVENTS_AGE_S": "0",  # the firehose keeps everything, to be compared with the logs
    }
    async with lines(running.ports, CLIENTS + sum(ROLES.values())) as ways:
        clients, free = ways[:CLIENTS], iter(ways[CLIENTS:])
        seats = {
            role: [
                Seat(environ=environ, folder=logs, line=next(free), place=place, role=role)
                for place in range(number)
            ]
            for role, number in ROLES.items()
        }
        fleet = Fleet(seats, clients)
        try:
            first, *others = fleet.all
            first.start()
            await first.ready()  # it makes what all share
            for seat in others:
                seat.start()
            for seat in others:
                await seat.ready()
            yield fleet
        finally:
            with anyio.CancelScope(shield=True):
                for seat in fleet.all:
                    await seat.kill()


async def _play(
    options: Options,
    planned: list[Fault],
    fleet: Fleet,
    running: Servers,
    outcome: Outcome,
    tell: Tell,
) -> None:
    """Clients and faults, until there were enough of both."""
    asked, folder = options.asked, options.folder
    pace, book = Pace(faults=asked.faults, ticks=asked.ticks), Book(folder / "accepted.ndjson")
    striker = Striker(
        clients=fleet.clients,
        pace=pace,
        queue=Subjects().named(QUEUES[0]),
        seats=fleet.seats,
        servers=running,
        tell=tell,
    )
    models = folder / "models.json"
    write_answers(models)
    numbers = itertools.count(1)
    until = time.monotonic() + options.minutes * 60
    try:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(vagus.connect(way.url, actor="chaos", timeout_s=CONNECT_S))
                for way in fleet.clients
            ]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, pace, until)
                for seat in fleet.all:
                    tasks.start_soon(seat.keep)
                async with anyio.create_task_group() as work:
                    work.start_soon(striker.strike, planned)
                    for place in range(PLAYERS):
                        player = Player(book=book, client=clients[place % CLIENTS], models=models, pace=pace)
                        work.start_soon(_session_after_session, player, numbers, asked.seed, pace)
                tasks.cancel_scope.cancel()
    finally:
        book.close()
        outcome.answered = pace.ended
        outcome.sessions = next(numbers) - 1
        outcome.told, outcome.commands, outcome.struck = book.told, book.commands, striker.struck
        outcome.visits, outcome.missed = striker.visits, striker.missed
        outcome.restarts = sum(seat.restarts for seat in fleet.all)
        outcome.problems += book.odd


async def _session_after_session(player: Player, numbers: Iterator[int], seed: int, pace: Pace) -> None:
    while not pace.over:
        await player.play(script(seed, next(numbers)))


async def _watch(pace: Pace, until: float) -> None:
    """End the run when nothing moves, or when its time is up."""
    while True:
        await anyio.sleep(1)
        now = time.monotonic()
        if now - pace.moved_at > STUCK_S:
            raise Stuck(
                f"nothing has moved for {STUCK_S:g} s, after {pace.ended} ticks, {pace.struck} faults"
            )
        if now > until:
            raise Stuck(f"the time is up, after {pace.ended} ticks, {pace.struck} faults")


async def _quiet(running: Servers, tell: Tell) -> None:
    """Wait until nobody has anything to do, and no ticket waits."""
    names, quiet = Names(), 0
    tell("waiting for the queues to run empty")
    with anyio.move_on_after(STUCK_S):
        async with (
            reading(running.url) as source,
            vagus.connect(running.url, actor="chaos") as client,
        ):
            while quiet < QUIET_LOOKS:
                await anyio.sleep(LOOK_S)
                try:
                    left = sum([await source.size(names.stream(name)) for name in (*QUEUES, "SCHEDULES")])
                    left += len(await client.approvals())
                except (CannotCheck, vagus.VagusError):
                    left = 1
                quiet = 0 if left else quiet + 1


async def _check(running: Servers, folder: Path) -> Report:
    """The checker's report, by a process that knows nothing of this one."""
    command = [
        *(sys.executable, "-m", "chaos.checker", "--json", "--server", running.url),
        *("--expect-dead", TOO_LATE),
        *("--accepted", str(folder / "accepted.ndjson"), "--ledger", str(folder / "ledger.ndjson")),
    ]
    with anyio.move_on_after(CHECK_S):
        done = await anyio.run_process(
            command, check=False, cwd=Path(tools.__file__).parents[1], stdin=subprocess.DEVNULL
        )
        if done.stdout:
            (folder / "check.json").write_bytes(done.stdout)
            return msgspec.json.decode(done.stdout, type=Report)
        raise Stuck(f"the checker could not check: {done.stderr.decode(errors='replace').strip()}")
    raise Stuck(f"the checker has not ended after {CHECK_S:g} s")


def _tracebacks(folder: Path) -> list[str]:
    """Processes that ended in a way that nobody had thought of."""
    return [
        f"{log.name} has a traceback"
        for log in sorted((folder / "logs").glob("*.log"))
        if b"Traceback (most recent call last)" in log.read_bytes()
    ]


def _flat(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
