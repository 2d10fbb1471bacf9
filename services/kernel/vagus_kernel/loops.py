"""Loop detection: the same tool call again and again (fact sheet 2.4)."""

from vagus.contract.extensions import GuardDecision
from vagus_kernel.state import Config

GUARD = "loop_detection"


def classify(config: Config, history: tuple[str, ...], signature: str, tool_name: str) -> GuardDecision:
    """What to say of a call with this signature after these, oldest first."""
    if not config.loop_detection:
        return GuardDecision()
    repetitions = 1
    for previous in reversed(history[len(history) - config.loop_window :]):
        if previous != signature:
            break
        repetitions += 1
    if repetitions >= config.loop_hard_stop:
        verdict, message = (
            "block",
            (
                f"Loop detection stopped repeated tool call `{tool_name}` after {repetitions} identical "
                "turns. Respond with text only and change approach."
            ),
        )
    elif repetitions >= config.loop_warning:
        verdict, message = (
            "warn",
            (
                f"Loop detection warning: tool call `{tool_name}` has repeated {repetitions} times in a row. "
                "Stop repeating it and explain the next step in text."
            ),
        )
    else:
        return GuardDecision()
    return GuardDecision(
        decision=verdict, guard=GUARD, message=message, repetitions=repetitions, signature=signature
    )
