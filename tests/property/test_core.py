"""The pure core under arbitrary events, and under random inputs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kit.core import Core, call, completion, told
from tests.property.strategies import JSON, KNOWN, UNKNOWN, records
from vagus.contract.codec import decode_commit, seal
from vagus.contract.errors import VagusError
from vagus.contract.events import Custom, EventRecord, ToolCallCompleted, ToolCallFailed, ToolCallRequested
from vagus.contract.extensions import KINDS
from vagus.contract.ids import MAIN
from vagus.contract.limits import HISTORY_TURNS, REMEMBERED_IDS
from vagus.contract.outcome import tick_output
from vagus.contract.state import BudgetState
from vagus_kernel import inputs
from vagus_kernel.effects import AskApproval, AskGate, CallModel, RunTool
from vagus_kernel.evolve import evolve
from vagus_kernel.inputs import Input
from vagus_kernel.react import react
from vagus_kernel.state import Gating, Running, Session, Thinking

# evolve ----------------------------------------------------------------------------------------------------

FACTS = st.builds(Custom, event_type=st.sampled_from(sorted(KINDS)), data=JSON)
"""Our own facts, with anything in them."""


def _placed(record: EventRecord, place: tuple[str, str | None]) -> EventRecord:
    return replace(record, branch_id=place[0], correlation_id=place[1])


KINDS_OF_ALL: st.SearchStrategy[Any] = st.one_of(KNOWN, UNKNOWN, FACTS)
EVENTS = st.builds(
    _placed,
    records(KINDS_OF_ALL),
    st.tuples(st.sampled_from([MAIN, "b"]), st.sampled_from([None, "", "tick"])),
)


@given(st.lists(EVENTS, max_size=12))
def test_evolve_never_fails_whatever_it_is_told(events: list[EventRecord]) -> None:
    session: Session | None = None
    for record in events:
        session = evolve(session, record)
        assert session.branches[record.branch_id].head_sequence == record.sequence


# Random inputs ---------------------------------------------------------------------------------------------

Move = Callable[[Core, str, int], Input | None]
"""An input that fits what a branch is at, if one does; the number chooses among several."""


def _tick(core: Core, branch: str, number: int) -> Input | None:
    texts = ("", "one", "two")
    tool = call(f"inline-{number % 7}") if number % 3 == 0 else None
    body = {"objective": texts[number % 3], "proposed_tool": tool}
    return inputs.StartTick(command=core.command("Tick", body, branch))


def _model(core: Core, branch: str, number: int) -> Input | None:
    said = [
        completion("hello"),
        completion(),
        completion("so", call(f"c{number % 9}"), call(f"d{number}"), "on"),
    ]
    for effect in core.effects(branch):
        if isinstance(effect, CallModel):
            if number % 4 == 3:
                return inputs.ModelAnswer(branch_id=branch, run_id=effect.effect_id, error="boom")
            return inputs.ModelAnswer(branch_id=branch, run_id=effect.effect_id, completion=said[number % 3])
    return None


def _gate(core: Core, branch: str, number: int) -> Input | None:
    if not any(isinstance(effect, AskGate) for effect in core.effects(branch)):
        return None
    said: list[dict[str, object]] = [
        {"grant": "signed"},
        {"denied": ("x",)},
        {"requires_approval": ("pay", "send")[: 1 + number % 2]},
    ]
    return core.verdict(branch, **said[number % 3])


def _tool(core: Core, branch: str, number: int) -> Input | None:
    if not any(isinstance(effect, RunTool) for effect in core.effects(branch)):
        return None
    return core.ended({"n": number}, branch=branch, error="x" if number % 3 == 0 else None)


def _deadline(core: Core, branch: str, number: int) -> Input | None:
    for effect in core.effects(branch):
        if isinstance(effect, RunTool):
            return inputs.DeadlinePassed(branch_id=branch, tool_run_id=effect.tool_run_id)
    return None


def _person(core: Core, branch: str, number: int) -> Input | None:
    tickets = core.tickets()
    if not tickets:
        return None
    decision = ("approved", "approved", "denied", "timeout")[number % 4]
    return core.resolution(decision, number % len(tickets))


def _cancel(core: Core, branch: str, number: int) -> Input | None:
    return inputs.CancelTurn(branch_id=branch, tickets=number % 2 == 0)


def _give_up(core: Core, branch: str, number: int) -> Input | None:
    return inputs.GiveUp(branch_id=branch, reason="given up")


def _fork(core: Core, branch: str, number: int) -> Input | None:
    name = f"b{number % 3}"
    return inputs.Fork(command=core.command("CreateBranch", {"branch": name, "from_branch": branch}))


def _merge(core: Core, branch: str, number: int) -> Input | None:
    merge: Input = core.command("MergeBranch", {"branch": branch})
    return merge


def _fact(core: Core, branch: str, number: int) -> Input | None:
    event = {"type": "UserMessage", "content": str(number)}
    record: Input = core.command("RecordEvent", {"event": event}, branch)
    return record


def _budget(core: Core, branch: str, number: int) -> Input | None:
    extend: Input = core.command("ExtendBudget", {"tokens": 1000, "tool_calls": 2}, branch)
    return extend


def _owner(core: Core, branch: str, number: int) -> Input | None:
    return inputs.Resumed()


def _answer(core: Core, branch: str, number: int) -> Input | None:
    """Whatever the branch waits for."""
    return _model(core, branch, number) or _gate(core, branch, number) or _tool(core, branch, number)


MOVES: tuple[Move, ...] = (
    _tick, _tick, _tick, _answer, _answer, _answer, _answer, _answer, _person, _person,
    _deadline, _cancel, _give_up, _fork, _merge, _fact, _budget, _owner,
)  # fmt: skip

PLAYS = st.lists(
    st.tuples(st.sampled_from(MOVES), st.sampled_from([MAIN, MAIN, "b0", "b1"]), st.integers(0, 40)),
    max_size=40,
)

NOT_QUEUED = (inputs.CancelTurn, inputs.GiveUp, inputs.Resumed)
"""What no queue delivers again: each time it is meant anew."""


def play(core: Core, moves: Sequence[tuple[Move, str, int]]) -> Iterator[Input]:
    """Make the moves that are possible; gives each input after it was taken."""
    for move, branch, number in moves:
        if branch in core.session.branches:
            given = move(core, branch, number)
            if given is not None:
                try:
                    core.tell(given)
                except VagusError:
                    continue
                yield given


def small() -> Core:
    """A session whose budget and patience end soon."""
    return Core(budget=BudgetState(tokens_remaining=4000, tool_calls_remaining=6), checkpoint_every_ticks=2)


@given(PLAYS)
def test_replaying_the_log_gives_the_live_state_and_owes_the_same(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    for _ in play(core, moves):
        pass  # Core folds every commit from its bytes, and compares
    replayed: Session | None = None
    for record in decode_commit(seal(core.records, "").payload):
        replayed = evolve(replayed, record)
    assert replayed == core.session
    assert list(react(core.session, approval_timeout_s=60)) == list(react(replayed, approval_timeout_s=60))


@given(PLAYS)
def test_any_prefix_of_the_log_replays_to_what_the_state_was_then(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    states = [(len(core.records), core.session)]
    states += [(len(core.records), core.session) for _ in play(core, moves)]
    then = dict(states)
    replayed: Session | None = None
    for count, record in enumerate(core.records, 1):
        replayed = evolve(replayed, record)
        assert count not in then or replayed == then[count]


@given(PLAYS)
def test_an_input_that_comes_again_changes_nothing(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    taken: list[Input] = []
    for given_ in play(core, moves):
        if not isinstance(given_, NOT_QUEUED):
            taken.append(given_)
        for again in taken[-6:]:
            before = core.session
            with suppress(VagusError):  # refused: the branch is read-only by now
                assert core.tell(again) == ()
            assert core.session == before


@given(PLAYS)
def test_late_answers_change_nothing(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    kinds = (inputs.ModelAnswer, inputs.VerdictGiven, inputs.ToolReported, inputs.DeadlinePassed)
    answers = [given_ for given_ in play(core, moves) if isinstance(given_, kinds)]
    before = core.session
    for late in reversed(answers):
        assert core.tell(late) == ()
    assert core.session == before


@given(PLAYS)
def test_what_is_always_so(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    for _ in play(core, moves):
        for branch in core.session.branches.values():
            assert branch.turn is None or isinstance(branch.turn.stage, Thinking | Gating | Running)
            assert len(branch.memory.history) <= HISTORY_TURNS
            assert len(branch.calls) <= REMEMBERED_IDS
            assert all(not waits.approved for waits in branch.waiting)
        effects = list(react(core.session, approval_timeout_s=60))
        assert len({effect.effect_id for effect in effects}) == len(effects)
    _check_log(core)


def _check_log(core: Core) -> None:
    heads: dict[str, int] = {}
    requested: dict[tuple[str, str], int] = {}
    for record in core.records:
        branch = record.branch_id
        assert record.sequence == heads.get(branch, 0) + 1
        heads[branch] = record.sequence
        match record.kind:
            case ToolCallRequested(call_id=call_id):
                requested[branch, call_id] = requested.get((branch, call_id), 0) + 1
            case ToolCallCompleted(call_id=str(call_id)) | ToolCallFailed(call_id=call_id):
                requested[branch, call_id] -= 1
    for (name, call_id), left in requested.items():
        held = core.branch(name)
        waits = any(w.call.call_id == call_id for w in held.waiting)
        in_turn = getattr(getattr(held.turn, "stage", None), "call", None)
        assert left == int(waits or (in_turn is not None and in_turn.call_id == call_id))
    assert len({record.event_id for record in core.records}) == len(core.records)


@given(PLAYS)
def test_every_tick_that_ended_has_an_output(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    ticks = [g.command for g in play(core, moves) if isinstance(g, inputs.StartTick)]
    for command in ticks:
        output = tick_output([r for r in core.records if r.correlation_id == command.command_id])
        turn = core.branch(command.branch_id).turn
        running = turn is not None and turn.command_id == command.command_id and not turn.resumed
        assert (output is None) == running


# Reordering ------------------------------------------------------------------------------------------------


def _steps(branch: str) -> list[Callable[[Core], object]]:
    """A tick with two calls on a branch, answer by answer."""
    return [
        lambda core: core.start("go", branch=branch),
        lambda core: core.answer("a", call("c1"), call("c2"), branch=branch),
        lambda core: core.allow(branch),
        lambda core: core.run(branch=branch),
        lambda core: core.deny(branch=branch),
    ]


@settings(max_examples=40)
@given(st.permutations([name for name in (MAIN, "b", "c") for _ in range(5)]))
def test_the_order_in_which_answers_of_several_branches_come_changes_no_branch(order: list[str]) -> None:
    core = Core()
    core.fork("b")
    core.fork("c")
    left = {name: _steps(name) for name in (MAIN, "b", "c")}
    for name in order:
        left[name].pop(0)(core)
    logs = {
        name: [record.kind for record in core.records if record.branch_id == name and record.sequence > 4]
        for name in left
    }
    first = [kind.type for kind in logs["b"]]
    assert [kind.type for kind in logs["c"]] == first
    assert core.vector(MAIN) == core.vector("b") == core.vector("c")
    assert {core.branch(name).mode for name in left} == {"recover"}
    assert told([r for r in core.records if r.branch_id == "b"])[-1] == "P:sleep"


@pytest.mark.parametrize("effect", [AskApproval, AskGate, CallModel, RunTool])
def test_random_play_meets_every_effect(effect: type) -> None:
    """The moves are worth something: they get everywhere."""
    core, met = small(), set()
    for number in range(300):
        move = MOVES[(number * 7) % 10]
        for _ in play(core, [(move, MAIN, number * 13 % 41)]):
            met |= {type(owed) for owed in react(core.session, approval_timeout_s=60)}
    assert effect in met
