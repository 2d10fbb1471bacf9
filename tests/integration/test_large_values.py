"""What does not fit a message, or hardly: long answers of models, long inputs of tools."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

import vagus
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.events import TextDelta, ToolCallRequested
from vagus.contract.streams import SNAPSHOTS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:/session/gated/*",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)
KB = 1000


def text(*pieces: int) -> dict[str, Any]:
    """A model's answer of pieces with so many letters each."""
    return {"directives": [{"type": "text_delta", "delta": "x" * size} for size in pieces]}


def asks(*inputs: dict[str, str], text: int = 0) -> dict[str, Any]:
    """A model's answer that says a text and writes files."""
    said = [{"type": "text_delta", "delta": "x" * text}] if text else []
    calls = [
        {"type": "tool_call", "call": {"call_id": str(n), "tool_name": "fs.write", "input": given}}
        for n, given in enumerate(inputs)
    ]
    return {"directives": [*said, *calls], "stop_reason": "tool_call"}


def file(path: str, size: int) -> dict[str, str]:
    """The input that writes a file."""
    return {"path": path, "content": "y" * size}


ANSWERS = {
    "1500 KB": [text(*[100 * KB] * 15), text(2)],
    "3000 KB": [text(*[100 * KB] * 30), text(2)],
    "one piece": [text(1500 * KB), text(2)],
    "too much": [text(*[500 * KB] * 10), text(2)],
    "with a call": [asks(file("a", 2), text=1500 * KB), text(2)],
    "input": [asks(file("gated/a", 500 * KB)), text(2)],
    "inputs": [asks(file("a", 600 * KB), file("b", 2)), text(2)],
}
"""By the session that asks."""


@pytest.fixture
async def whole(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({name.replace(" ", "-"): answers for name, answers in ANSWERS.items()}))
    async with system(broker.url, subjects, tmp_path, provider=f"scripted:{script}") as running:
        yield running


async def session_of(whole: System, name: str) -> vagus.Session:
    session_id = name.replace(" ", "-")
    return await whole.client.create_session(owner="me", policy=POLICY, session_id=session_id)


async def checked(session: vagus.Session, branch: str = "main") -> list[vagus.EventRecord]:
    """A branch's events, the same to all who read them, without a gap and unbroken."""
    events = await session.read_events(limit=1000, branch=branch)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    followed: list[str] = []
    async with aclosing(session.events(branch=branch)) as stream:
        with anyio.fail_after(60):
            while len(followed) < len(events):
                followed.append((await anext(stream)).event_id)
    assert followed == [event.event_id for event in events]
    assert (await session.verify()).ok
    return events


async def commits_of(session: vagus.Session, records: list[vagus.EventRecord]) -> int:
    """Over how many messages of the log these events are spread."""
    ids = {record.event_id for record in records}
    return len({event.cursor async for event in session.history() if event.event_id in ids})


@pytest.mark.parametrize("size", [1500, 3000])
async def test_a_long_answer_is_one_commit_of_several_messages_that_all_can_read(
    whole: System, subjects: Subjects, size: int
) -> None:
    session = await session_of(whole, f"{size} KB")
    output = await session.tick("say much")
    assert (output.reason, len(output.text)) == ("completed", size * KB)
    events = await checked(session)
    said = [event for event in events if isinstance(event.kind, TextDelta)]
    assert await commits_of(session, said) == size // 900 + 1
    middle = said[len(said) // 2].sequence
    assert [e.sequence for e in await session.read_events(middle, 3)] == [middle, middle + 1, middle + 2]
    await session.create_branch("side", fork_sequence=middle)
    inherited = await session.read_events(branch="side", lineage=True, limit=1000)
    assert [event.event_id for event in inherited[:middle]] == [event.event_id for event in events[:middle]]
    await whole.services["kernel3"].drain()
    await Bucket(whole.bus, subjects.named(SNAPSHOTS)).delete(session.id)
    await whole.start("kernel", "second")
    for branch, answer in (("main", "xx"), ("side", "x" * size * KB)):
        assert (await session.tick("go on", branch=branch)).text == answer
        await checked(session, branch)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("one piece", "TextDelta of 1500... bytes is over the limit of 1047552 for one event"),
        ("with a call", "vagus.model_answered of 1500... bytes is over the limit of 1047552 for one event"),
        ("too much", "the model's answer of 5000... bytes is over the limit of 4194304"),
    ],
)
async def test_an_answer_that_cannot_be_kept_ends_the_turn_with_the_reason(
    whole: System, name: str, error: str
) -> None:
    session = await session_of(whole, name)
    output = await session.tick("say too much")
    assert output.reason == "error"
    before, _, after = error.partition("...")
    assert (output.error or "").startswith(before)
    assert (output.error or "").endswith(after)
    assert (await session.tick("less, please")).text == "xx"
    assert "RunErrored" in [event.kind.type for event in await checked(session)]


async def test_a_long_input_of_a_models_call_is_kept_word_for_word(whole: System) -> None:
    """By the log, the gate, the ticket, the person's answer and the runner."""
    session = await session_of(whole, "input")
    assert (await session.tick("write")).reason == "awaiting_approval"
    (ticket,) = await eventually(lambda: whole.client.approvals(session.id))
    assert ticket.arguments == file("gated/a", 500 * KB)
    await whole.services["kernel3"].drain()
    await whole.start("kernel", "second")
    await whole.client.approve(ticket.approval_id, actor="boss", reason="ä" * 4096)
    written = whole.root / "sessions" / session.id / "gated" / "a"
    await eventually(lambda: written.exists() and written.read_text() == "y" * 500 * KB)
    kinds = [event.kind for event in await checked(session)]
    assert [kind.arguments for kind in kinds if isinstance(kind, ToolCallRequested)] == [ticket.arguments]


async def test_a_models_call_with_too_long_an_input_fails_and_the_others_run(whole: System) -> None:
    session = await session_of(whole, "inputs")
    output = await session.tick("write")
    assert [result.status for result in output.tool_results] == ["failed", "ok"]
    assert output.tool_results[0].error == (
        "invalid input: 600025 bytes are over the limit of 524288: put long input into a file"
    )
    await checked(session)


def write(size: int) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input=file("a", size))


async def test_a_proposed_call_may_have_an_input_as_long_as_a_command(whole: System) -> None:
    session = await session_of(whole, "inline")
    output = await session.tick("write", tool=write(200 * KB))
    assert [result.status for result in output.tool_results] == ["ok"]
    assert (whole.root / "sessions" / session.id / "a").read_text() == "y" * 200 * KB
    before = len(await checked(session))
    with pytest.raises(vagus.Refused, match="over the limit of 524288 for one command"):
        await session.tick("write", tool=write(900 * KB))
    assert len(await checked(session)) == before


async def test_a_proposed_call_of_any_other_client_fails_or_is_refused(
    whole: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not know the limits sends what the server takes."""
    monkeypatch.setattr(limits, "COMMAND_BYTES", limits.MAX_PAYLOAD_BYTES)
    session = await session_of(whole, "other")
    output = await session.tick("write", tool=write(900 * KB))
    assert (output.tool_results[0].error or "").startswith("invalid input: 900")
    before = len(await checked(session))
    with pytest.raises(vagus.Refused, match=r"ToolCallRequested of \d+ bytes is over the limit of 1047552"):
        await session.tick("write", tool=write(limits.MAX_PAYLOAD_BYTES - 700))
    assert len(await checked(session)) == before
