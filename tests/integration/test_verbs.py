"""The command line against all services."""

import io
import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from tests.kit.command_line import Ran, run
from tests.kit.system import PARTITIONS, System, system
from tests.kit.waiting import eventually
from vagus.contract.approvals import ApprovalTicket
from vagus.contract.policy import PRESETS, PolicySet
from vagus.contract.sessions import TickOutput
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

WRITE = '{"path": "artifacts/a.txt", "content": "hi"}'
ASKING = PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:/session/**",),
    max_tool_runtime_secs=10,
    max_events_per_turn=256,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbs")


@pytest.fixture(scope="module")
async def vagus(anyio_backend: str, broker: EmbeddedServer, folder: Path) -> AsyncIterator[System]:
    async with system(broker.url, Subjects(root="t" + secrets.token_hex(6)), folder) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(vagus: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGUS_SERVER", vagus.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", vagus.subjects.root)
    monkeypatch.setenv("VAGUS_PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("VAGUS_ACTOR", "ann")


@pytest.fixture
async def session() -> str:
    name = "s" + secrets.token_hex(4)
    assert (await done("session", "create", name)).json["session_id"] == name
    return name


async def done(*arguments: str) -> Ran:
    """Run a verb with --json that succeeds."""
    ran = await run(*arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    return ran


async def refused(*arguments: str, code: int = 3) -> Any:
    """Run a verb with --json that fails; returns its error."""
    ran = await run(*arguments, "--json")
    assert (ran.code, ran.out) == (code, "")
    return ran.error


async def test_a_session_is_created_listed_shown_and_closed(session: str) -> None:
    again = await done("session", "create", session)
    assert again.json["owner"]
    assert (await refused("session", "create", session, "--policy", "pro", code=1))["type"] == "Conflict"
    shown = (await done("session", "show", session)).json
    assert (shown["session_id"], shown["policy_version"], shown["closed"]) == (session, 1, False)
    assert [branch["branch_id"] for branch in shown["branches"]] == ["main"]

    async def listed() -> bool:
        found = (await done("session", "list")).json
        return any(entry["manifest"]["session_id"] == session for entry in found)

    await eventually(listed)
    assert (await done("session", "close", session, "--reason", "done")).json["reason"] == "done"
    assert (await refused("tick", session, "more"))["type"] == "BranchReadOnly"
    for verb in (["show", session], ["list"], ["close", session], ["create", session]):
        plain = await run("session", *verb)
        assert plain.code == 0
        assert session in plain.out


async def test_a_tick_says_what_it_did(session: str) -> None:
    said = msgspec.json.decode((await done("tick", session, "hello")).out, type=TickOutput)
    assert (said.text, said.reason) == ("working on: hello done", "completed")
    assert "working on: hello done" in (await run("tick", session, "hello")).out


async def test_a_tool_call_succeeds_or_fails_and_the_tick_is_done_either_way(session: str) -> None:
    good = await done("tick", session, "note", "--tool", "fs.write", "--input", WRITE)
    assert good.json["tool_results"][0]["status"] == "ok"
    bad = await done("tick", session, "note", "--tool", "shell.exec", "--input", '{"command": "rm"}')
    assert bad.json["tool_results"][0]["error"] == "capabilities denied: exec:cmd:rm"
    plain = await run("tick", session, "note", "--tool", "fs.write", "--input", WRITE)
    assert "✓ fs.write" in plain.out


async def test_a_tools_input_may_come_from_stdin(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line holds 128 KiB an argument at most."""
    arguments = ("tick", session, "note", "--tool", "fs.write", "--input", "-")
    long = json.dumps({"path": "artifacts/long.txt", "content": "y" * 200_000})
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(long.encode())))
    assert (await done(*arguments)).json["tool_results"][0]["outcome"]["output"]["bytes"] == 200_000
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"path": "\xff"}')))
    assert "not a JSON object" in (await refused(*arguments, code=2))["message"]


async def test_a_repeated_command_id_runs_once(session: str) -> None:
    first = await done("tick", session, "hello", "--command-id", "once")
    again = await done("tick", session, "hello", "--command-id", "once")
    assert again.json == first.json


async def test_run_goes_on_until_the_model_has_answered(session: str) -> None:
    assert (await done("run", session, "hello")).json["reason"] == "completed"


async def test_what_is_not_there_is_not_found(session: str) -> None:
    assert (await refused("tick", "nobody", "x", code=1))["type"] == "SessionNotFound"
    assert (await refused("session", "show", "nobody", code=1))["type"] == "SessionNotFound"
    assert (await refused("events", "nobody", code=1))["type"] == "SessionNotFound"
    assert (await refused("tick", session, "x", "--branch", "b", code=1))["type"] == "BranchNotFound"
    assert (await refused("events", session, "--branch", "b", code=1))["type"] == "BranchNotFound"
    assert (await refused("tick", "a/b", "x", code=1))["type"] == "InvalidId"
    assert (await refused("session", "restore", session, "k", code=1))["type"] == "CheckpointNotFound"
    plain = await run("tick", "nobody", "x")
    assert plain.err == "error: session not found: nobody\n"


async def test_events_are_the_logs_own_lines(vagus: System, session: str) -> None:
    await done("tick", session, "hello")
    stored = [event.line async for event in (await vagus.client.session(session)).history()]
    assert (await done("events", session)).out.encode().splitlines() == stored
    some = await done("events", session, "--branch", "main", "--from", "3", "--limit", "2")
    assert some.out.encode().splitlines() == stored[2:4]
    plain = (await run("events", session, "--limit", "4")).out.splitlines()
    assert plain[0].split()[1:4] == ["main", "1", "SessionCreated"]
    assert len(plain) == 4


async def test_following_goes_on_with_what_comes(vagus: System, session: str) -> None:
    followed: list[Ran] = []

    async def follow() -> None:
        followed.append(await run("events", session, "--follow", "--limit", "22", "--json"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await (await vagus.client.session(session)).tick("hello")
    lines = followed[0].out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, 23))


async def test_a_branch_is_forked_listed_and_merged(session: str) -> None:
    made = (await done("branch", "create", session, "b", "--at", "2")).json
    assert (made["parent_branch"], made["fork_sequence"]) == ("main", 2)
    assert (await refused("branch", "create", session, "b"))["type"] == "BranchExists"
    assert (await refused("branch", "create", session, "c", "--at", "99"))["type"] == "Refused"
    assert [branch["branch_id"] for branch in (await done("branch", "list", session)).json] == ["b", "main"]
    assert (await done("branch", "merge", session, "b")).json["source_branch"] == "b"
    assert "already merged" in (await refused("branch", "merge", session, "b"))["message"]
    assert "merged into main" in (await run("branch", "list", session)).out


async def test_a_person_is_asked_and_answers(vagus: System, session: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_bytes(msgspec.json.encode(ASKING))
    assert (await done("policy", "set", session, str(policy))).json["version"] == 2
    for answer, status in (("approve", "approved"), ("deny", "denied")):
        out = await done("tick", session, answer, "--tool", "fs.write", "--input", WRITE)
        assert out.json["reason"] == "awaiting_approval"
        approval = out.json["pending_approvals"][0]["approval_id"]
        answered = (await done("approvals", answer, approval, "--reason", "because")).json
        assert (answered["state"], answered["resolved_by"]) == (status, "ann")
        assert (await refused("approvals", answer, approval))["type"] == "ApprovalNotPending"

        async def nothing_waits() -> bool:
            return (await (await vagus.client.session(session)).summary()).pending_approvals == 0

        await eventually(nothing_waits)
    assert (await done("approvals", "list", "--session", session)).json == []
    assert "nothing waits" in (await run("approvals", "list", "--session", session)).out


async def test_pending_tickets_are_shown_with_what_they_would_do(session: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_bytes(msgspec.json.encode(ASKING))
    await done("policy", "set", session, str(policy))
    await done("tick", session, "ask", "--tool", "fs.write", "--input", WRITE)

    async def listed() -> list[ApprovalTicket]:
        ran = await done("approvals", "list", "--session", session)
        return msgspec.json.decode(ran.out, type=list[ApprovalTicket])

    (ticket,) = await eventually(listed)
    plain = (await run("approvals", "list", "--session", session)).out
    assert ticket.approval_id in plain
    assert "fs:write:/session/artifacts/a.txt" in plain
    assert "denied" in (await run("approvals", "deny", ticket.approval_id)).out


async def test_the_policy_is_shown_and_tried(session: str) -> None:
    shown = (await done("policy", "show", session)).json
    assert msgspec.convert(shown["policy"], PolicySet) == PRESETS["default"]
    assert "exec:cmd:git" in (await run("policy", "show", session)).out
    assert (await done("policy", "test", session, "exec:cmd:git")).json["decision"] == "allow"


async def test_a_budget_is_shown_and_extended(session: str) -> None:
    assert (await done("session", "budget", session)).json["budget"]["tokens_remaining"] == 120_000
    more = await done("session", "budget", session, "--tokens", "5", "--tool-calls", "1")
    assert more.json["budget"]["tokens_remaining"] == 120_005
    assert (await done("session", "budget", session)).json["budget"] == more.json["budget"]
    assert "120,005 tokens" in (await run("session", "budget", session)).out


async def test_a_checkpoint_is_restored_and_a_tick_cancelled(session: str) -> None:
    await done("tick", session, "note", "--tool", "fs.write", "--input", WRITE)
    lines = (await done("events", session)).out.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    checkpoint = next(kind["checkpoint_id"] for kind in kinds if kind["type"] == "CheckpointCreated")
    assert (await done("session", "restore", session, checkpoint)).json["branch_id"] == "main"
    assert (await done("session", "cancel", session)).json["session_id"] == session
    assert "checkpoint" in (await run("session", "restore", session, checkpoint)).out


async def test_tools_are_listed() -> None:
    assert {"fs.read", "fs.write", "shell.exec"} <= {tool["name"] for tool in (await done("tools")).json}
    assert "fs:write:{path}" in (await run("tools")).out


async def test_a_log_is_verified(session: str) -> None:
    found = (await done("verify", session)).json
    assert (found["ok"], found["events"]) == (True, 4)
    assert "unbroken" in (await run("verify", session)).out


async def test_the_doctor_finds_all_well_and_tells_what_is_not(
    vagus: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(vagus.root / "nowhere")
    found = (await done("doctor", "--store", nowhere)).json
    assert found["ok"]
    assert {"python", "server", "jetstream", "streams", "kernel", "policygate", "runner", "approver"} <= {
        finding["name"] for finding in found["findings"]
    }
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", "t" + secrets.token_hex(6))
    ran = await run("doctor", "--store", nowhere, "--json")
    assert ran.code == 1
    wrong = {finding["name"]: finding["mend"] for finding in ran.json["findings"] if not finding["ok"]}
    assert "vagus up" in wrong["streams"]
    assert "python -m vagus_kernel" in wrong["kernel"]
    plain = await run("doctor", "--store", nowhere)
    assert "→ start everything with `vagus up`" in plain.out
    monkeypatch.setenv("VAGUS_SERVER", "nats://127.0.0.1:9")
    away = await run("doctor", "--store", nowhere, "--json")
    assert away.code == 1
    assert [f["name"] for f in away.json["findings"] if not f["ok"]] == ["server"]
