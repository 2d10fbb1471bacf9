"""Records what a release says: `python -m tests.golden_logs.record FOLDER`, in a checkout of the release.

A small scenario runs against all services. What they and their clients say, and what the log holds in the
end, is kept as files, with what folding the log gives. `test_golden_logs.py` has all later code read them.
"""

import json
import shutil
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import vagus
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.codec import decode_commit
from vagus.contract.events import CheckpointCreated
from vagus.contract.hashing import state_hash
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, Message, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus_kernel.evolve import evolve
from vagus_kernel.state import Session

SUBJECTS = Subjects(root="vagus")
SESSIONS = ("golden", "waiting", "closed")
WORKSHOP = Path("/var/lib/vagus")
"""Paths below it stand in what is recorded, as they would of an installation; it must be writable."""
HEARD = ("vagus.>", "$KV.>", "_INBOX.>")
LIMIT = 100_000
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:read:/session/**", "fs:write:/session/**"),
    gate_capabilities=("fs:write:/session/asked/**",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)
ANSWERS: dict[str, Any] = {
    "golden/main": [
        {"directives": [{"type": "message", "role": "assistant", "content": "Hello."}]},
        {
            "directives": [
                {"type": "text_delta", "delta": "I look.", "index": 0},
                {
                    "type": "tool_call",
                    "call": {"call_id": "look", "tool_name": "fs.read", "input": {"path": "a.txt"}},
                },
            ],
            "stop_reason": "tool_call",
        },
        {"directives": [{"type": "message", "role": "assistant", "content": "It says hi."}]},
        {"error": "the provider is away"},
    ],
    "*": [{"directives": [{"type": "message", "role": "assistant", "content": "Yes."}]}] * 9,
}


def fold(payloads: Iterable[bytes]) -> dict[str, Any]:
    """What a session's commits lead to, as far as every release must agree."""
    session: Session | None = None
    digests: dict[str, str | None] = {}
    for payload in payloads:
        for record in decode_commit(payload):
            session = evolve(session, record)
            digests[record.branch_id] = record.digest
    assert session is not None
    return {
        "tick_count": session.tick_count,
        "policy_version": session.policy_version,
        "closed": session.closed,
        "branches": {
            name: {
                "head_sequence": branch.head_sequence,
                "digest": digests[name],
                "mode": branch.mode,
                "state_hash": state_hash(branch.memory.vector),
                "pending": branch.pending,
                "merged_into": branch.merged_into,
            }
            for name, branch in sorted(session.branches.items())
        },
    }


async def scenario(client: vagus.Client) -> None:
    """Something of everything."""
    session = await client.create_session(owner="ada", session_id="golden", policy=POLICY)
    await session.tick("say hello", system_prompt="Be brief.")
    await session.tick("keep a note", tool=write("a.txt"))
    await session.run("what does it say?", allowed_tools=["fs.read"])
    await session.tick("fail")
    await session.tick("not allowed", tool=vagus.ToolCall(tool_name="shell.exec", input={"command": "true"}))
    for name, answer in (("yes", client.approve), ("no", client.deny)):
        output = await session.tick("ask", tool=write(f"asked/{name}.txt"))
        await answer(output.pending_approvals[0].approval_id, actor="grace", reason=name)
        await settled(client, "golden")
    await session.create_branch("b")
    await session.tick("go on", branch="b")
    await session.create_branch("past", fork_sequence=8)
    await session.merge_branch("b")
    await session.record_event({"type": "ExternalSignal", "signal_type": "deploy", "data": {"sha": "1f2e"}})
    await session.extend_budget(tokens=1000)
    await session.set_policy(vagus.PolicySet.preset("pro"))
    await session.cancel()
    kinds = [event.kind async for event in session.history()]
    await session.restore(next(kind.checkpoint_id for kind in kinds if isinstance(kind, CheckpointCreated)))

    waiting = await client.create_session(owner="ada", session_id="waiting", policy=POLICY)
    await waiting.tick("ask", tool=write("asked/later.txt"))
    closed = await client.create_session(owner="ada", session_id="closed", policy=POLICY)
    await closed.tick("once")
    await closed.close("done")


def write(path: str) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": "hi"})


async def settled(client: vagus.Client, session_id: str) -> None:
    """Wait until what was answered has been carried out."""

    async def so() -> bool:
        summary = await (await client.session(session_id)).summary()
        return summary.pending_approvals == 0 and not await client.approvals(session_id)

    await eventually(so)


@asynccontextmanager
async def heard(bus: Bus, messages: list[Message]) -> AsyncIterator[None]:
    """Keep all that is said."""

    async def listen(subject: str) -> None:
        async with bus.subscribe(subject, limit=LIMIT) as said:
            ready.append(subject)
            async for message in said:
                messages.append(message)  # noqa: PERF401 - seen while it goes on

    ready: list[str] = []
    async with anyio.create_task_group() as tasks:
        for subject in HEARD:
            tasks.start_soon(listen, subject)
        await eventually(lambda: len(ready) == len(HEARD))
        yield
        tasks.cancel_scope.cancel()


def kept(messages: list[Message]) -> list[dict[str, Any]]:
    """Each message of ours once: no log, no copy by the server, no lease twice, no answer of the server."""
    found: list[dict[str, Any]] = []
    seen: set[tuple[str, bytes]] = set()
    leases: set[str] = set()
    for message in messages:
        subject, data = message.subject, message.data.decode()
        if (
            subject.startswith(("vagus.session.", "vagus.feed."))
            or not data
            or (subject, message.data) in seen
        ):
            continue
        if subject.startswith("vagus.inbox.") and subject.split(".")[2].isdecimal():
            continue
        seen.add((subject, message.data))
        if subject.startswith("_INBOX.") and '"command_id"' not in data:
            continue
        if subject.startswith("$KV.VAGUS_MEMBERS."):
            kind = subject.split(".")[2]
            if kind in leases:
                continue
            leases.add(kind)
        headers = {name: value for name, value in message.headers.items() if name != "traceparent"}
        subject = "_INBOX.reply" if subject.startswith("_INBOX.") else subject
        found.append({"subject": subject, "headers": headers, "data": data})
    return found


async def commits(bus: Bus, session_id: str) -> list[dict[str, Any]]:
    """A session's log with its headers."""
    stream = SUBJECTS.session_stream(session_id)
    info: Any = await bus.api(f"STREAM.INFO.{stream}")
    found: list[dict[str, Any]] = []
    for sequence in range(1, info["state"]["last_seq"] + 1):
        answer: Any = await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        message = answer["message"]
        lines = b64decode(message["hdrs"]).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        headers.pop("Nats-Expected-Last-Sequence", None)
        data = b64decode(message["data"]).decode()
        found.append({"subject": message["subject"], "headers": headers, "data": data})
    return found


async def record(folder: Path) -> None:
    """Run the scenario and keep what was said."""
    scratch = WORKSHOP / "golden"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    answers = scratch / "answers.json"
    answers.write_text(json.dumps(ANSWERS))
    messages: list[Message] = []
    logs: dict[str, list[dict[str, Any]]] = {}
    async with EmbeddedServer(scratch / "nats") as server, connect(server.url, name="recorder") as bus:
        async with heard(bus, messages):
            async with system(server.url, SUBJECTS, scratch, provider=f"scripted:{answers}") as whole:
                await scenario(whole.client)
            await eventually(lambda: any("SNAPSHOTS.golden" in message.subject for message in messages))
        for session_id in SESSIONS:
            logs[session_id] = await commits(bus, session_id)
    keep(folder, logs, kept(messages))
    shutil.rmtree(scratch)


def keep(folder: Path, logs: dict[str, list[dict[str, Any]]], said: list[dict[str, Any]]) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for session_id, log in logs.items():
        put(folder / f"log-{session_id}.ndjson", log)
    put(folder / "messages.ndjson", said)
    states = {session_id: fold(one["data"].encode() for one in log) for session_id, log in logs.items()}
    (folder / "states.json").write_text(json.dumps(states, indent=1) + "\n")


def put(file: Path, values: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


if __name__ == "__main__":
    anyio.run(record, Path(sys.argv[1]))
