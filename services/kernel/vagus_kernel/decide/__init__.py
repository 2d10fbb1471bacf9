"""`decide(session, input, context) -> events, or a refusal`: the kernel's mind.

Pure: no I/O, clock or randomness.
"""

from typing import assert_never

from vagus.contract import commands
from vagus.contract.errors import SessionNotFound
from vagus_kernel import inputs
from vagus_kernel.decide import answers, approvals, branches, session, tick
from vagus_kernel.decide.draft import Decision, Outcome, Rejected
from vagus_kernel.inputs import Context, Input
from vagus_kernel.state import Session

__all__ = ["Decision", "Outcome", "Rejected", "decide"]


def decide(state: Session | None, given: Input, context: Context) -> Outcome:
    """What follows from an input. Total: an input that is late or was handled before leads to no events."""
    if isinstance(given, inputs.Create):
        return session.create(state, given, context)
    if state is None:
        return Rejected(SessionNotFound("session not found"))
    match given:
        case inputs.StartTick():
            return tick.start(state, given, context)
        case inputs.ModelAnswer():
            return answers.model(state, given, context)
        case inputs.VerdictGiven():
            return answers.verdict(state, given, context)
        case inputs.ToolReported(report=report):
            return answers.report(state, report, context)
        case inputs.DeadlinePassed():
            return answers.deadline(state, given, context)
        case inputs.ToolNeverRan():
            return answers.never_ran(state, given, context)
        case inputs.GiveUp():
            return answers.give_up(state, given, context)
        case inputs.ApprovalResolved():
            return approvals.resolve(state, given, context)
        case inputs.CancelTurn():
            return approvals.cancel(state, given, context)
        case inputs.Fork():
            return branches.fork(state, given, context)
        case inputs.RestoreTo():
            return branches.restore(state, given, context)
        case inputs.Resumed():
            return session.resume(state, given, context)
        case commands.MergeBranch():
            return branches.merge(state, given, context)
        case commands.RecordEvent():
            return session.record(state, given, context)
        case commands.SetPolicy():
            return session.set_policy(state, given, context)
        case commands.ExtendBudget():
            return session.extend_budget(state, given, context)
        case commands.Close():
            return session.close(state, given, context)
        case inputs.Mark():
            return session.mark(state, given, context)
        case _:
            assert_never(given)
