"""Facts that the original has no event for: `Custom` events named `vagus.*`. Only kernels write them.

They make the log sufficient: whatever the kernel must know after a crash stands in an event of the original
or in one of these.
"""

from typing import ClassVar

import msgspec

from vagus.contract.events import Custom
from vagus.contract.models import ConversationTurn, ModelCompletion
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import BudgetExtension, SessionManifest
from vagus.contract.state import AgentStateVector, BudgetState
from vagus.contract.tools import Priority


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork inherits and a checkpoint restores: the branch's mind, without anything in flight."""

    vector: AgentStateVector = AgentStateVector()
    loop: tuple[str, ...] = ()
    """Signatures of the latest tool calls, oldest first."""
    history: tuple[ConversationTurn, ...] = ()
    speaking: str = ""
    """What the assistant has said since the last conversation turn was complete."""
    objective: str | None = None
    """The latest that was not empty."""


class GuardDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a guard said of a call: `allow`, `warn`, `block`, or `error` when it could not say."""

    decision: str = "allow"
    guard: str = "guard"
    """Events are recorded as `<guard>.warning` and `<guard>.hard_stop`."""
    message: str = ""
    repetitions: int = 0
    signature: str = ""


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What only the kernel says."""

    event_type: ClassVar[str]

    def event(self) -> Custom:
        """The event that carries this."""
        return Custom(event_type=self.event_type, data=msgspec.to_builtins(self))


class ManifestSet(Fact, frozen=True, kw_only=True):
    """What the session is, for ever; and its first budget, where that is not the default."""

    event_type = "vagus.manifest_set"
    manifest: SessionManifest
    budget: BudgetState | None = None


class PolicyWritten(Fact, frozen=True, kw_only=True):
    """The policy from here on."""

    event_type = "vagus.policy_set"
    version: int
    policy: PolicySet


class TurnStarted(Fact, frozen=True, kw_only=True):
    """A tick was accepted; what of it no event of the original tells."""

    event_type = "vagus.turn_started"
    run_id: str
    actor: str = ""
    system_prompt: str | None = None
    allowed_tools: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    """Declared by the client for the call that it proposed."""
    guards: dict[str, GuardDecision] = {}
    priority: Priority = Priority.NORMAL


class ModelAnswered(Fact, frozen=True, kw_only=True):
    """A model's answer that asks for tools: the directives that later commits carry out."""

    event_type = "vagus.model_answered"
    completion: ModelCompletion
    guards: dict[str, GuardDecision] = {}


class CallRefused(Fact, frozen=True, kw_only=True):
    """A call that never became a request: its id was used before."""

    event_type = "vagus.call_refused"
    call_id: str
    tool_name: str
    reason: str


class CallGranted(Fact, frozen=True, kw_only=True):
    """The gate's signed word for the call that P:execute begins."""

    event_type = "vagus.call_granted"
    tool_run_id: str
    grant: str
    deadline: str


class CancelRequested(Fact, frozen=True, kw_only=True):
    """Somebody asked to end the turn; a tool that runs is being stopped."""

    event_type = "vagus.cancel_requested"
    actor: str = ""
    command_id: str | None = None
    """Of the Cancel: a redelivered one must not end what came later."""


class TicksDropped(Fact, frozen=True, kw_only=True):
    """Ticks that waited were cancelled: however often they are delivered, they will not begin."""

    event_type = "vagus.ticks_dropped"
    dropped: tuple[str, ...]
    """Their commands."""
    actor: str = ""
    command_id: str | None = None
    """As of `CancelRequested`."""


class BudgetExtended(Fact, frozen=True, kw_only=True):
    """Somebody added to the branch's budget."""

    event_type = "vagus.budget_extended"
    extension: BudgetExtension
    actor: str = ""


class StateSet(Fact, frozen=True, kw_only=True):
    """The branch's mind as of another point of the log: a fork in the past, or a restored checkpoint."""

    event_type = "vagus.state_set"
    memory: Memory


class LogCopied(Fact, frozen=True, kw_only=True):
    """The mark: the log is being archived as it is with this event; who writes next takes it back first."""

    event_type = "vagus.log_copied"
    copy: str
    """The name of the copy."""


class SessionErased(Fact, frozen=True, kw_only=True):
    """The session was erased. On no log: it stands in the firehose, in place of all events of the session."""

    event_type = "vagus.session_erased"
    ordered_at: str
    actor: str
    reason: str


KINDS: dict[str, type[Fact]] = {
    cls.event_type: cls
    for cls in (
        ManifestSet,
        PolicyWritten,
        TurnStarted,
        ModelAnswered,
        CallRefused,
        CallGranted,
        CancelRequested,
        TicksDropped,
        BudgetExtended,
        StateSet,
        SessionErased,
        LogCopied,
    )
}


def read(event: Custom) -> Fact | None:
    """The fact that an event carries; None if it carries none, or one that cannot be read."""
    shape = KINDS.get(event.event_type)
    try:
        return msgspec.convert(event.data, shape) if shape is not None else None
    except msgspec.ValidationError:
        return None
