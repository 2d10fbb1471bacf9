"""The course of a turn: phases, runs, steps and text."""

from vagus.contract.events.base import U32, U64, Kind
from vagus.contract.models import TokenUsage
from vagus.contract.state import LoopPhase


class PhaseEntered(Kind, frozen=True, kw_only=True):
    """The turn entered a phase; `sleep` ends it."""

    phase: LoopPhase


class DeliberationProposed(Kind, frozen=True, kw_only=True):
    """What the turn is about."""

    summary: str
    proposed_tool: str | None = None


class RunStarted(Kind, frozen=True, kw_only=True):
    """A provider is about to be asked."""

    provider: str
    max_iterations: U32


class RunFinished(Kind, frozen=True, kw_only=True):
    """The provider's answer is handled."""

    reason: str
    total_iterations: U32
    final_answer: str | None = None
    usage: TokenUsage | None = None


class RunErrored(Kind, frozen=True, kw_only=True):
    """The provider failed, or the run was ended early."""

    error: str


class StepStarted(Kind, frozen=True, kw_only=True):
    """A model call begins."""

    index: U32


class StepFinished(Kind, frozen=True, kw_only=True):
    """A model call and its directives are handled."""

    index: U32
    stop_reason: str
    directive_count: U64


class AssistantTextDelta(Kind, frozen=True, kw_only=True):
    """A piece of the assistant's text; `TextDelta` is what the kernel writes."""

    delta: str
    index: U32 | None = None


class AssistantMessageCommitted(Kind, frozen=True, kw_only=True):
    """A whole message of the assistant; `Message` is what the kernel writes."""

    role: str
    content: str
    model: str | None = None
    token_usage: TokenUsage | None = None


class TextDelta(Kind, frozen=True, kw_only=True):
    """A piece of text from the model."""

    delta: str
    index: U32 | None = None


class Message(Kind, frozen=True, kw_only=True):
    """A whole message."""

    role: str
    content: str
    model: str | None = None
    token_usage: TokenUsage | None = None
