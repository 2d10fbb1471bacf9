"""The examples do what docs/extending.md says, and it prints them as they are."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

import vagus
from tests.kit import documents
from vagus.contract.sessions import SessionManifest, TickInput, TickOutput
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus_kernel import middleware
from vagus_kernel.middleware import TurnContext
from vagus_kernel.providers.scripted import Answer, Scripted
from vagus_toolrunner import catalog

EXAMPLES = documents.ROOT / "examples"
EXTENDING = "docs/extending.md"


@pytest.fixture
def tools() -> catalog.Catalog:
    return catalog.Catalog(catalog.named([str(EXAMPLES / "note_tools.py")]))


@pytest.fixture
def house_rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (found,) = middleware.load("house_rules:house_rules")
    yield sys.modules[found.__module__]
    del sys.modules["house_rules"]


@pytest.mark.parametrize("block", documents.blocks(EXTENDING, "python"), ids=lambda block: block.title)
def test_the_printed_code_is_that_of_the_examples(block: documents.Block) -> None:
    if block.title:
        assert block.text in (EXAMPLES / f"{block.title}.py").read_text()
    else:
        compile(f"async def _():\n {block.text.replace(chr(10), chr(10) + ' ')}", EXTENDING, "exec")


async def test_a_note_is_counted(tools: catalog.Catalog, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("one log\nfor one session\n")
    count = tools.get("notes.count")
    assert count is not None
    assert await count.invoke({"path": "/note.txt"}, context(tmp_path)) == {"lines": 2, "words": 5}


async def test_a_missing_note_is_a_failure(tools: catalog.Catalog, tmp_path: Path) -> None:
    count = tools.get("notes.count")
    assert count is not None
    with pytest.raises(vagus.ToolFailure, match="no such note") as raised:
        await count.invoke({"path": "note.txt"}, context(tmp_path))
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("path", ["../note.txt", "a/../../note.txt", "link/note.txt"])
async def test_no_path_leads_out_of_the_workspace(tools: catalog.Catalog, tmp_path: Path, path: str) -> None:
    workspace = tmp_path / "session"
    workspace.mkdir()
    (workspace / "link").symlink_to(tmp_path)
    (tmp_path / "note.txt").write_text("not yours")
    count = tools.get("notes.count")
    assert count is not None
    with pytest.raises(vagus.HarnessError, match="path escapes workspace root"):
        await count.invoke({"path": path}, context(workspace))


async def test_notes_are_collected_and_progress_is_shown(tools: catalog.Catalog, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").write_text("b\n")
    shown: list[object] = []
    collect = tools.get("notes.collect")
    assert collect is not None
    given = {"paths": ["a.txt", "no.txt", "b.txt"], "target": "all.txt"}
    done = await collect.invoke(given, vagus.ToolContext(workspace=tmp_path, emit=shown.append))
    assert done == {"target": "all.txt", "notes": 2, "missing": ["no.txt"]}
    assert (tmp_path / "all.txt").read_text() == "a\nb\n"
    assert shown == [{"read": n, "of": 3} for n in (1, 2, 3)]
    assert collect.paths(given) == ("all.txt",)


async def test_a_middleware_adds_a_prompt_and_a_guard(house_rules: ModuleType) -> None:
    seen: list[TurnContext] = []

    async def turn(ctx: TurnContext) -> TickOutput:
        seen.append(ctx)
        return output()

    ctx = turn_context(owner="ada")
    assert await middleware.chain([house_rules.house_rules], turn)(ctx) == output()
    assert "You work for ada" in (seen[0].input.system_prompt or "")
    assert [guard.name for guard in seen[0].guards] == ["no_secrets"]


async def test_a_middleware_refuses_a_turn(house_rules: ModuleType) -> None:
    async def turn(ctx: TurnContext) -> TickOutput:
        raise AssertionError("not reached")

    with pytest.raises(vagus.Refused, match="needs an owner"):
        await middleware.chain([house_rules.house_rules], turn)(turn_context(owner=""))


@pytest.mark.parametrize(
    ("text", "decision"),
    [("hello", "allow"), ("AKIAABCDEFGHIJKLMNOP", "block"), ("x" * 20_000, "warn")],
    ids=["plain", "secret", "long"],
)
async def test_a_guard_judges_calls(house_rules: ModuleType, text: str, decision: str) -> None:
    call = vagus.ToolCall(tool_name="fs.write", input={"path": "a.txt", "content": text})
    said = await house_rules.NoSecrets().on_tool_call(turn_context(owner="ada"), call)
    assert said.decision == decision


def test_the_printed_answer_is_in_the_scripted_file() -> None:
    (printed,) = documents.blocks(EXTENDING, "json")
    answers = msgspec.json.decode((EXAMPLES / "answers.json").read_bytes(), type=dict[str, list[Answer]])
    assert msgspec.json.decode(printed.text, type=Answer) in answers["*"]
    assert Scripted(EXAMPLES / "answers.json").name == "scripted"


def context(workspace: Path) -> vagus.ToolContext:
    return vagus.ToolContext(workspace=workspace)


def turn_context(*, owner: str) -> TurnContext:
    manifest = SessionManifest(
        session_id="s1",
        owner=owner,
        created_at="2026-11-23T10:00:00Z",
        workspace_root="sessions/s1",
        model_routing=vagus.ModelRouting(),
        policy=vagus.PolicySet.preset("default"),
    )
    return TurnContext(
        session_id="s1",
        branch_id="main",
        manifest=manifest,
        input=TickInput(objective="keep a note"),
        state=AgentStateVector(),
        mode=OperatingMode.EXPLORE,
        pending_approvals=0,
    )


def output() -> TickOutput:
    return TickOutput(
        session_id="s1",
        branch_id="main",
        mode=OperatingMode.EXECUTE,
        state=AgentStateVector(),
        events_emitted=23,
        last_sequence=30,
        run_id="r1",
        text="done",
        tool_results=(),
        pending_approvals=(),
        reason="completed",
    )
