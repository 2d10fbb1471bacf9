"""What a session's log says of its ticks."""

from collections import Counter

import vagus
from vagus.contract.events import PhaseEntered
from vagus.contract.state import BudgetState, LoopPhase

RICH = BudgetState(
    tokens_remaining=10**9,
    time_remaining_ms=10**12,
    cost_remaining_usd=1e6,
    tool_calls_remaining=10**6,
    error_budget_remaining=10**6,
)
"""For sessions that tick without end."""


async def ended_ticks(session: vagus.Session) -> set[str]:
    """The commands whose ticks have ended; the log is whole, and none has begun or ended twice."""
    assert (await session.verify()).problems == ()
    begun, ended = Counter[str | None](), Counter[str | None]()
    async for event in session.history():
        match event.kind:
            case PhaseEntered(phase=LoopPhase.PERCEIVE):
                begun[event.correlation_id] += 1
            case PhaseEntered(phase=LoopPhase.SLEEP) if event.correlation_id in begun:
                ended[event.correlation_id] += 1
    assert max(begun.values(), default=1) == 1
    assert max(ended.values(), default=1) == 1
    return {command_id for command_id in ended if command_id is not None}
