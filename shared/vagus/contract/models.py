"""Model requests and completions (fact sheet 1.8)."""

from typing import TypeAlias

import msgspec

from vagus.contract.json import Json
from vagus.contract.tools import ToolCall


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one model call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ConversationTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the conversation as the model is shown it."""

    role: str
    content: str


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text_delta"):
    """A piece of text."""

    delta: str
    index: int | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A whole message."""

    role: str
    content: str


class CallTool(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_call"):
    """A tool call that the model asks for."""

    call: ToolCall


ModelDirective: TypeAlias = TextDelta | Message | CallTool

StopReason: TypeAlias = str | dict[str, str]
"""`completed`, `tool_call`, `max_iterations`, `cancelled`, `error`, or `{"other": text}`."""


def stop_reason_text(reason: StopReason) -> str:
    """The reason as one word, as events carry it."""
    return reason if isinstance(reason, str) else reason.get("other", "")


class ModelCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered."""

    provider: str = "scripted"
    model: str = "scripted"
    directives: tuple[ModelDirective, ...] = ()
    stop_reason: StopReason = "completed"
    usage: TokenUsage | None = None
    final_answer: str | None = None
    llm_call_record: Json = None


class ModelCompletionRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider is asked. The current objective is in `objective` only, not in the history as well."""

    session_id: str
    branch_id: str
    run_id: str
    step_index: int
    objective: str
    proposed_tool: ToolCall | None = None
    system_prompt: str | None = None
    allowed_tools: tuple[str, ...] | None = None
    conversation_history: tuple[ConversationTurn, ...] = ()
    call_index: int = 0
    """How many model calls this branch's log holds already: the n-th call of a scripted provider."""


class ModelRouting(msgspec.Struct, frozen=True, kw_only=True):
    """Which model a session asks. The prefix of `primary_model` chooses the provider."""

    primary_model: str = "claude-sonnet-4-5-20250929"
    fallback_models: tuple[str, ...] = ("gpt-4.1",)
    temperature: float = 0.2
