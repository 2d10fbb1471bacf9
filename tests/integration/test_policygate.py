"""The policy gate against a real broker."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.services import Inbox, impatient, serving, stored, wait_until_empty
from tests.kit.waiting import eventually
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.errors import SettingsError, Unavailable
from vagus.contract.grants import call_hash
from vagus.contract.messages import ANSWER_TO, GateRequest, Role, Rule, Verdict, decode
from vagus.contract.policy import PolicyInForce, PolicySet
from vagus.contract.streams import POLICIES, TICKETS, gate_consumer
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolCall, ToolDefinition
from vagus.runtime import clock, faults
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.grants import GrantVerifier, generate_key
from vagus.runtime.provision import ensure
from vagus.runtime.toolbox import register
from vagus_policygate import gate as gate_module
from vagus_policygate.gate import serve
from vagus_policygate.policies import Policies
from vagus_policygate.settings import Settings

WRITE = ToolDefinition(
    name="fs.write",
    input_schema={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    capabilities=("fs:write:{path}",),
)
GATED = PolicySet(
    allow_capabilities=(),
    gate_capabilities=("fs:write:**",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)
DEFAULT = PolicySet.preset("default")


class Desk:
    """A kernel, as a gate sees it."""

    def __init__(self, bus: Bus, subjects: Subjects, folder: Path) -> None:
        self.bus = bus
        self.subjects = subjects
        self.inbox = Inbox(bus, subjects)
        self.policies = Bucket(bus, subjects.named(POLICIES))
        self.tickets = Bucket(bus, subjects.named(TICKETS))
        self.settings = Settings(
            grant_seed_file=folder / "grant.seed", root_subject=subjects.root, partitions=1
        )
        self.verifier = GrantVerifier([generate_key(folder / "grant.seed")])
        self._count = 0

    async def publish(self, policy: PolicySet = DEFAULT, version: int = 1, session: str = "s") -> None:
        entry = PolicyInForce(version=version, policy=policy)
        await self.policies.put(session, msgspec.json.encode(entry))

    def request(self, path: str = "artifacts/a", **changes: Any) -> GateRequest:
        self._count += 1
        asked = GateRequest(
            effect_id=f"e{self._count}",
            attempt=1,
            session_id="s",
            branch_id="main",
            tool_run_id=f"r{self._count}",
            call=ToolCall(call_id="c", tool_name="fs.write", input={"path": path}),
            policy_version=1,
        )
        return replace(asked, **changes)

    async def send(self, request: GateRequest, **headers: str) -> None:
        await self.bus.store(
            self.subjects.gate(request.session_id),
            msgspec.json.encode(request),
            msg_id=f"{request.effect_id}.{request.attempt}",
            headers=headers,
        )

    def of(self, request: GateRequest) -> list[Verdict]:
        return [said for said in self.inbox.of(Role.VERDICT, Verdict) if said.effect_id == request.effect_id]

    async def ask(self, request: GateRequest) -> Verdict:
        await self.send(request)
        return (await eventually(lambda: self.of(request)))[0]

    async def hold(self, request: GateRequest, **changes: Any) -> str:
        """Store a ticket as an approver would; returns its id."""
        ticket = ApprovalTicket(
            approval_id="t1",
            session_id=request.session_id,
            call_id=request.call.call_id,
            tool_name=request.call.tool_name,
            capability="fs:write:/session/artifacts/a",
            reason="",
            created_at=clock.now(),
            branch_id=request.branch_id,
            tool_run_id=request.tool_run_id,
            arguments=request.call.input,
            expires_at=clock.plus(60),
            state=TicketState.APPROVED,
        )
        ticket = replace(ticket, **changes)
        await self.tickets.put(f"{ticket.session_id}.{ticket.approval_id}", msgspec.json.encode(ticket))
        return ticket.approval_id


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects, tmp_path: Path) -> AsyncIterator[Desk]:
    await ensure(bus, subjects, partitions=1)
    desk = Desk(bus, subjects, tmp_path)
    await register(bus, subjects, WRITE)
    async with desk.inbox.open():
        yield desk


# Verdicts -------------------------------------------------------------------------------------------------


async def test_a_call_that_may_run_gets_a_grant_for_exactly_that_call(desk: Desk) -> None:
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        request = desk.request()
        said = await desk.ask(request)
    assert said.allowed == ("fs:write:/session/artifacts/a",)
    assert said.grant is not None
    grant = desk.verifier.verify(said.grant)
    assert (grant.session_id, grant.branch_id) == ("s", "main")
    assert grant.tool_run_id == said.tool_run_id == request.tool_run_id
    assert grant.call_hash == call_hash(request.call)
    assert grant.limits.timeout_secs == 30
    assert grant.issued_at <= clock.now_ms() < grant.expires_at


@pytest.mark.parametrize(
    ("changes", "rule", "why"),
    [
        ({"path": "state/x"}, Rule.CAPABILITIES, "capabilities denied: fs:write:/session/state/x"),
        ({"path": "../x"}, Rule.CAPABILITIES, "capabilities denied: fs:write:/session/../x"),
        ({"call": ToolCall(tool_name="nope")}, Rule.TOOL_NOT_FOUND, "tool not found: nope"),
        ({"call": ToolCall(tool_name=">")}, Rule.TOOL_NOT_FOUND, "tool not found: >"),
        ({"call": ToolCall(tool_name="a b\n*")}, Rule.TOOL_NOT_FOUND, "tool not found: a b *"),
        (
            {"call": ToolCall(tool_name="fs.write", input={"path": 1})},
            Rule.INVALID_INPUT,
            "invalid input: path: 1 is not of type 'string'",
        ),
        ({"tickets": ("t9",)}, Rule.TICKETS, "approval not found: t9"),
        ({"tickets": ("*",)}, Rule.TICKETS, "approval not found: *"),
    ],
)
async def test_a_call_that_may_not_run_gets_a_reason_and_no_grant(
    desk: Desk, changes: dict[str, Any], rule: Rule, why: str
) -> None:
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        said = await desk.ask(desk.request(**changes))
    assert (said.rule_id, said.explanation) == (rule, why)
    assert said.grant is None
    await wait_until_empty(desk.bus, desk.subjects.named("GATE"))


async def test_who_says_where_it_waits_is_told_straight(desk: Desk) -> None:
    await desk.publish()
    request = desk.request()
    async with (
        desk.bus.subscribe(desk.subjects.verdict("k1")) as told,
        desk.bus.subscribe(desk.subjects.inbox(Role.VERDICT, "s")) as heard,
        serving(serve, desk.bus, desk.settings),
    ):
        await desk.send(request, **{ANSWER_TO: "k1"})
        with anyio.fail_after(20):
            message = await anext(told)
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
        assert message.subject == desk.subjects.verdict("k1", "s")
        said = decode(message.data, Verdict)
        assert (said.effect_id, said.grant is not None) == (request.effect_id, True)
        assert (await anext(heard)).data == message.data
        assert desk.of(request) == []
        assert await stored(desk.bus, desk.subjects.named("INBOX")) == 0
        again = replace(request, attempt=2)
        await desk.send(again)
        assert len(await eventually(lambda: desk.of(again))) == 1


async def test_where_the_server_forbids_that_verdicts_go_by_the_inbox(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.bus, "forbids", lambda beginning: beginning == desk.subjects.verdict("k1", ""))
    await desk.publish()
    request = desk.request()
    async with serving(serve, desk.bus, desk.settings):
        await desk.send(request, **{ANSWER_TO: "k1"})
        assert len(await eventually(lambda: desk.of(request))) == 1


async def test_a_request_that_would_be_answered_elsewhere_is_a_dead_letter(desk: Desk) -> None:
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        await desk.send(desk.request(), **{ANSWER_TO: "k1.s.x"})
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 1


async def test_a_tool_that_was_registered_a_moment_ago_is_found(desk: Desk) -> None:
    await desk.publish(PolicySet.preset("pro"))
    async with serving(serve, desk.bus, desk.settings):
        await register(desk.bus, desk.subjects, ToolDefinition(name="brand.new"))
        said = await desk.ask(desk.request(call=ToolCall(tool_name="brand.new")))
    assert said.grant is not None


async def test_an_approved_ticket_lets_the_call_through_and_a_pending_one_does_not(desk: Desk) -> None:
    await desk.publish(GATED)
    async with serving(serve, desk.bus, desk.settings):
        request = desk.request()
        assert (await desk.ask(request)).requires_approval == ("fs:write:/session/artifacts/a",)
        again = replace(request, effect_id="e-again", tickets=("t1",))
        await desk.hold(request, state=TicketState.PENDING)
        assert (await desk.ask(again)).explanation == "approval t1 is pending"
        await desk.hold(request)
        assert (await desk.ask(replace(again, effect_id="e-then"))).grant is not None
        other = replace(again, effect_id="e-other", tool_run_id="r-other")
        assert (await desk.ask(other)).explanation == "approval t1 is for another call"


async def test_the_organisation_s_policy_takes_away(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"deny_capabilities": ["fs:write:**"]}')
    settings = replace(desk.settings, organisation_policy=tmp_path / "policy.json")
    await desk.publish(PolicySet.preset("enterprise"))
    async with serving(serve, desk.bus, settings):
        assert (await desk.ask(desk.request())).denied == ("fs:write:/session/artifacts/a",)


async def test_a_broken_organisation_policy_is_no_policy(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"deny": ["fs:write:**"]}')
    settings = replace(desk.settings, organisation_policy=tmp_path / "policy.json")
    with pytest.raises(SettingsError, match=r"VAGUS_ORGANISATION_POLICY='.*policy.json': .*deny"):
        await serve(desk.bus, settings, anyio.Event(), started=lambda: None)


# Policies -------------------------------------------------------------------------------------------------


async def test_a_request_waits_for_the_policy_version_that_it_names(desk: Desk) -> None:
    await desk.publish(DEFAULT, version=1)
    async with serving(serve, desk.bus, desk.settings):
        request = desk.request("state/x", policy_version=2)
        await desk.send(request)
        other = await desk.ask(desk.request())
        assert other.grant is not None
        assert desk.of(request) == []
        await desk.publish(PolicySet.preset("pro"), version=2)
        assert (await eventually(lambda: desk.of(request)))[0].grant is not None


async def test_a_new_policy_holds_for_old_requests_too(desk: Desk) -> None:
    await desk.publish(PolicySet.preset("pro"), version=1)
    async with serving(serve, desk.bus, desk.settings):
        assert (await desk.ask(desk.request("state/x"))).grant is not None
        await desk.publish(DEFAULT, version=2)

        async def denied() -> bool:
            return (await desk.ask(desk.request("state/x", policy_version=1))).grant is None

        await eventually(denied)


async def test_a_policy_that_never_comes_is_an_error_and_never_a_yes(desk: Desk) -> None:
    policies = Policies(desk.policies, wait_s=0.05)
    with pytest.raises(Unavailable, match="policy version 1 of session s is not published"):
        await policies.at_least("s", 1)


async def test_the_cache_of_policies_is_bounded(desk: Desk) -> None:
    policies = Policies(desk.policies, cached=3)
    for number in range(6):
        await desk.publish(session=f"s{number}")
        await policies.at_least(f"s{number}", 1)
    assert len(policies) == 3
    policies.forget_all()
    assert await policies.at_least("s0", 1) == DEFAULT


# Messages -------------------------------------------------------------------------------------------------


async def test_the_same_attempt_gives_one_verdict_however_often_it_is_delivered(desk: Desk) -> None:
    await desk.publish()
    request = desk.request()
    async with serving(serve, desk.bus, desk.settings):
        await desk.ask(request)
        subject, data = desk.subjects.gate("s"), msgspec.json.encode(request)
        await desk.bus.store(subject, data, msg_id="a copy")
        await desk.bus.store(subject, data, msg_id="another")
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
        assert len(desk.of(request)) == 1
        await desk.ask(replace(request, attempt=2))
        await eventually(lambda: len(desk.of(request)) == 2)


async def test_a_gate_that_dies_before_its_ack_does_no_harm(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    hits: list[str] = []

    def die(point: str) -> None:
        hits.append(point)
        if len(hits) == 1:
            raise Died

    monkeypatch.setattr(faults, "hit", die)
    await desk.publish()
    request = desk.request()
    await impatient(desk.bus, gate_consumer(desk.subjects))
    await desk.send(request)
    with pytest.raises(ExceptionGroup) as ended:
        await serve(desk.bus, desk.settings, anyio.Event(), started=lambda: None)
    assert ended.group_contains(Died)
    assert hits == [gate_module.VERDICT_STORED]
    async with serving(serve, desk.bus, desk.settings):
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
    assert len(hits) >= 2  # once more for every half second in which this process stands still
    assert len(desk.of(request)) == 1


@pytest.mark.parametrize("data", [b"", b"[]", b'{"effect_id": 1}', b"\xff", b"[" * 5000])
async def test_what_is_no_request_goes_to_the_dead_letters(desk: Desk, data: bytes) -> None:
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        await desk.bus.store(desk.subjects.gate("s"), data)
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
        assert (await desk.ask(desk.request())).grant is not None
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 1


async def test_a_request_on_another_session_s_subject_is_not_answered(desk: Desk) -> None:
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        request = desk.request()
        await desk.bus.store(desk.subjects.gate("other"), msgspec.json.encode(request))
        await wait_until_empty(desk.bus, desk.subjects.named("GATE"))
    assert desk.of(request) == []
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 1


async def test_many_gates_share_the_work(desk: Desk) -> None:
    await desk.publish()
    requests = [desk.request() for _ in range(60)]
    others = (replace(desk.settings, instance="g2"), replace(desk.settings, instance="g3"))
    async with (
        serving(serve, desk.bus, desk.settings),
        serving(serve, desk.bus, others[0]) as second,
        serving(serve, desk.bus, others[1]),
    ):
        async with anyio.create_task_group() as group:
            for number, request in enumerate(requests):
                group.start_soon(desk.send, request)
                if number == 20:
                    await second.drain()
        await eventually(lambda: all(len(desk.of(request)) == 1 for request in requests))


async def test_the_trace_goes_on_with_the_verdict(desk: Desk) -> None:
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await desk.publish()
    async with serving(serve, desk.bus, desk.settings):
        request = desk.request()
        await desk.send(request, traceparent=context)
        await eventually(lambda: desk.of(request))
    assert desk.inbox.deliveries[0].headers["traceparent"] == context
