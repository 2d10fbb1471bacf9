"""Guards of tool calls: loop detectors, and those that always say the same (fact sheet 2.4)."""

from dataclasses import dataclass
from typing import Any

from tests.parity.trace import Object
from vagus.contract.hashing import call_signature


@dataclass(frozen=True, slots=True)
class Said:
    """What a guard said: `warn`, `block` or `error`."""

    decision: str
    guard: str
    message: str
    repetitions: int = 0
    signature: str = ""

    def custom(self, call: Object, name: str) -> dict[str, Any]:
        suffix = "hard_stop" if self.decision == "block" else "warning"
        data = {
            "call_id": call["call_id"],
            "message": self.message,
            "repetitions": self.repetitions,
            "signature": self.signature,
            "tool_name": call["tool_name"],
        }
        return {"event_type": f"{name}.{suffix}", "data": data}


def judge(middlewares: tuple[Object, ...], call: Object, seen: list[list[str]]) -> Said | None:
    """The first block or error wins, else the last warning. `seen` is each loop detector's history."""
    warning: Said | None = None
    detectors = iter(seen)
    for middleware in middlewares:
        said: Said | None = None
        if middleware["type"] == "loop_detection":
            said = _loop(middleware, call, next(detectors))
        elif middleware["type"] == "static_guard":
            said = _static(middleware, call)
        if said is not None and said.decision != "warn":
            return said
        warning = said or warning
    return warning


def _static(guard: Object, call: Object) -> Said | None:
    if guard["decision"] == "allow" or guard.get("only_tool") not in (None, call["tool_name"]):
        return None
    return Said(guard["decision"], "static_guard", guard["message"], guard["repetitions"], guard["signature"])


def _loop(settings: Object, call: Object, seen: list[str]) -> Said | None:
    tool, signature = call["tool_name"], call_signature(call["tool_name"], call["input"])
    window = settings["window_size"]
    repetitions = 1
    for before in reversed(seen[-window:] if window else []):
        if before != signature:
            break
        repetitions += 1
    seen.append(signature)
    if repetitions >= settings["hard_stop_limit"]:
        text = (
            f"Loop detection stopped repeated tool call `{tool}` after {repetitions} identical turns. "
            "Respond with text only and change approach."
        )
        return Said("block", "loop_detection", text, repetitions, signature)
    if repetitions >= settings["warning_threshold"]:
        text = (
            f"Loop detection warning: tool call `{tool}` has repeated {repetitions} times in a row. "
            "Stop repeating it and explain the next step in text."
        )
        return Said("warn", "loop_detection", text, repetitions, signature)
    return None
