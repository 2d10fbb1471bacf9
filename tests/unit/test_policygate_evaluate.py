"""Verdicts: unknown tools, schema faults, both policies, tickets, and what a grant says."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from vagus.contract import limits
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.grants import call_hash
from vagus.contract.messages import GateRequest, Rule, decode
from vagus.contract.policy import PolicySet
from vagus.contract.policy import evaluate as by_session
from vagus.contract.tools import ToolCall, ToolDefinition
from vagus_policygate.evaluate import Judgement, KnownTool, OrganisationPolicy, evaluate, grant_for

WRITE = ToolDefinition(
    name="fs.write",
    input_schema={
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
        "additionalProperties": False,
    },
    capabilities=("fs:write:{path}",),
    timeout_secs=40,
)
DEFAULT = PolicySet.preset("default")
GATED = PolicySet(
    allow_capabilities=("fs:read:/session/**",),
    gate_capabilities=("fs:write:**", "payments:initiate"),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)

NOBODY = OrganisationPolicy()


def request(path: str = "artifacts/a", *, declared: tuple[str, ...] = (), **changes: Any) -> GateRequest:
    call = ToolCall(
        call_id="c",
        tool_name="fs.write",
        input={"path": path, "content": "x"},
        requested_capabilities=declared,
    )
    asked = GateRequest(
        effect_id="e",
        attempt=1,
        session_id="s",
        branch_id="main",
        tool_run_id="r",
        call=call,
        policy_version=1,
    )
    return replace(asked, **changes)


def judge(
    asked: GateRequest,
    *,
    organisation: OrganisationPolicy = NOBODY,
    policy: PolicySet = DEFAULT,
    tickets: tuple[ApprovalTicket, ...] = (),
    tool: ToolDefinition | None = WRITE,
) -> Judgement:
    known = None if tool is None else KnownTool(tool)
    return evaluate(asked, known, policy, organisation, {ticket.approval_id: ticket for ticket in tickets})


def ticket(asked: GateRequest, **changes: Any) -> ApprovalTicket:
    made = ApprovalTicket(
        approval_id="t1",
        session_id=asked.session_id,
        call_id="c",
        tool_name=asked.call.tool_name,
        capability="fs:write:/session/artifacts/a",
        reason="",
        created_at="2026-01-01T00:00:00Z",
        branch_id=asked.branch_id,
        tool_run_id=asked.tool_run_id,
        arguments=asked.call.input,
        expires_at="2026-01-01T01:00:00Z",
        state=TicketState.APPROVED,
    )
    return replace(made, **changes)


# The session's policy -------------------------------------------------------------------------------------


def test_a_call_that_the_policy_allows_may_run() -> None:
    judged = judge(request())
    assert judged.positive
    assert judged.verdict.allowed == ("fs:write:/session/artifacts/a",)
    assert not judged.verdict.denied
    assert not judged.verdict.requires_approval
    assert judged.verdict.explanation == ""


def test_what_the_tool_does_is_judged_whatever_the_caller_declares() -> None:
    judged = judge(request("secret", declared=("fs:write:/session/artifacts/a",)))
    assert not judged.positive
    assert judged.verdict.denied == ("fs:write:/session/secret",)
    assert judged.verdict.rule_id == Rule.CAPABILITIES
    assert judged.verdict.explanation == "capabilities denied: fs:write:/session/secret"


def test_what_the_caller_declares_is_judged_as_well() -> None:
    judged = judge(request(declared=("net:egress:example.com",)))
    assert judged.verdict.denied == ("net:egress:example.com",)
    assert judged.verdict.allowed == ("fs:write:/session/artifacts/a",)


@pytest.mark.parametrize("path", ["../x", "artifacts/../x", "/../etc/passwd", "a\0b"])
def test_a_path_that_leads_out_is_denied_by_the_widest_policy(path: str) -> None:
    judged = judge(request(path), policy=PolicySet.preset("enterprise"))
    assert not judged.positive
    assert len(judged.verdict.denied) == 1
    assert judged.verdict.explanation.isprintable()


def test_a_gated_capability_needs_a_person() -> None:
    judged = judge(request(), policy=GATED)
    assert not judged.positive
    assert judged.verdict.requires_approval == ("fs:write:/session/artifacts/a",)
    assert judged.verdict.explanation == "approval required: fs:write:/session/artifacts/a"


def test_a_call_whose_target_is_unknown_is_held_back_by_a_gate_that_touches_it() -> None:
    tool = ToolDefinition(name="fs.write", capabilities=("fs:write:{path}",))
    asked = request(call=ToolCall(tool_name="fs.write", input={}))
    policy = replace(GATED, allow_capabilities=("*",), gate_capabilities=("fs:write:/session/secret/**",))
    assert judge(asked, policy=policy, tool=tool).verdict.requires_approval == ("fs:write:/session/**",)
    narrow = replace(DEFAULT, allow_capabilities=("fs:write:/session/a/**",))
    assert judge(asked, policy=narrow, tool=tool).verdict.denied == ("fs:write:/session/**",)


def test_declared_capabilities_are_sorted_as_the_original_sorts_them() -> None:
    asked = ("payments:initiate", "exec:cmd:git", "net:egress:x", "payments:initiate", "exec:cmd:ls", "*")
    tool = ToolDefinition(name="t")
    call = ToolCall(tool_name="t", requested_capabilities=asked)
    said = judge(request(call=call), tool=tool).verdict
    wanted = by_session(DEFAULT, asked)
    assert (said.allowed, said.requires_approval, said.denied) == (
        wanted.allowed,
        wanted.requires_approval,
        wanted.denied,
    )


# Before the policy ----------------------------------------------------------------------------------------


def test_an_unknown_tool_is_denied() -> None:
    judged = judge(request(), tool=None)
    assert not judged.positive
    assert judged.verdict.rule_id == Rule.TOOL_NOT_FOUND
    assert judged.verdict.explanation == "tool not found: fs.write"


def test_an_unknown_tool_with_an_evil_name_makes_one_line() -> None:
    call = ToolCall(tool_name="x\ny\x1b[2J" + "z" * 10_000)
    said = judge(request(call=call), tool=None).verdict.explanation
    assert said.isprintable()
    assert len(said) <= 300


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"path": "a"}, "invalid input: 'content' is a required property"),
        ({"path": 1, "content": "x"}, "invalid input: path: 1 is not of type 'string'"),
        ([], "invalid input: [] is not of type 'object'"),
        (None, "invalid input: None is not of type 'object'"),
        (
            {"path": "a", "content": "x", "more": 1},
            "invalid input: Additional properties are not allowed ('more' was unexpected)",
        ),
    ],
)
def test_an_input_that_breaks_the_schema_is_refused_in_one_line(arguments: object, fault: str) -> None:
    judged = judge(request(call=ToolCall(tool_name="fs.write", input=arguments)))
    assert not judged.positive
    assert judged.verdict.rule_id == Rule.INVALID_INPUT
    assert judged.verdict.explanation == fault


def test_a_fault_that_quotes_a_huge_value_stays_one_short_line() -> None:
    call = ToolCall(tool_name="fs.write", input={"path": ["a\n" * 200_000], "content": ""})
    said = judge(request(call=call)).verdict.explanation
    assert said.startswith("invalid input: path: ")
    assert said.endswith("...")
    assert said.isprintable()
    assert len(said) <= 320


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#/nowhere"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"path": {"pattern": "("}}},
    ],
)
def test_a_broken_schema_lets_nothing_through(schema: dict[str, object]) -> None:
    judged = judge(request(), tool=replace(WRITE, input_schema=schema), policy=PolicySet.preset("pro"))
    assert not judged.positive
    assert judged.verdict.rule_id == Rule.INVALID_INPUT
    assert judged.verdict.explanation.isprintable()


def test_an_input_nested_too_deeply_is_refused() -> None:
    nested: object = "x"
    for _ in range(5_000):
        nested = [nested]
    call = ToolCall(tool_name="t", input={"deep": nested})
    judged = judge(request(call=call), tool=ToolDefinition(name="t"))
    assert not judged.positive
    assert judged.verdict.explanation == "invalid input: nested too deeply"


def test_an_input_over_the_limit_is_refused() -> None:
    def judged(size: int) -> Judgement:
        call = ToolCall(tool_name="t", input={"x": "y" * (size - len('{"x":""}'))})
        return judge(request(call=call), tool=ToolDefinition(name="t"))

    assert judged(limits.ARGUMENTS_BYTES).positive
    refused = judged(limits.ARGUMENTS_BYTES + 1)
    assert not refused.positive
    assert refused.verdict.rule_id == Rule.INVALID_INPUT
    assert refused.verdict.explanation == (
        "invalid input: 524289 bytes are over the limit of 524288: put long input into a file"
    )


def test_an_input_that_the_validator_stumbles_over_is_refused() -> None:
    tool = ToolDefinition(name="t", input_schema={"properties": {"n": {"multipleOf": 0.5}}})
    judged = judge(request(call=ToolCall(tool_name="t", input={"n": 10**400})), tool=tool)
    assert not judged.positive
    assert judged.verdict.explanation == "invalid input: cannot be checked: int too large to convert to float"


def test_a_call_that_declares_too_much_is_refused() -> None:
    judged = judge(request(declared=tuple(f"c:{n}" for n in range(1000))))
    assert judged.verdict.explanation == "invalid input: more than 256 capabilities"


# The organisation's policy --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [DEFAULT, GATED, PolicySet.preset("anonymous"), PolicySet.preset("pro")])
@pytest.mark.parametrize(
    "organisation",
    [
        OrganisationPolicy(),
        OrganisationPolicy(deny_capabilities=("fs:write:/session/artifacts/**",)),
        OrganisationPolicy(allow_capabilities=("fs:read:**",)),
        OrganisationPolicy(gate_capabilities=("exec:**", "fs:write:**")),
        OrganisationPolicy(allow_capabilities=(), gate_capabilities=("*",), deny_capabilities=("*",)),
    ],
)
def test_the_organisation_only_takes_away(policy: PolicySet, organisation: OrganisationPolicy) -> None:
    asked = request(
        declared=(
            "fs:read:/session/a",
            "exec:cmd:git",
            "payments:initiate",
            "net:egress:x",
            "fs:write:/etc/x",
        )
    )
    before = judge(asked, policy=policy).verdict
    after = judge(asked, policy=policy, organisation=organisation).verdict
    rank = {
        **dict.fromkeys(before.allowed, 0),
        **dict.fromkeys(before.requires_approval, 1),
        **dict.fromkeys(before.denied, 2),
    }
    later = {
        **dict.fromkeys(after.allowed, 0),
        **dict.fromkeys(after.requires_approval, 1),
        **dict.fromkeys(after.denied, 2),
    }
    assert rank.keys() == later.keys()
    assert all(later[capability] >= rank[capability] for capability in rank)


def test_no_person_can_approve_what_the_organisation_denies() -> None:
    asked = request(tickets=("t1",))
    organisation = OrganisationPolicy(deny_capabilities=("fs:write:**",))
    judged = judge(asked, policy=GATED, organisation=organisation, tickets=(ticket(asked),))
    assert judged.verdict.denied == ("fs:write:/session/artifacts/a",)


def test_the_shortest_time_limit_counts() -> None:
    assert judge(request(), policy=replace(DEFAULT, max_tool_runtime_secs=50)).timeout_secs == 40
    assert judge(request()).timeout_secs == 30
    assert judge(request(), organisation=OrganisationPolicy(max_tool_runtime_secs=7)).timeout_secs == 7


def test_an_organisation_policy_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(Exception, match="unknown field"):
        decode(b'{"deny": ["x"]}', OrganisationPolicy)


# Tickets --------------------------------------------------------------------------------------------------


def test_an_approved_ticket_lets_its_capability_through() -> None:
    asked = request(tickets=("t1",))
    judged = judge(asked, policy=GATED, tickets=(ticket(asked),))
    assert judged.positive
    assert judged.verdict.allowed == ("fs:write:/session/artifacts/a",)


def test_a_ticket_lets_through_only_its_own_capability() -> None:
    asked = request(declared=("payments:initiate",), tickets=("t1",))
    judged = judge(asked, policy=GATED, tickets=(ticket(asked),))
    assert not judged.positive
    assert judged.verdict.requires_approval == ("payments:initiate",)


def test_a_ticket_does_not_outrank_a_policy_that_denies_meanwhile() -> None:
    asked = request("secret", tickets=("t1",))
    held = ticket(asked, capability="fs:write:/session/secret")
    judged = judge(asked, policy=DEFAULT, tickets=(held,))
    assert judged.verdict.denied == ("fs:write:/session/secret",)


def test_a_ticket_that_the_request_does_not_name_counts_for_nothing() -> None:
    asked = request()
    assert judge(asked, policy=GATED, tickets=(ticket(asked),)).verdict.requires_approval


@pytest.mark.parametrize("state", [s for s in TicketState if s is not TicketState.APPROVED])
def test_a_ticket_that_nobody_approved_denies_the_call(state: TicketState) -> None:
    asked = request(tickets=("t1",))
    judged = judge(asked, policy=GATED, tickets=(ticket(asked, state=state),))
    assert not judged.positive
    assert judged.verdict.rule_id == Rule.TICKETS
    assert judged.verdict.explanation == f"approval t1 is {state.value}"


def test_a_ticket_that_does_not_exist_denies_the_call() -> None:
    judged = judge(request(tickets=("t9",)), policy=GATED)
    assert judged.verdict.rule_id == Rule.TICKETS
    assert judged.verdict.explanation == "approval not found: t9"


@pytest.mark.parametrize(
    "other",
    [
        {"session_id": "s2"},
        {"branch_id": "b"},
        {"tool_run_id": "r2"},
        {"tool_name": "shell.exec"},
        {"arguments": {"path": "artifacts/a", "content": "y"}},
        {"arguments": None},
    ],
)
def test_a_ticket_of_another_call_denies_the_call(other: dict[str, object]) -> None:
    asked = request(tickets=("t1",))
    judged = judge(asked, policy=GATED, tickets=(ticket(asked, **other),))
    assert not judged.positive
    assert judged.verdict.explanation == "approval t1 is for another call"


def test_the_order_of_the_input_s_keys_makes_no_other_call() -> None:
    asked = request(tickets=("t1",))
    turned = json.loads('{"content": "x", "path": "artifacts/a"}')
    assert judge(asked, policy=GATED, tickets=(ticket(asked, arguments=turned),)).positive


# Grants ---------------------------------------------------------------------------------------------------


def test_a_grant_is_for_exactly_the_call_that_was_judged() -> None:
    asked = request()
    grant = grant_for(asked, judge(asked), now_ms=1_000_000)
    assert (grant.session_id, grant.branch_id, grant.tool_run_id) == ("s", "main", "r")
    assert grant.call_hash == call_hash(asked.call)
    assert grant.capabilities == ("fs:write:/session/artifacts/a",)
    assert grant.limits.timeout_secs == 30
    assert grant.issued_at == 1_000_000
    assert grant.expires_at == 1_000_000 + 30_000 + limits.GRANT_SLACK_S * 1000


def test_the_same_question_gets_the_same_answer() -> None:
    asked = request(declared=("b", "a", "exec:cmd:git"))
    assert judge(asked) == judge(asked)
