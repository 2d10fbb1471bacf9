"""The course of a turn: what every part of it uses, and how it ends (fact sheet 2.2)."""

from typing import Any

from msgspec.structs import replace

from tests.parity.account import Output
from tests.parity.reference.harness import Ports
from tests.parity.reference.mind import Mind, after_error, as_json
from tests.parity.reference.runtime import Runtime
from tests.parity.reference.state import Failed
from vagus.contract.hashing import state_hash
from vagus.contract.state import AgentStateVector


class Course:
    """State, mode and events of one turn, or of what follows the answer to a ticket."""

    def __init__(self, runtime: Runtime, ports: Ports, session: str, branch: str, output: Output) -> None:
        self.runtime, self.ports, self.output = runtime, ports, output
        self.session, self.branch = session, branch
        self.held = runtime.session(session)
        self.mind: Mind = runtime.mind(session, branch) if branch in self.held.branches else Mind()
        self.threshold: int = runtime.trace.config["circuit_breaker_errors"]
        self.vector: AgentStateVector = self.mind.vector
        self.mode = self.recorded = self.mind.mode
        self.lowest = self.vector.error_streak
        self.first = len(runtime.log(session, branch))
        """How many events stand before the turn's."""
        self.emitted = 0
        self.failed = self.asked = self.recovering = False
        self.pending_others = 0
        """Tickets that count for the mode after a tool: of a resumed call, those of other calls."""

    def emit(self, kind: str, **fields: Any) -> int:
        told = {"type": kind, **{name: value for name, value in fields.items() if value is not None}}
        sequence = self.runtime.append(self.session, self.branch, told)
        self.emitted += 1
        return sequence

    def phase(self, phase: str) -> None:
        self.emit("PhaseEntered", phase=phase)

    # Modes, errors, the end -------------------------------------------------------------------------------

    def _penalty(self) -> None:
        self.vector = after_error(self.vector)
        self.failed = True

    def set_mode(self, mode: str, reason: str, *, original: bool = False) -> None:
        """Take a mode; `original`: the original tells such a change, compared with what it told last."""
        if self.runtime.rules("W12"):
            if self.asked and mode != "ask_human":
                return
            if self.recovering and mode not in ("ask_human", "recover"):
                return
        self.asked = self.asked or mode == "ask_human"
        self.recovering = self.recovering or mode == "recover"
        before = self.mode if self.runtime.rules("W11") else self.recorded
        self.mode = mode
        if mode != before and (original or self.runtime.rules("W11")):
            self._mode_changed(before, reason)
        if original or self.runtime.rules("W11"):
            self.recorded = mode

    def _mode_changed(self, before: str, reason: str) -> None:
        self.emit("ModeChanged", **{"from": before}, to=self.mode, reason=reason)

    def _error(self, text: str) -> None:
        self._penalty()
        self.set_mode("recover", f"run error: {text}")
        self.emit("RunErrored", error=text)

    def trip(self) -> None:
        """The circuit breaker, as the original has it or as ruled."""
        ruled = self.runtime.rules("W3")
        if ruled and not self.failed:
            self.vector = replace(self.vector, error_streak=0)
        streak = self.vector.error_streak
        if streak >= self.threshold and not (ruled and self.lowest >= self.threshold):
            reason = "error streak exceeded threshold"
            self.set_mode("recover", reason)
            self.emit("CircuitBreakerTripped", reason=reason, error_streak=streak)

    def end(self) -> None:
        """Reflect, account, keep."""
        runtime, vector = self.runtime, as_json(self.vector)
        self.phase("reflect")
        self.emit("BudgetUpdated", budget=vector["budget"], reason="tick accounting")
        sequence = self.emit("StateEstimated", state=vector, mode=self.mode)
        self.held.tick_count += 1
        checkpoint = None
        every = runtime.trace.config["checkpoint_every_ticks"]
        if every == 0:
            raise Failed("attempt to calculate the remainder with a divisor of zero")
        if self.held.tick_count % every == 0:
            checkpoint = runtime.new_id()
            self.emit(
                "CheckpointCreated",
                checkpoint_id=checkpoint,
                event_sequence=sequence,
                state_hash=state_hash(self.vector),
            )
        if self.session in runtime.broken and not runtime.rules("W57"):
            raise Failed("File exists (os error 17)")
        self.emit("Heartbeat", summary="tick complete", checkpoint_id=checkpoint)
        self.phase("sleep")
        self.mind.vector, self.mind.mode = self.vector, self.mode
        branch = self.held.branches[self.branch]
        branch.ends.append((branch.next - 1, self.mind.copy()))
