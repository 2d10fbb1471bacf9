"""Kernels that die, stand still and get in each other's way between any two awaits."""

from typing import Any

import anyio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.kit.warp import warped
from tests.kit.world import TOOLS, Process, World
from vagus.contract import limits
from vagus.contract.approvals import ApprovalDecision
from vagus.contract.extensions import GuardDecision
from vagus.contract.sessions import TickOutput
from vagus.contract.tools import ToolCall
from vagus_kernel.middleware import Middleware, Next, TurnContext, allow

OBJECTIVES = st.sampled_from(["text", "do", "do do", "pay", "pay do", "rob do", "fail", ""])


class Kernels(RuleBasedStateMachine):
    """One session, up to two kernels that both believe it is theirs."""

    middlewares: tuple[Middleware, ...] = ()
    most_deliveries = 10**6
    """Enough that nothing is ever given up."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.patch = warped(self.world.clock, self.most_deliveries)
        self.kernels = [self._process()]
        self.count = 0

    def _process(self) -> Process:
        return Process(self.world, self.middlewares)

    def teardown(self) -> None:
        """Whatever has happened: with one kernel left, all comes to rest."""
        try:
            for kernel in self.kernels[1:]:
                kernel.kill()
            last = self.kernels[0]
            self.world.elapse(limits.ACK_WAIT_S)
            self.world.settle_all(last)
            self.world.check(last)
            last.kill()
        finally:
            self.patch.undo()

    @initialize()
    def create(self) -> None:
        self.world.create()
        self.world.settle_all(self.kernels[0])

    # Clients ----------------------------------------------------------------------------------------------

    def _id(self) -> str:
        self.count += 1
        return f"c{self.count}"

    def _branch(self, number: int) -> str:
        branches = sorted({record.branch_id for record in self.world.events()})
        return branches[number % len(branches)]

    @rule(objective=OBJECTIVES, inline=st.booleans(), branch=st.integers(0, 3))
    def tick(self, objective: str, inline: bool, branch: int) -> None:
        body: dict[str, Any] = {"objective": objective}
        if inline and (tool := objective.split(" ")[0]) in TOOLS:
            body["proposed_tool"] = {"tool_name": tool, "input": {"n": self.count}}
        self.world.command("Tick", body, self._id(), self._branch(branch))

    @rule(number=st.integers(0, 50))
    def tick_again(self, number: int) -> None:
        ticks = [wire for wire in self.world.sent.values() if wire["type"] == "Tick"]
        if ticks:
            wire = ticks[number % len(ticks)]
            self.world.command("Tick", wire["tick"], wire["command_id"], wire["branch_id"], copy=True)

    @rule(kind=st.sampled_from(["fork", "record", "budget", "policy", "cancel", "cancel one", "merge"]))
    def other_command(self, kind: str) -> None:
        identity = self._id()
        match kind:
            case "fork":
                self.world.command("CreateBranch", {"branch": f"b{self.count}"}, identity)
            case "record":
                event = {"type": "ExternalSignal", "signal_type": "bell", "data": self.count}
                self.world.command("RecordEvent", {"event": event}, identity)
            case "budget":
                self.world.command("ExtendBudget", {"tokens": 10_000, "tool_calls": 5, "errors": 3}, identity)
            case "policy":
                policy = self.world.sent["create"]["create_session"]["policy"]
                self.world.command("SetPolicy", {"policy": policy}, identity)
            case "cancel":
                self.world.command("Cancel", {}, identity)
            case "cancel one":
                self.world.command("Cancel", {"command_id": f"c{self.count - 1}"}, identity)
            case _:
                body = {"branch": self._branch(1), "cancel": True}
                self.world.command("MergeBranch", body, identity)

    # The world --------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), rounds=st.integers(1, 40), others=st.booleans())
    def go(self, which: int, rounds: int, others: bool) -> None:
        """One kernel gets what there is and runs for a while; perhaps it is answered at once."""
        kernel = self.kernels[which % len(self.kernels)]
        for queued in self.world.available():
            self.world.deliver(queued, kernel)
        kernel.step(rounds)
        if others:
            self.judge()
            self.run_tools()
            kernel.step(rounds)

    @rule(which=st.integers(0, 1), rounds=st.integers(1, 40))
    def go_on(self, which: int, rounds: int) -> None:
        self.go(which, rounds, others=True)

    @rule(which=st.integers(0, 1), count=st.integers(1, 2), rounds=st.integers(0, 12))
    def deliver_some(self, which: int, count: int, rounds: int) -> None:
        kernel = self.kernels[which % len(self.kernels)]
        for queued in self.world.available()[:count]:
            self.world.deliver(queued, kernel)
        kernel.step(rounds)

    @rule()
    def judge(self) -> None:
        while self.world.gate:
            self.world.judge()

    @rule()
    def run_tools(self) -> None:
        while self.world.tools:
            self.world.run_tool()

    @precondition(lambda self: self.world.running)
    @rule(status=st.sampled_from([None, None, "timeout"]))
    def finish_tool(self, status: str | None) -> None:
        self.world.finish_tool(next(iter(self.world.running)), status)

    @precondition(lambda self: self.world.pending())
    @rule(decision=st.sampled_from(ApprovalDecision))
    def answer(self, decision: ApprovalDecision) -> None:
        self.world.answer(self.world.pending()[0], decision)

    # Faults -----------------------------------------------------------------------------------------------

    @rule(
        kind=st.sampled_from(["crash", "drain", "reconnect", "lose", "second", "swap", "model"]),
        which=st.integers(0, 1),
        seconds=st.sampled_from([0.1, 1.0, 5.0, 11.0, 40.0]),
    )
    def fault(self, kind: str, which: int, seconds: float) -> None:
        """Something goes wrong, and time passes."""
        which %= len(self.kernels)
        match kind:
            case "crash":
                self.kernels[which].kill()
                self.kernels[which] = self._process()
            case "drain":
                self.kernels[which].drain()
                self.kernels[which] = self._process()
            case "reconnect":
                self.kernels[which].reconnect()
            case "lose":
                self.world.lose_next += 1
            case "second" if len(self.kernels) == 1:
                self.kernels.append(self._process())
            case "model":
                self.world.model_s = seconds
            case _:
                self.kernels.reverse()
        self.world.elapse(seconds)
        self.world.beat()

    @invariant()
    def the_log_is_whole(self) -> None:
        self.world._check_chain(self.world.events())


async def through(ctx: TurnContext, proceed: Next) -> TickOutput:
    """Middleware that takes its time on the way in and out, and a guard along."""
    await anyio.sleep(0.5)
    ctx.guards.append(Watchful())
    output = await proceed(ctx)
    await anyio.sleep(0.5)
    return output


class Watchful:
    """A guard that thinks before it lets a call pass."""

    name = "watchful"

    async def on_tool_call(self, ctx: TurnContext, call: ToolCall) -> GuardDecision:
        await anyio.sleep(0.1)
        return allow()


class WrappedKernels(Kernels):
    """With middlewares around every turn."""

    middlewares = (through,)


class ImpatientKernels(Kernels):
    """What comes for the fifth time is given up."""

    most_deliveries = limits.MAX_DELIVERIES


SETTINGS = settings(
    deadline=None, max_examples=50, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
TestKernels = Kernels.TestCase
TestKernels.settings = SETTINGS
TestWrappedKernels = WrappedKernels.TestCase
TestWrappedKernels.settings = SETTINGS
TestImpatientKernels = ImpatientKernels.TestCase
TestImpatientKernels.settings = SETTINGS
