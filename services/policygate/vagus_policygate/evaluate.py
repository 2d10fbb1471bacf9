"""What the gate says of one call. Pure: the same request, policies and tickets give the same verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from vagus.contract import limits
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.grants import Grant, GrantLimits, call_hash
from vagus.contract.json import compact
from vagus.contract.messages import GateRequest, Rule, Verdict
from vagus.contract.policy import Capability, PolicyDecision, PolicySet, matches
from vagus.contract.policy import evaluate as by_session
from vagus.contract.tools import ToolCall, ToolDefinition
from vagus_policygate.capabilities import Needs, Template, TooMany, covers_some, needs
from vagus_policygate.schema import InputCheck, one_line


class OrganisationPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for all sessions, whatever their own policies say. It only ever takes away."""

    deny_capabilities: tuple[Capability, ...] = ()
    """Never allowed, not even by a person."""
    allow_capabilities: tuple[Capability, ...] = ("*",)
    """What none of these covers is denied."""
    gate_capabilities: tuple[Capability, ...] = ()
    """Allowed only with a person's approval."""
    max_tool_runtime_secs: Annotated[int, msgspec.Meta(ge=1)] | None = None


class KnownTool:
    """A tool's definition, with its schema and templates made ready."""

    def __init__(self, definition: ToolDefinition) -> None:
        self.definition = definition
        self.input = InputCheck(definition.input_schema)
        self.templates = tuple(map(Template, definition.capabilities))


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict without its signature."""

    verdict: Verdict
    call_hash: str = ""
    """Of the call that was judged, if it may run."""
    timeout_secs: int = 0
    """How long the tool may run, if it may run."""

    @property
    def positive(self) -> bool:
        """Whether the call may run: exactly then the gate signs a grant."""
        return self.timeout_secs > 0


def evaluate(
    request: GateRequest,
    tool: KnownTool | None,
    policy: PolicySet,
    organisation: OrganisationPolicy,
    tickets: Mapping[str, ApprovalTicket],
) -> Judgement:
    """Judge a call by its session's policy. `tickets` holds those of the tickets it names that exist."""
    if tool is None:
        return _refused(request, Rule.TOOL_NOT_FOUND, f"tool not found: {request.call.tool_name}")
    try:
        return _evaluate(request, tool, policy, organisation, tickets)
    except RecursionError:
        return _refused(request, Rule.INVALID_INPUT, "invalid input: nested too deeply")


def grant_for(request: GateRequest, judgement: Judgement, now_ms: int) -> Grant:
    """The grant that a positive judgement of `request` is worth."""
    lasts_s = judgement.timeout_secs + limits.GRANT_SLACK_S
    return Grant(
        session_id=request.session_id,
        branch_id=request.branch_id,
        tool_run_id=request.tool_run_id,
        call_hash=judgement.call_hash,
        capabilities=judgement.verdict.allowed,
        limits=GrantLimits(timeout_secs=judgement.timeout_secs),
        issued_at=now_ms,
        expires_at=now_ms + round(lasts_s * 1000),
    )


def _evaluate(
    request: GateRequest,
    tool: KnownTool,
    policy: PolicySet,
    organisation: OrganisationPolicy,
    tickets: Mapping[str, ApprovalTicket],
) -> Judgement:
    call = request.call
    fault = tool.input.fault(call.input)
    if fault is not None:
        return _refused(request, Rule.INVALID_INPUT, f"invalid input: {fault}")
    size = len(compact(call.input))
    if size > limits.ARGUMENTS_BYTES:
        fault = f"{size} bytes are over the limit of {limits.ARGUMENTS_BYTES}: put long input into a file"
        return _refused(request, Rule.INVALID_INPUT, f"invalid input: {fault}")
    try:
        needed = needs(call.requested_capabilities, tool.templates, call.input)
    except TooMany as error:
        return _refused(request, Rule.INVALID_INPUT, f"invalid input: {error}")
    hashed = call_hash(call)
    for ticket_id in request.tickets:
        fault = _ticket_fault(request, hashed, ticket_id, tickets.get(ticket_id))
        if fault is not None:
            return _refused(request, Rule.TICKETS, fault, needed.capabilities)
    approved = {tickets[ticket_id].capability for ticket_id in request.tickets}
    decision = _decide(needed, policy, organisation, approved)
    verdict = Verdict(
        effect_id=request.effect_id,
        tool_run_id=request.tool_run_id,
        allowed=decision.allowed,
        requires_approval=decision.requires_approval,
        denied=decision.denied,
        explanation=one_line(_explanation(decision)),
    )
    if decision.denied or decision.requires_approval:
        return Judgement(verdict)
    return Judgement(verdict, hashed, _timeout(tool.definition, policy, organisation))


def _refused(request: GateRequest, rule: Rule, why: str, needed: tuple[str, ...] = ()) -> Judgement:
    return Judgement(
        Verdict(
            effect_id=request.effect_id,
            tool_run_id=request.tool_run_id,
            denied=needed,
            rule_id=rule,
            explanation=one_line(why),
        )
    )


def _decide(
    needed: Needs, policy: PolicySet, organisation: OrganisationPolicy, approved: set[str]
) -> PolicyDecision:
    """The stricter of both policies for each capability; a ticket lifts only the need for approval."""
    asked = needed.capabilities
    session = by_session(policy, asked)
    denied = {
        *session.denied,
        *(c for c in asked if not _covered(organisation.allow_capabilities, c)),
        *_held(organisation.deny_capabilities, needed),
    }
    gated = {
        *session.requires_approval,
        *_touched(policy.gate_capabilities, needed),
        *_held(organisation.gate_capabilities, needed),
    } - approved
    return PolicyDecision(
        allowed=tuple(c for c in asked if c not in denied and c not in gated),
        requires_approval=tuple(c for c in asked if c in gated and c not in denied),
        denied=tuple(c for c in asked if c in denied),
    )


def _held(patterns: tuple[str, ...], needed: Needs) -> set[str]:
    """The capabilities that patterns which hold back cover, wholly or in part."""
    return {c for c in needed.capabilities if _covered(patterns, c)} | _touched(patterns, needed)


def _touched(patterns: tuple[str, ...], needed: Needs) -> set[str]:
    return {wide for wide in needed.wide if any(covers_some(pattern, wide) for pattern in patterns)}


def _covered(patterns: tuple[str, ...], capability: str) -> bool:
    return any(matches(pattern, capability) for pattern in patterns)


def _ticket_fault(
    request: GateRequest, hashed: str, ticket_id: str, ticket: ApprovalTicket | None
) -> str | None:
    if ticket is None:
        return f"approval not found: {ticket_id}"
    if ticket.state is not TicketState.APPROVED:
        return f"approval {ticket_id} is {ticket.state.value}"
    same = (
        ticket.session_id == request.session_id
        and ticket.branch_id == request.branch_id
        and ticket.tool_run_id == request.tool_run_id
        and call_hash(ToolCall(tool_name=ticket.tool_name, input=ticket.arguments)) == hashed
    )
    return None if same else f"approval {ticket_id} is for another call"


def _timeout(tool: ToolDefinition, policy: PolicySet, organisation: OrganisationPolicy) -> int:
    bounds = (tool.timeout_secs, policy.max_tool_runtime_secs, organisation.max_tool_runtime_secs)
    return min(bound for bound in bounds if bound is not None)


def _explanation(decision: PolicyDecision) -> str:
    if decision.denied:
        return f"capabilities denied: {','.join(decision.denied)}"
    if decision.requires_approval:
        return f"approval required: {','.join(decision.requires_approval)}"
    return ""
