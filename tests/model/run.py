"""One run: a scenario under a schedule, to its rest, and what must hold then."""

from collections import defaultdict

from tests.kit.warp import warped
from tests.kit.world import Process, World
from tests.model.scenario import SCENARIOS
from tests.model.schedule import Kind, Schedule
from vagus.contract import limits
from vagus.contract.approvals import ApprovalDecision

MOST_STEPS = 3000
NEVER = 10**6
"""Deliveries after which an input is given up: faults are few, and none is to be hidden so."""


def play(scenario: str, schedule: Schedule) -> int:
    """Run it to its rest; returns the number of steps. AssertionError: something does not hold."""
    world = World()
    patch = warped(world.clock, NEVER)
    run = Run(world, schedule)
    try:
        world.create()
        SCENARIOS[scenario](world)
        steps = run.to_rest()
        run.wake()
        run.to_rest()
        for kernel in run.kernels:
            if kernel.alive and kernel is not run.owner:
                kernel.kill()
        world.elapse(limits.ACK_WAIT_S)
        world.settle_all(run.owner)
        world.check(run.owner)
        return steps
    finally:
        run.end()
        patch.undo()


class Run:
    """A world with one kernel or more, one of which is given the inputs."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        self.world = world
        self.owner = Process(world)
        self.kernels = [self.owner]
        self._asleep: set[Process] = set()
        self._faults: defaultdict[int, list[Kind]] = defaultdict(list)
        self._step = 0
        for fault in schedule:
            self._faults[fault.step].append(fault.kind)

    def to_rest(self) -> int:
        """Step until nothing is left to do; returns the steps so far."""
        while not self._at_rest():
            for kind in self._faults.pop(self._step, ()):
                self._fault(kind)
            self._advance()
            self._step += 1
            assert self._step < MOST_STEPS, "never at rest"
        return self._step

    def wake(self) -> None:
        """Let those go on that stand still."""
        self._asleep.clear()

    def end(self) -> None:
        """Free everything, whatever has happened."""
        for kernel in self.kernels:
            if kernel.alive:
                kernel.kill()

    def _advance(self) -> None:
        """One round of each kernel that is awake, and one act of each of the others."""
        world = self.world
        before = self._seen()
        for queued in world.available():
            world.deliver(queued, self.owner)
        for kernel in self.kernels:
            if kernel.alive and kernel not in self._asleep:
                kernel.step()
        if world.gate:
            world.judge()
        if world.tools:
            world.run_tool()
        elif world.running:
            world.finish_tool(next(iter(world.running)))
        if pending := world.pending():
            world.answer(pending[0], ApprovalDecision.APPROVED)
        if self._seen() == before:
            world.elapse(0.05)  # nothing to see: perhaps somebody waits for a clock

    def _seen(self) -> tuple[object, ...]:
        world = self.world
        done = sum(queued.done for queued in world.inbox)
        return (
            len(world.inbox),
            done,
            len(world.commits()),
            len(world.gate),
            len(world.tools),
            len(world.handed),
            world.model_calls,
        )

    def _at_rest(self) -> bool:
        world = self.world
        waiting = world.gate or world.tools or world.running or world.handed or world.pending()
        if waiting or not all(queued.done for queued in world.inbox):
            return False
        awake = (kernel for kernel in self.kernels if kernel.alive and kernel not in self._asleep)
        return not any(actor.busy for kernel in awake for actor in kernel.kernel._actors.values())

    def _fault(self, kind: Kind) -> None:
        match kind:
            case Kind.CRASH:
                self.owner.kill()
                self._succeed()
            case Kind.DRAIN:
                self.owner.drain()
                self._succeed()
            case Kind.STALL:
                self._asleep.add(self.owner)
                self._succeed()
                self.world.elapse(limits.ACK_WAIT_S)
            case Kind.SPLIT:
                self._succeed()
                self.world.elapse(limits.ACK_WAIT_S)
            case Kind.WAKE:
                self.wake()
            case Kind.REDELIVER:
                self.world.elapse(limits.ACK_WAIT_S)
            case Kind.LATE:
                self.world.elapse(limits.EFFECT_RETRY_S + 1)
            case Kind.LOSE:
                self.world.lose_next += 1
            case Kind.UNKNOWN:
                self.world.lose_acks += 1
            case Kind.REFUSE:
                self.world.refuse_commits += 1
            case Kind.RECONNECT:
                self.owner.reconnect()

    def _succeed(self) -> None:
        self.owner = Process(self.world)
        self.kernels.append(self.owner)
