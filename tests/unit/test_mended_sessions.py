"""Sessions: what the original forgot, overwrote or let anybody say."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.core import POLICY, Core, call, kinds, modes, told
from vagus.contract.codec import decode_commit, seal
from vagus.contract.errors import BranchReadOnly, Conflict, Malformed, Refused, SessionNotFound, SettingsError
from vagus.contract.events import SessionClosed, SessionResumed, is_extension
from vagus.contract.hashing import manifest_hash, state_hash
from vagus.contract.outcome import tick_output
from vagus.contract.state import AgentStateVector
from vagus.runtime.settings import read_settings
from vagus_kernel import inputs
from vagus_kernel.decide import Rejected, decide
from vagus_kernel.decide.session import RECORDABLE
from vagus_kernel.effects import CallModel
from vagus_kernel.evolve import evolve
from vagus_kernel.settings import KernelSettings
from vagus_kernel.state import Session


def replayed(core: Core) -> Session | None:
    session: Session | None = None
    for record in decode_commit(seal(core.records, "").payload):
        session = evolve(session, record)
    return session


def test_w50_attaching_restores_everything_from_the_log() -> None:
    core = Core()
    core.use("c1")
    core.use("c2", error="x")
    core.fork("b")
    core.fork("c")
    core.tell(core.command("MergeBranch", {"branch": "c"}))
    core.start("more", branch="b")
    core.answer(call("c3", "pay"), "and so on", branch="b")
    core.gate(branch="b")
    core.start("thinking still")
    session = replayed(core)
    assert session == core.session
    assert session is not None
    assert session.tick_count == 3
    assert session.branches["c"].merged_into == "main"
    assert session.branches["b"].pending == 1
    assert session.branches["main"].turn is not None


def test_w50_a_new_owner_in_the_middle_of_something_says_so() -> None:
    core = Core()
    core.start()
    owed = core.owed(CallModel)
    (resumed,) = core.tell(inputs.Resumed(snapshot="s@7"))
    assert resumed.kind == SessionResumed(from_snapshot="s@7")
    assert is_extension(resumed.kind)
    assert core.owed(CallModel) == owed


def test_w51_creating_a_session_again_returns_its_manifest_and_writes_nothing() -> None:
    core = Core()
    outcome = core.outcome(core.create)
    assert not isinstance(outcome, Rejected)
    assert outcome.reply == core.session.manifest
    assert outcome.records == ()


def test_w51_another_policy_for_an_existing_session_is_a_conflict() -> None:
    core = Core()
    body = replace(core.create.command.create_session, policy=replace(POLICY, allow_capabilities=("*",)))
    again = replace(core.create.command, create_session=body)
    with pytest.raises(Conflict):
        core.tell(inputs.Create(command=again, manifest=core.create.manifest, agent_id="other"))


def test_w53_creating_a_session_is_one_commit() -> None:
    core = Core()
    assert told(core.records) == ["SessionCreated", "P:sleep"]
    assert core.session.policy == POLICY
    assert core.session.policy_version == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a.b", "é", "x" * 65, "a\n"])
def test_w54_w71_ids_are_checked_where_they_enter(name: str) -> None:
    core = Core()
    with pytest.raises(Malformed):
        core.command("CreateBranch", {"branch": name})
    with pytest.raises(Malformed):
        core.command("Tick", {"objective": "x"}, branch=name)


def test_w55_the_name_is_the_manifests_hash_and_the_policy_is_there() -> None:
    core = Core()
    (created,) = kinds(core.records, "SessionCreated")
    assert created.name == manifest_hash(core.create.manifest) == created.config["manifest_hash"]
    assert core.create.manifest.policy is not None


@pytest.mark.parametrize(
    "variable", ["VAGUS_CHECKPOINT_EVERY_TICKS", "VAGUS_CIRCUIT_BREAKER_ERRORS", "VAGUS_LOOP_WINDOW"]
)
def test_w56_w73_nought_is_no_setting(variable: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings(KernelSettings, {variable: "0", "VAGUS_ROOT": str(tmp_path)})


def test_w56_a_checkpoint_can_be_restored_from() -> None:
    core = Core()
    (made,) = kinds(core.use("c1", objective="first"), "CheckpointCreated")
    kept = core.branch().memory
    assert made.state_hash == state_hash(kept.vector)
    for number in range(2, 5):
        core.use(f"c{number}", objective="second", error="x")
    assert core.branch().mode == "recover"
    command = core.command("RestoreCheckpoint", {"checkpoint_id": made.checkpoint_id})
    restore = inputs.RestoreTo(command=command, sequence=made.event_sequence, memory=kept)
    records = core.tell(restore)
    assert modes(records) == ["recover>execute"]
    assert records[-1].kind.type == "CheckpointRestored"
    assert core.branch().memory == kept
    assert core.tell(restore) == ()


def test_w56_checkpoints_count_ended_ticks_of_the_session() -> None:
    core = Core(checkpoint_every_ticks=2)
    core.fork("b")
    made = [bool(kinds(core.say(branch=name), "CheckpointCreated")) for name in ("main", "b", "b", "main")]
    assert made == [False, True, False, True]


def test_w61_a_closed_session_is_read_only() -> None:
    core = Core()
    (closed,) = core.tell(core.command("Close", {"reason": "done"}))
    assert closed.kind == SessionClosed(reason="done")
    for given in (
        inputs.StartTick(command=core.command("Tick", {"objective": "x"})),
        core.command("RecordEvent", {"event": {"type": "UserMessage", "content": "x"}}),
        core.command("SetPolicy", {"policy": POLICY}),
        inputs.Fork(command=core.command("CreateBranch", {"branch": "b"})),
    ):
        with pytest.raises(BranchReadOnly, match="closed"):
            core.tell(given)
    assert core.tell(core.command("Close", {"reason": "again"})) == ()


def test_w61_a_session_with_a_tick_in_progress_is_not_closed() -> None:
    core = Core()
    core.start()
    with pytest.raises(Refused, match="tick in progress"):
        core.tell(core.command("Close", {"reason": "done"}))


def test_w82_what_does_not_exist_is_a_typed_error() -> None:
    core = Core()
    given = inputs.StartTick(command=core.command("Tick", {"objective": "x"}))
    outcome = decide(None, given, inputs.Context(config=core.config, now="2026-04-05T12:00:00Z", seed=b""))
    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, SessionNotFound)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ApprovalResolved", "approval_id": "x", "decision": "approved"},
        {"type": "StateEstimated", "state": msgspec.to_builtins(AgentStateVector()), "mode": "sleep"},
        {"type": "Message", "role": "assistant", "content": "x"},
        {"type": "PhaseEntered", "phase": "sleep"},
        {"type": "Custom", "event_type": "vagus.policy_set", "data": {}},
        {"type": "Custom", "event_type": "loop_detection.warning", "data": {}},
        {"type": "Custom", "event_type": "ObservationExtracted", "data": {}},
    ],
)
def test_w83_what_only_the_kernel_may_say_is_refused(event: dict[str, Any]) -> None:
    core = Core()
    with pytest.raises(Refused, match="kernel only"):
        core.tell(core.command("RecordEvent", {"event": event}))


@pytest.mark.parametrize("event", [5, None, [], "x", {}, {"type": "Nonsense"}, {"type": "UserMessage"}])
def test_w83_what_is_no_event_is_malformed(event: object) -> None:
    core = Core()
    with pytest.raises(Malformed):
        core.tell(core.command("RecordEvent", {"event": event}))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "UserMessage", "content": "hello"},
        {"type": "ExternalSignal", "signal_type": "door", "data": {"open": True}},
        {"type": "Custom", "event_type": "mine", "data": [1]},
    ],
)
def test_w83_facts_from_outside_are_recorded_once(event: dict[str, Any]) -> None:
    core = Core()
    command = core.command("RecordEvent", {"event": event})
    (record,) = core.tell(command)
    assert record.kind.type == event["type"]
    assert core.tell(command) == ()


def test_w83_facts_come_during_a_turn_and_are_no_part_of_it() -> None:
    core = Core()
    core.start(command_id="tick-1")
    command = core.command("RecordEvent", {"event": {"type": "UserMessage", "content": "wait"}})
    (record,) = core.tell(command)
    assert record.correlation_id == command.command_id
    assert core.tell(command) == ()
    core.answer("hello")
    output = tick_output([r for r in core.records if r.correlation_id == "tick-1"])
    assert output is not None
    assert output.events_emitted == 16


def test_w83_only_kinds_that_come_from_outside_are_taken() -> None:
    assert len(RECORDABLE) == 27
    assert not RECORDABLE & {"SessionCreated", "ToolCallCompleted", "BudgetUpdated", "CheckpointCreated"}


def test_w84_a_ticks_output_is_told_by_its_events() -> None:
    core = Core()
    core.start(command_id="tick-1")
    core.answer("let me see", call("c1"), call("c2", "pay"))
    core.allow()
    core.run({"found": 1})
    core.gate()
    output = tick_output([r for r in core.records if r.correlation_id == "tick-1"])
    assert output is not None
    assert output.text == "let me see"
    assert [result.status for result in output.tool_results] == ["ok", "pending"]
    assert [pending.capability for pending in output.pending_approvals] == ["pay"]
    assert output.reason == "awaiting_approval"
    assert output.run_id


def test_w85_a_text_turn_has_the_originals_sixteen_events() -> None:
    assert len(told(Core().say())) == 16


def test_w86_the_gates_word_is_recorded_as_an_extension() -> None:
    core = Core()
    core.start(tool=call("c1"))
    core.allow()
    core.run()
    core.start(tool=call("c2"))
    core.deny("x")
    said = [(kind.decision.value, kind.explanation) for kind in kinds(core.records, "PolicyEvaluated")]
    assert said == [("allow", None), ("deny", "capabilities denied: x")]


def test_n14_one_agent_id_for_the_session() -> None:
    core = Core()
    core.fork("b")
    core.say(branch="b")
    assert {record.agent_id for record in core.records} == {core.create.agent_id}
