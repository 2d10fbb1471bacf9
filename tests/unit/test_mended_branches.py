"""Branches: what the original shared, forgot or let go wrong."""

import pytest

from tests.kit.core import Core, call, kinds, told
from vagus.contract.errors import BranchExists, BranchNotFound, BranchReadOnly, Refused
from vagus.contract.extensions import Memory
from vagus.contract.models import ConversationTurn
from vagus_kernel import inputs
from vagus_kernel.effects import CallModel


def asked(core: Core, branch: str = "main") -> tuple[tuple[str, str], ...]:
    """The conversation that the model is shown."""
    (effect,) = (e for e in core.effects(branch) if isinstance(e, CallModel))
    return tuple((turn.role, turn.content) for turn in effect.request.conversation_history)


def test_w62_branches_of_a_session_run_side_by_side() -> None:
    core = Core()
    core.fork("b")
    core.start("on main")
    core.start("on b", branch="b")
    assert told(core.answer("main says"))[-1] == "P:sleep"
    assert told(core.answer("b says", branch="b"))[-1] == "P:sleep"


def test_w62_a_second_tick_on_a_branch_is_not_begun() -> None:
    core = Core()
    core.start("first")
    with pytest.raises(Exception, match="tick in progress"):
        core.start("second")


def test_w66_a_forks_conversation_begins_with_its_parents() -> None:
    core = Core()
    core.say("main says", "on main")
    core.fork("b")
    core.start("on b", branch="b")
    assert asked(core, "b") == (("user", "on main"), ("assistant", "main says"))


def test_w66_a_fork_in_the_past_has_the_conversation_of_then() -> None:
    core = Core()
    core.say("one", "first")
    then = core.branch()
    core.say("two", "second")
    command = core.command("CreateBranch", {"branch": "b", "fork_sequence": then.head_sequence})
    core.tell(inputs.Fork(command=command, memory=then.memory))
    core.start("on b", branch="b")
    assert asked(core, "b") == (("user", "first"), ("assistant", "one"))
    core.tell(
        inputs.Fork(
            command=core.command("CreateBranch", {"branch": "c", "fork_sequence": 0}), memory=Memory()
        )
    )
    core.start("on c", branch="c")
    assert asked(core, "c") == ()


def test_w66_a_fork_during_a_turn_is_as_before_it() -> None:
    core = Core()
    core.say("one", "first")
    core.start("second", call("c1"))
    core.allow()
    core.fork("b")
    assert core.branch("b").turn is None
    assert core.effects("b") == []
    core.start("on b", branch="b")
    assert asked(core, "b") == (("user", "first"), ("assistant", "one"))


def test_w67_the_fork_says_where_it_comes_from() -> None:
    core = Core()
    core.fork("b")
    core.fork("c", "b")
    created = kinds(core.records, "BranchCreated")
    assert [(kind.from_branch, kind.new_branch_id) for kind in created] == [("main", "b"), ("b", "c")]
    assert core.branch("c").parent_branch == "b"


def test_w68_a_refused_fork_leaves_no_branch() -> None:
    core = Core()
    with pytest.raises(Refused, match="exceeds source branch head"):
        core.tell(inputs.Fork(command=core.command("CreateBranch", {"branch": "b", "fork_sequence": 99})))
    assert set(core.session.branches) == {"main"}


def test_w68_a_fork_is_made_once_and_its_name_is_taken() -> None:
    core = Core()
    given = inputs.Fork(command=core.command("CreateBranch", {"branch": "b"}))
    core.tell(given)
    assert core.tell(given) == ()
    with pytest.raises(BranchExists, match="branch already exists: b"):
        core.fork("b")


def test_w69_a_merged_branch_stays_read_only() -> None:
    core = Core()
    core.fork("b")
    merge = core.command("MergeBranch", {"branch": "b"})
    core.tell(merge)
    assert core.tell(merge) == ()
    with pytest.raises(BranchReadOnly, match="branch b is merged into main and is read-only"):
        core.start(branch="b")
    with pytest.raises(BranchReadOnly, match="already merged into main"):
        core.tell(core.command("MergeBranch", {"branch": "b"}))


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ({"branch": "main"}, Refused, "source and target branch must differ"),
        ({"branch": "main", "into": "b"}, Refused, "main branch cannot be used as a merge source"),
        ({"branch": "x"}, BranchNotFound, "source branch not found: x"),
        ({"branch": "b", "into": "x"}, BranchNotFound, "target branch not found: x"),
    ],
)
def test_w70_merges_that_make_no_sense_keep_the_originals_words(
    body: dict[str, str], error: type[Exception], text: str
) -> None:
    core = Core()
    core.fork("b")
    with pytest.raises(error, match=text):
        core.tell(core.command("MergeBranch", body))


def test_w70_a_branch_that_is_busy_is_not_merged() -> None:
    core = Core()
    core.fork("b")
    core.start(branch="b")
    with pytest.raises(Refused, match="tick in progress"):
        core.tell(core.command("MergeBranch", {"branch": "b"}))
    core.answer(call("c1", "pay"), branch="b")
    core.gate(branch="b")
    with pytest.raises(Refused, match="approvals pending"):
        core.tell(core.command("MergeBranch", {"branch": "b"}))


def test_w47_the_objective_is_sent_once() -> None:
    core = Core()
    core.say("one", "first")
    core.start("second")
    (effect,) = (e for e in core.effects() if isinstance(e, CallModel))
    assert effect.request.objective == "second"
    assert asked(core) == (("user", "first"), ("assistant", "one"))


def test_w46_the_conversation_is_bounded_and_never_frozen() -> None:
    core = Core()
    for number in range(40):
        core.say(f"a{number}", f"q{number}")
    assert len(core.branch().memory.history) == 50
    assert core.branch().memory.history[-1] == ConversationTurn(role="assistant", content="a39")
