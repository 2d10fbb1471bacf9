"""The tools that keep a ledger of their runs."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

import vagus
from chaos import tools
from chaos.checker.check import LEDGER_TAG
from chaos.checker.ledger import read
from tests.kit.waiting import eventually

ALL = (tools.put, tools.pay, tools.look, tools.crawl, tools.fail)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "ledger.ndjson"
    monkeypatch.setenv(tools.LEDGER, str(file))
    return file


def context(run_id: str = "r1") -> vagus.ToolContext:
    return vagus.ToolContext(workspace=Path(), session_id="s1", tool_run_id=run_id)


def lines(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def phases(ledger: Path) -> list[str]:
    return [line["phase"] for line in lines(ledger)]


@pytest.mark.parametrize("tool", ALL, ids=repr)
async def test_a_run_is_written_down_at_both_ends(tool: vagus.Tool[..., Any], ledger: Path) -> None:
    given: dict[str, object] = {"key": "a"}
    if tool is tools.crawl:
        given["seconds"] = 0.0
    with pytest.raises(vagus.ToolFailure) if tool is tools.fail else nullcontext():
        assert await tool.invoke(given, context()) == "a"
    [start, end] = lines(ledger)
    assert (start.pop("phase"), end.pop("phase")) == ("start", "end")
    assert start.pop("at") <= end.pop("at")
    repeatable = tool.definition.annotations.repeatable
    assert start == end
    assert start == {
        "tool_run_id": "r1",
        "tool": tool.definition.name,
        "idempotent": repeatable,
        "grant": True,
        "session_id": "s1",
    }


def test_two_of_them_may_be_repeated() -> None:
    assert [tool for tool in ALL if tool.definition.annotations.repeatable] == [tools.put, tools.look]


def test_the_checker_knows_them_by_their_tag() -> None:
    assert all(LEDGER_TAG in tool.definition.tags for tool in ALL)


async def test_a_run_that_is_cut_off_has_no_end(ledger: Path) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tools.pay.invoke, {"key": "a", "seconds": 60}, context())
        await eventually(lambda: ledger.exists() and phases(ledger))
        tasks.cancel_scope.cancel()
    assert phases(ledger) == ["start"]


async def test_a_long_run_ends_soon_after_it_was_cancelled(ledger: Path) -> None:
    running = context()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tools.crawl.invoke, {"key": "a", "seconds": 60}, running)
        await eventually(lambda: ledger.exists() and phases(ledger))
        running.cancel()
    assert phases(ledger) == ["start", "end"]


async def test_the_checker_reads_what_many_wrote_at_once(ledger: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(tools.crawl.invoke, {"key": "a", "seconds": 0.01}, context(f"r{number}"))
    assert len(read(ledger)) == 50


async def test_a_run_that_no_runner_asked_for_says_so(ledger: Path) -> None:
    await tools.put.invoke({"key": "a"}, vagus.ToolContext(workspace=Path()))
    assert lines(ledger)[0]["grant"] is False
