from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest

import vagus
from tests.kit.fake_kernel import SILENCE, FakeKernel, fake_kernel
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, TicketState
from vagus.contract.commands import Command, CreateSession, Reply, Tick
from vagus.contract.events import (
    BranchCreated,
    BranchMerged,
    BudgetUpdated,
    Custom,
    ErrorRaised,
    EventKind,
    Heartbeat,
    Message,
    PhaseEntered,
    RunFinished,
    RunStarted,
    SessionCreated,
    StateEstimated,
)
from vagus.contract.models import ModelRouting
from vagus.contract.policy import PRESETS
from vagus.contract.sessions import PendingApproval, SessionManifest, TickOutput
from vagus.contract.state import AgentStateVector, BudgetState, LoopPhase, OperatingMode
from vagus.contract.streams import MEMBERS, TICKETS, TOOLBOX
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolboxEntry, ToolDefinition
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus.sdk import dispatch, post, tickets
from vagus.sdk.client import Client

MANIFEST = SessionManifest(
    session_id="s",
    owner="me",
    created_at="2026-04-05T12:26:00Z",
    workspace_root="/w",
    model_routing=ModelRouting(),
    policy=PRESETS["default"],
)
STATE = AgentStateVector(progress=0.5)


@pytest.fixture
async def kernel(bus: Bus, subjects: Subjects) -> AsyncIterator[FakeKernel]:
    await ensure(bus, subjects, partitions=1)
    async with fake_kernel(bus, subjects) as fake:
        yield fake


@pytest.fixture
async def client(bus: Bus, subjects: Subjects, kernel: FakeKernel) -> AsyncIterator[Client]:
    async with Client.over(bus, subjects, actor="ann") as over:
        yield over


@pytest.fixture
async def there(client: Client, kernel: FakeKernel) -> vagus.Session:
    """A session that was just created."""
    created = Custom(event_type="vagus.manifest_set", data=msgspec.to_builtins({"manifest": MANIFEST}))
    policy = Custom(event_type="vagus.policy_set", data={"version": 1, "policy": {}})
    await kernel.write(
        "s", SessionCreated(name="x", config={}), created, policy, PhaseEntered(phase=LoopPhase.SLEEP)
    )
    return await client.session("s")


def output(reason: str = "completed", **more: Any) -> TickOutput:
    return TickOutput(
        **{
            "session_id": "s",
            "branch_id": "main",
            "mode": OperatingMode.EXECUTE,
            "state": STATE,
            "events_emitted": 16,
            "last_sequence": 20,
            "run_id": "r",
            "text": "hello",
            "tool_results": (),
            "pending_approvals": (),
            "reason": reason,
            **more,
        }
    )


def turn(*, sleeps: bool = True) -> list[EventKind]:
    kinds: list[EventKind] = [
        Custom(event_type="vagus.turn_started", data={"run_id": "r"}),
        PhaseEntered(phase=LoopPhase.PERCEIVE),
        StateEstimated(state=STATE, mode=OperatingMode.EXECUTE),
        RunStarted(provider="canonical", max_iterations=1),
        Message(role="assistant", content="found on the log"),
        RunFinished(reason="completed", total_iterations=1),
        BudgetUpdated(budget=BudgetState(tokens_remaining=7), reason="tick accounting"),
        StateEstimated(state=STATE, mode=OperatingMode.EXECUTE),
        Heartbeat(summary="tick complete"),
    ]
    return [*kinds, PhaseEntered(phase=LoopPhase.SLEEP)] if sleeps else kinds


async def test_a_tick_is_answered_by_the_kernels_reply(there: vagus.Session, kernel: FakeKernel) -> None:
    kernel.answer = lambda command: output()
    assert await there.tick("say hello", system_prompt="be kind", allowed_tools=["fs.read"]) == output()
    (sent,) = kernel.heard
    assert isinstance(sent, Tick)
    assert (sent.session_id, sent.branch_id, sent.actor) == ("s", "main", "ann")
    assert (sent.tick.objective, sent.tick.system_prompt, sent.tick.allowed_tools) == (
        "say hello",
        "be kind",
        ("fs.read",),
    )


async def test_a_proposed_tool_travels_with_its_capabilities(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    kernel.answer = lambda command: output("tool_calls")
    call = vagus.ToolCall(tool_name="fs.read", input={"path": "a"}, requested_capabilities=("x:y",))
    await there.tick("read", tool=call, branch="b")
    sent = kernel.heard[0]
    assert isinstance(sent, Tick)
    assert sent.tick.proposed_tool == call
    assert sent.branch_id == "b"


async def test_the_kernels_error_is_raised_by_its_type(there: vagus.Session, kernel: FakeKernel) -> None:
    def refuse(command: Command) -> object:
        raise vagus.BranchReadOnly("branch b is merged into main and is read-only")

    kernel.answer = refuse
    with pytest.raises(vagus.BranchReadOnly, match="is merged into main and is read-only"):
        await there.tick("go", branch="b")


async def test_a_spent_budget_is_raised(there: vagus.Session, kernel: FakeKernel) -> None:
    kernel.answer = lambda command: output("budget_exceeded", error="budget exceeded: tokens_remaining")
    with pytest.raises(vagus.BudgetExceeded, match="tokens_remaining"):
        await there.tick("go")


async def test_a_tick_whose_reply_is_lost_is_found_on_the_log(
    there: vagus.Session, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.05)
    monkeypatch.setattr(dispatch, "NO_KERNEL_LOOKS", 10_000)
    outputs: list[TickOutput] = []

    async def tick() -> None:
        outputs.append(await there.tick("go", command_id="c1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await eventually(lambda: kernel.heard)
        await kernel.write("s", *turn(), tick="another")
        await kernel.write("s", *turn(), branch="other", tick="c1")
        await kernel.write("s", *turn(), tick="c1")
    assert outputs[0].text == "found on the log"
    assert outputs[0].last_sequence == 24


async def test_a_repeated_command_id_gives_what_the_log_says_of_the_first(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    kernel.answer = lambda command: output()
    await there.tick("go", command_id="c1")
    await kernel.write("s", *turn(), tick="c1")
    kernel.answer = lambda command: SILENCE
    with anyio.fail_after(4.5):
        assert (await there.tick("go", command_id="c1")).text == "found on the log"


async def test_a_tick_that_does_not_end_in_time_has_an_unknown_outcome(
    there: vagus.Session, bus: Bus, subjects: Subjects
) -> None:
    await Bucket(bus, subjects.named(MEMBERS)).put("kernel.k1", b"{}")
    with pytest.raises(vagus.OutcomeUnknown, match=r"c1 is stored and has not ended within 0\.2 s"):
        await there.tick("go", command_id="c1", timeout_s=0.2)


async def test_a_tick_without_any_kernel_says_so(
    there: vagus.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOOK_S", 0.05)
    with pytest.raises(vagus.OutcomeUnknown, match="no kernel is alive to run it: start one with `vagus up`"):
        await there.tick("go")


async def test_a_command_without_an_answer_has_an_unknown_outcome(
    there: vagus.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 0.1)
    with pytest.raises(vagus.OutcomeUnknown, match=r"no reply to CreateBranch .* no kernel is alive"):
        await there.create_branch("b")


async def test_run_says_the_objective_once_and_ends_with_an_answer(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    reasons = iter(["tool_calls", "tool_calls", "completed"])
    kernel.answer = lambda command: output(next(reasons))
    assert (await there.run("go")).reason == "completed"
    assert [c.tick.objective for c in kernel.heard if isinstance(c, Tick)] == ["go", "", ""]


async def test_run_ends_after_its_most_ticks(there: vagus.Session, kernel: FakeKernel) -> None:
    kernel.answer = lambda command: output("tool_calls")
    assert (await there.run("go", max_ticks=2)).reason == "tool_calls"
    assert len(kernel.heard) == 2
    with pytest.raises(vagus.Malformed, match="max_ticks is 0"):
        await there.run("go", max_ticks=0)


async def test_an_objective_too_long_is_refused_before_it_is_sent(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    with pytest.raises(vagus.Refused, match="the objective has 2097152 bytes"):
        await there.tick("x" * 2 * 1024 * 1024)
    with pytest.raises(vagus.Refused, match="over the limit of 524288 for one command"):
        await there.tick("go", tool=vagus.ToolCall(tool_name="t", input={"a": "x" * 600_000}))
    with pytest.raises(vagus.Malformed, match="cannot be written as JSON"):
        await there.tick("\ud800")
    with pytest.raises(vagus.Malformed, match="cannot be written as JSON"):
        await there.tick("go", tool=vagus.ToolCall(tool_name="t", input={"a": object()}))
    assert not kernel.heard


@pytest.mark.parametrize("bad", ["", "a/b", "a.b", "a b", "..", "x" * 65, "ä", "a\n", "*"])
async def test_bad_ids_are_refused_before_they_are_sent(
    client: Client, there: vagus.Session, kernel: FakeKernel, bad: str
) -> None:
    with pytest.raises(vagus.InvalidId):
        await client.create_session(owner="me", policy=PRESETS["pro"], session_id=bad)
    with pytest.raises(vagus.InvalidId):
        await client.session(bad)
    with pytest.raises(vagus.InvalidId):
        await there.tick("go", branch=bad)
    with pytest.raises(vagus.InvalidId):
        await there.create_branch(bad)
    with pytest.raises(vagus.InvalidId):
        await there.read_events(branch=bad)
    assert not kernel.heard


@pytest.mark.parametrize("bad", ["", "a\nb", "ä", "x" * 129])
async def test_command_ids_that_no_header_can_carry_are_refused(there: vagus.Session, bad: str) -> None:
    with pytest.raises(vagus.InvalidId, match="command id"):
        await there.tick("go", command_id=bad)


async def test_creating_a_session_sends_what_it_is(client: Client, kernel: FakeKernel) -> None:
    kernel.answer = lambda command: MANIFEST
    budget = BudgetState(tokens_remaining=10)
    made = await client.create_session(owner="me", policy=PRESETS["free"], session_id="s", budget=budget)
    assert made.id == "s"
    sent = kernel.heard[0]
    assert isinstance(sent, CreateSession)
    assert (sent.create_session.owner, sent.create_session.policy, sent.create_session.budget) == (
        "me",
        PRESETS["free"],
        budget,
    )
    assert len((await client.create_session(owner="me", policy=PRESETS["free"])).id) == 36


async def test_a_session_that_is_not_there_is_not_found(client: Client, kernel: FakeKernel) -> None:
    with pytest.raises(vagus.SessionNotFound, match="session not found: nobody"):
        await client.session("nobody")


async def test_events_are_replayed_then_live_and_resume_after_a_commit(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    seen: list[vagus.Event] = []

    async def read() -> None:
        async for event in there.events():
            seen.append(event)
            if len(seen) == 14:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await eventually(lambda: len(seen) == 4)
        await kernel.write("s", *turn())
    assert [event.sequence for event in seen] == list(range(1, 15))
    assert (seen[0].type, seen[0].cursor, seen[4].cursor) == ("SessionCreated", 1, 2)
    assert seen[4].correlation_id == "t"
    async for event in there.events(branch="main", cursor=seen[0].cursor):
        assert event.sequence == 5
        break


async def test_history_ends_where_the_log_does(there: vagus.Session, kernel: FakeKernel) -> None:
    await kernel.write("s", ErrorRaised(message="x"), branch="b")
    assert [(event.branch_id, event.sequence) async for event in there.history()] == [
        *(("main", n) for n in range(1, 5)),
        ("b", 1),
    ]
    assert [event.branch_id async for event in there.history(branch="b")] == ["b"]


async def test_reading_a_branch_by_sequence(there: vagus.Session, kernel: FakeKernel) -> None:
    fork = BranchCreated(new_branch_id="b", fork_point_seq=2, name="b", from_branch="main")
    await kernel.write("s", fork, ErrorRaised(message="x"), branch="b")
    assert [event.sequence for event in await there.read_events(3)] == [3, 4]
    assert [event.sequence for event in await there.read_events(2, 1)] == [2]
    assert await there.read_events(99) == []
    lineage = await there.read_events(branch="b", lineage=True)
    assert [(event.branch_id, event.sequence) for event in lineage] == [
        ("main", 1),
        ("main", 2),
        ("b", 1),
        ("b", 2),
    ]
    with pytest.raises(vagus.BranchNotFound, match="branch not found: nowhere"):
        await there.read_events(branch="nowhere")
    with pytest.raises(vagus.Malformed):
        await there.read_events(0)


async def test_branches_and_summary_are_as_new_as_the_log(there: vagus.Session, kernel: FakeKernel) -> None:
    await kernel.write("s", *turn())
    fork = BranchCreated(new_branch_id="b", fork_point_seq=14, name="b", from_branch="main")
    await kernel.write("s", fork, branch="b")
    await kernel.write("s", BranchMerged(source_branch_id="b", merge_seq=1))
    branches = {branch.branch_id: branch for branch in await there.branches()}
    assert (branches["main"].head_sequence, branches["main"].merged_into) == (15, None)
    assert (branches["b"].parent_branch, branches["b"].fork_sequence, branches["b"].merged_into) == (
        "main",
        14,
        "main",
    )
    summary = await there.summary()
    assert (summary.manifest, summary.tick_count, summary.policy_version) == (MANIFEST, 1, 1)


async def test_the_estimate_of_a_fork_is_its_parents_at_the_fork(
    there: vagus.Session, kernel: FakeKernel
) -> None:
    assert (await there.estimate()).state == AgentStateVector()
    await kernel.write("s", *turn())
    more = Custom(event_type="vagus.budget_extended", data={"extension": {"tokens": 5}})
    await kernel.write("s", more)
    fork = BranchCreated(new_branch_id="b", fork_point_seq=14, name="b", from_branch="main")
    await kernel.write("s", fork, branch="b")
    assert (await there.estimate()).state.budget.tokens_remaining == STATE.budget.tokens_remaining + 5
    assert (await there.estimate("b")).state == STATE
    with pytest.raises(vagus.BranchNotFound):
        await there.estimate("c")


async def test_commands_return_what_the_kernel_says(there: vagus.Session, kernel: FakeKernel) -> None:
    answers: dict[str, object] = {
        "CreateBranch": {
            "branch_id": "b",
            "parent_branch": "main",
            "fork_sequence": 3,
            "head_sequence": 1,
            "merged_into": None,
        },
        "MergeBranch": {
            "source_branch": "b",
            "target_branch": "main",
            "source_head_sequence": 1,
            "target_head_sequence": 5,
        },
        "RecordEvent": {"branch_id": "main", "sequence": 7},
        "SetPolicy": {"version": 2},
        "ExtendBudget": BudgetState(tokens_remaining=9),
        "Cancel": {},
        "RestoreCheckpoint": {},
        "Close": {"session_id": "s", "closed": True},
    }
    kernel.answer = lambda command: answers[type(command).__name__]
    assert (await there.create_branch("b", fork_sequence=3)).parent_branch == "main"
    assert (await there.merge_branch("b", cancel=True)).target_head_sequence == 5
    assert await there.record_event({"type": "ExternalSignal", "signal_type": "x", "data": None}) == 7
    assert await there.set_policy(PRESETS["pro"]) == 2
    assert (await there.extend_budget(tokens=9)).tokens_remaining == 9
    await there.cancel("c1")
    await there.restore("k1")
    await there.close("done")
    assert [type(command).__name__ for command in kernel.heard] == list(answers)


async def test_a_reply_of_another_shape_is_malformed(there: vagus.Session, kernel: FakeKernel) -> None:
    kernel.answer = lambda command: {"nonsense": 1}
    with pytest.raises(vagus.Malformed, match="the reply is not a BranchInfo"):
        await there.create_branch("b")


def ticket(
    approval_id: str, session_id: str = "s", state: TicketState = TicketState.PENDING
) -> ApprovalTicket:
    return ApprovalTicket(
        approval_id=approval_id,
        session_id=session_id,
        call_id="c",
        tool_name="fs.write",
        capability="fs:write:/session/x",
        reason="approval required for tool fs.write",
        created_at=f"2026-04-05T12:26:{len(approval_id):02}Z",
        branch_id="main",
        tool_run_id="r",
        arguments={},
        expires_at="2026-04-05T13:26:00Z",
        state=state,
    )


async def test_pending_tickets_are_listed_oldest_first(client: Client, bus: Bus, subjects: Subjects) -> None:
    bucket = Bucket(bus, subjects.named(TICKETS))
    for found in (ticket("bb"), ticket("a"), ticket("ccc", "s2"), ticket("d", state=TicketState.DENIED)):
        await bucket.put(f"{found.session_id}.{found.approval_id}", msgspec.json.encode(found))
    assert [found.approval_id for found in await client.approvals()] == ["a", "bb", "ccc"]
    assert [found.approval_id for found in await client.approvals("s2")] == ["ccc"]


async def test_an_answer_is_stored_for_the_approver_and_confirmed(
    client: Client, bus: Bus, subjects: Subjects
) -> None:
    bucket = Bucket(bus, subjects.named(TICKETS))
    await bucket.put("s.a", msgspec.json.encode(ticket("a")))
    heard: list[Answer] = []

    async def approver() -> None:
        async with bus.subscribe(subjects.answer("s")) as messages:
            async for message in messages:
                answer = msgspec.json.decode(message.data, type=Answer)
                heard.append(answer)
                ok = msgspec.Raw(msgspec.json.encode(ticket("a", state=TicketState.APPROVED)))
                reply = Reply(command_id=answer.answer_id, ok=ok)
                await bus.publish(answer.reply_to or "", msgspec.json.encode(reply))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(approver)
        await eventually(lambda: bus.connected)
        answered = await client.approve("a", actor="bob", reason="fine")
        tasks.cancel_scope.cancel()
    assert answered.state is TicketState.APPROVED
    assert (heard[0].decision, heard[0].actor, heard[0].reason) == (ApprovalDecision.APPROVED, "bob", "fine")


@pytest.mark.parametrize("bad", ["nobody", "", "a.b", "*", ">", "a b", "ä"])
async def test_an_answer_to_what_is_no_ticket_is_refused_at_once(
    client: Client, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "NEW_TICKET_S", 3600.0)
    with anyio.fail_after(30), pytest.raises(vagus.ApprovalNotPending, match="approval not pending"):
        await client.deny(bad, actor="bob")


async def test_a_ticket_that_was_just_named_is_waited_for(
    client: Client, bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, looks = str(uuid4()), 0
    bucket, entries = Bucket(bus, subjects.named(TICKETS)), Bucket.entries

    async def looked(self: Bucket, wanted: str) -> list[Entry]:
        nonlocal looks
        if (looks := looks + 1) == 2:
            await bucket.put(f"s.{named}", msgspec.json.encode(ticket(named)))
        return await entries(self, wanted)

    monkeypatch.setattr(Bucket, "entries", looked)
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 0.1)
    with pytest.raises(vagus.OutcomeUnknown, match="it is stored"):
        await client.deny(named, actor="bob")
    monkeypatch.setattr(tickets, "NEW_TICKET_S", 0.1)
    monkeypatch.setattr(tickets, "PATIENCE_S", 0.3)
    with pytest.raises(vagus.Unavailable, match="no approver"):  # bob's answer waits: nobody is at work
        await client.deny(str(uuid4()), actor="bob")


async def test_a_ticket_that_our_own_tick_has_named_comes_however_late_it_is_asked_for(
    client: Client,
    there: vagus.Session,
    kernel: FakeKernel,
    bus: Bus,
    subjects: Subjects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of a tick may be read from the log while the kernel still tries to ask for its approval."""
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(tickets, "NEW_TICKET_S", 0.0)
    named = str(uuid4())
    pending = PendingApproval(approval_id=named, call_id="c", tool_name="fs.write", capability="fs:write:/x")
    kernel.answer = lambda command: output("awaiting_approval", pending_approvals=(pending,))
    await there.tick("write")
    with anyio.fail_after(10), pytest.raises(vagus.ApprovalNotPending):
        await client.approve(str(uuid4()), actor="bob")  # named by nobody, and approvers have nothing to do

    async def ask_at_last() -> None:
        await anyio.sleep(0.5)
        await Bucket(bus, subjects.named(TICKETS)).put(f"s.{named}", msgspec.json.encode(ticket(named)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_at_last)
        with pytest.raises(vagus.OutcomeUnknown, match="it is stored"):
            await client.approve(named, actor="bob")


async def test_an_answer_that_no_approver_confirms_has_an_unknown_outcome(
    client: Client, bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 0.1)
    await Bucket(bus, subjects.named(TICKETS)).put("s.a", msgspec.json.encode(ticket("a")))
    with pytest.raises(vagus.OutcomeUnknown, match="it is stored"):
        await client.deny("a", actor="bob")


async def test_tools_are_listed_by_name(client: Client, bus: Bus, subjects: Subjects) -> None:
    bucket = Bucket(bus, subjects.named(TOOLBOX))
    for name in ("b.two", "a.one"):
        entry = ToolboxEntry(definition=ToolDefinition(name=name), registered_at="2026-04-05T12:26:00Z")
        await bucket.put(f"default.{name}", msgspec.json.encode(entry))
    assert [tool.name for tool in await client.tools()] == ["a.one", "b.two"]


async def test_a_log_is_verified_with_its_forks(there: vagus.Session, kernel: FakeKernel) -> None:
    await kernel.write("s", *turn())
    found = await there.verify()
    assert found.ok
    assert (found.commits, found.events, found.branches[0].branch_id) == (2, 14, "main")


async def test_without_streams_the_error_says_what_to_start(
    bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "PATIENCE_CONNECTED_S", 0.1)
    async with Client.over(bus, subjects) as client:
        with pytest.raises(vagus.Unavailable, match="start the processes with `vagus up`"):
            await client.create_session(owner="me", policy=PRESETS["pro"], session_id="s")


async def test_a_command_given_while_the_server_is_away_is_stored_when_it_is_back(
    own_broker: EmbeddedServer, subjects: Subjects
) -> None:
    # One connection for both: of two the client's may be back first, and the kernel would not hear it.
    async with connect(own_broker.url, name="both") as bus, Client.over(bus, subjects) as client:
        await ensure(bus, subjects, partitions=1)
        async with fake_kernel(bus, subjects) as kernel:
            await kernel.write("s", SessionCreated(name="x", config={}))
            kernel.answer = lambda command: output()
            found = await client.session("s")
            outputs: list[TickOutput] = []

            async def tick() -> None:
                outputs.append(await found.tick("go"))

            await own_broker.stop()
            await eventually(lambda: not bus.connected)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tick)
                await own_broker.start()
                with anyio.fail_after(20):
                    await eventually(lambda: outputs or kernel.heard, timeout_s=20)
    assert [command.command_id for command in kernel.heard] == [kernel.heard[0].command_id]
    assert outputs == [output()]
