"""The plan of a chaos run: a pure function of its seed, in which nothing is left out."""

import ast
from collections import Counter
from functools import cache
from itertools import chain, pairwise

import pytest

from chaos.faults import POINT, ROLES, Fault, faults, kinds, points
from chaos.points import POINTS, RARE
from chaos.script import (
    TOOLS,
    Archive,
    Cancel,
    Close,
    Erase,
    Fork,
    Merge,
    Restore,
    Script,
    Signal,
    Tick,
    Wake,
    script,
)
from tests.architecture.sources import Module, project


@cache
def constants(module: Module) -> dict[str, str]:
    """Names of a module that stand for a text, imported ones too."""
    modules = {other.name: other for other in project()}
    imported = {
        alias.name: constants(modules[node.module])[alias.name]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module in modules
        for alias in node.names
        if alias.name.isupper() and alias.name in constants(modules[node.module])
    }
    return imported | {
        target.id: node.value.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def hits() -> set[str]:
    """The points that the code passes: arguments of `hit`, by a name of their module or spelt out."""
    found: set[str] = set()
    for module in project():
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Name(id="hit") | ast.Attribute(attr="hit"), args=[ast.Name(id=name)]):
                    found.add(constants(module)[name])
                case ast.Call(
                    func=ast.Name(id="hit") | ast.Attribute(attr="hit"), args=[ast.Constant(value=name)]
                ):
                    found.add(str(name))
    return found


def all_of(planned: list[Fault]) -> Counter[str]:
    return Counter(fault.kind for fault in planned)


def test_every_point_that_the_code_passes_can_be_visited() -> None:
    known = list(chain.from_iterable(POINTS.values()))
    assert len(known) == len(set(known))
    assert set(known) == hits()


def test_what_few_ticks_pass_is_visited_once() -> None:
    assert set(chain.from_iterable(POINTS.values())) > RARE > {"kernel.archive_begun", "kernel.erase_done"}
    planned = [fault.point.split(":") for fault in faults(3, 500, 1) if fault.point]
    assert {count for name, count in planned if name in RARE} == {"1"}
    assert {count for name, count in planned if name not in RARE} == {"1", "2", "3", "4"}


@pytest.mark.parametrize("servers", [1, 3])
def test_the_same_seed_gives_the_same_faults_and_another_one_others(servers: int) -> None:
    assert faults(7, 100, servers) == faults(7, 100, servers)
    assert faults(7, 100, servers) != faults(8, 100, servers)


def test_the_same_seed_gives_the_same_scripts_and_each_session_its_own() -> None:
    assert [script(7, number) for number in range(20)] == [script(7, number) for number in range(20)]
    assert script(7, 1).steps != script(8, 1).steps
    assert script(7, 1).steps != script(7, 2).steps


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_long_plan_has_all_kinds_and_all_points(seed: int, servers: int) -> None:
    planned = faults(seed, 320, servers)
    assert len(planned) == 320
    assert {(fault.does, fault.role) for fault in planned if fault.kind != POINT} == set(kinds(servers))
    assert set(points(planned)) == {*chain.from_iterable(POINTS.values())}
    assert len(all_of(planned)) >= 20


@pytest.mark.parametrize("number", range(1, 18))
def test_a_short_plan_has_as_many_kinds_as_it_has_faults(number: int) -> None:
    planned = faults(1, number, 1)
    assert len(planned) == number
    assert len({fault.does for fault in planned}) == min(number, len({does for does, _ in kinds(1)}) + 1)


def test_faults_strike_whoever_is_there() -> None:
    places = {**ROLES, "client": 3, "server": 1}
    assert all(fault.place < places[fault.role] for fault in faults(3, 500, 1))


def scripts() -> list[Script]:
    return [script(1, number) for number in range(200)]


def test_scripts_do_everything_that_clients_can() -> None:
    steps = [step for one in scripts() for step in one.steps]
    done = {type(step) for step in steps}
    assert done >= {Tick, Fork, Merge, Cancel, Signal, Restore, Wake, Close, Archive, Erase}
    ticks = [step for step in steps if isinstance(step, Tick)]
    assert {tick.tool for tick in ticks} == {*TOOLS} - {"ask"}
    answers = {"approve", "approve-twice", "deny", "cancel", "leave"}
    assert {tick.answer for tick in ticks if tick.asks} == answers
    assert any(tick.after_s is not None for tick in ticks)
    assert any(one.poor for one in scripts())
    assert any(one.scripted for one in scripts())


def test_some_sessions_are_erased_at_their_end_open_or_closed_or_archived() -> None:
    erased = [one.steps for one in scripts() if any(isinstance(step, Erase) for step in one.steps)]
    assert len(scripts()) / 8 < len(erased) < len(scripts()) / 3
    assert all(isinstance(steps[-1], Erase) for steps in erased)
    before = {type(steps[-2]) for steps in erased}
    assert before > {Archive, Close, Tick}


def test_sessions_are_archived_while_something_is_at_work_too() -> None:
    moves = [step for one in scripts() for step in one.steps if isinstance(step, Archive)]
    assert {move.beside for move in moves} == {False, True}
    met = [
        (first, then)
        for one in scripts()
        for first, then in pairwise(one.steps)
        if isinstance(first, Tick) and first.beside and isinstance(then, Archive)
    ]
    assert met


def test_no_two_ticks_have_the_same_id() -> None:
    ids = Counter(step.id for one in scripts() for step in one.steps if isinstance(step, Tick))
    assert max(ids.values()) == 1
