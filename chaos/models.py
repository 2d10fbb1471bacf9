"""What models answer that ask for tools."""

from pathlib import Path
from typing import Final

import msgspec

import vagus
from vagus.contract.models import CallTool, Message, ModelCompletion

ANSWERS: Final = 24
"""Of a branch; the model of one that asks for more fails."""


def write_answers(file: Path) -> None:
    """For the provider `scripted:FILE`, the same for all sessions."""
    file.write_bytes(msgspec.json.encode({"*": [_answer(number) for number in range(ANSWERS)]}))


def _answer(number: int) -> ModelCompletion:
    key = f"model-{number}"
    match number % 4:
        case 0:
            return ModelCompletion(directives=(Message(role="assistant", content=f"answer {number}"),))
        case 1:
            return _asks(_call(key, "chaos.put"))
        case 2:
            return _asks(_call(f"{key}-a", "chaos.pay"), _call(f"{key}-b", "chaos.put"))
        case _:
            return _asks(_call(f"{key}-a", "chaos.look"), _call(f"{key}-b", "chaos.pay"))


def _asks(*calls: CallTool) -> ModelCompletion:
    return ModelCompletion(directives=calls, stop_reason="tool_call")


def _call(key: str, tool: str) -> CallTool:
    return CallTool(call=vagus.ToolCall(call_id=f"call-{key}", tool_name=tool, input={"key": key}))
