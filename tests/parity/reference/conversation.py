"""The conversation as the original folds it from the log (fact sheet 2.8)."""

from collections.abc import Iterable, Sequence
from typing import Any

TURNS = 50


def conversation(
    kinds: Iterable[dict[str, Any]], before: Sequence[dict[str, str]] = ()
) -> list[dict[str, str]]:
    """All turns, the latest last."""
    turns = list(before)
    spoken = ""

    def flush() -> None:
        nonlocal spoken
        if spoken:
            turns.append({"role": "assistant", "content": spoken})
        spoken = ""

    for kind in kinds:
        match kind:
            case {"type": "DeliberationProposed", "summary": summary}:
                flush()
                if summary:
                    turns.append({"role": "user", "content": summary})
            case {"type": "Message", "role": "assistant", "content": text} | {
                "type": "TextDelta",
                "delta": text,
            }:
                spoken += text
            case {"type": "RunFinished"}:
                spoken = spoken or kind.get("final_answer") or ""
                flush()
    flush()
    return turns[-TURNS:]
