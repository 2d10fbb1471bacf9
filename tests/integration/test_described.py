"""What processes really say is as docs/asyncapi.yaml says; heard with nothing of ours, by nats-py alone."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

import vagus
from tests.kit.described import Described
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:/session/asked/**",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)
GARBAGE = b"no request"
SAID = """
Cancel Close CreateBranch CreateSession ExtendBudget MergeBranch RecordEvent Schedule SetPolicy Tick Reply
GateRequest Verdict ToolRequest Report ApprovalTicket Answer Resolution ScheduledTick DeadLetter
Commit StoredCommit BranchMerged ToolCallCompleted ToolCallFailed vagus.call_granted vagus.turn_started
ApprovalTicketValue ClaimValue PolicyInForceValue SessionSummaryValue ToolboxEntryValue
"""
PRIVATE = ("MEMBERS", "SNAPSHOTS", "RETURNS")
"""Buckets that only our own processes read."""


@asynccontextmanager
async def heard(url: str, root: str, messages: list[Msg]) -> AsyncIterator[nats.NATS]:
    """All that is said while the block lasts, also between processes."""

    async def keep(message: Msg) -> None:
        messages.append(message)

    client = await nats.connect(url)
    try:
        for subject in (f"{root}.>", "$KV.>", "_INBOX.>"):
            await client.subscribe(subject, cb=keep)
        await client.flush()
        yield client
        await client.flush()
    finally:
        await client.close()


async def something_of_everything(whole: System) -> None:
    client = whole.client
    session = await client.create_session(owner="ada", session_id="live", policy=POLICY)
    await session.tick("say hello")
    await session.tick("keep a note", tool=write("a.txt"), priority="high")
    await session.tick(
        "run", tool=vagus.ToolCall(tool_name="shell.exec", input={"command": "echo", "args": ["ü"]})
    )
    await session.tick("no such", tool=vagus.ToolCall(tool_name="nothing"))
    asked = await session.tick("ask", tool=write("asked/b.txt"))
    await client.approve(asked.pending_approvals[0].approval_id, actor="grace")
    await session.create_branch("b")
    await session.tick("go on", branch="b")
    await session.merge_branch("b")
    await session.record_event({"type": "ExternalSignal", "signal_type": "deploy", "data": {"sha": "1f2e"}})
    await session.extend_budget(tokens=1000)
    await session.set_policy(vagus.PolicySet.preset("pro"))
    await session.wake("nightly", cron="0 2 * * *")
    await session.tick("later", after=0.2)
    await whole.bus.store(whole.subjects.gate("live"), GARBAGE)
    await eventually(lambda: dead(client))

    async def done() -> bool:
        kinds = [event.kind.type async for event in session.history()]
        return kinds.count("RunFinished") >= 7 and "ApprovalResolved" in kinds

    await eventually(done)
    await session.cancel()
    await session.close("done", cancel=True)


async def dead(client: vagus.Client) -> bool:
    return bool(await client.dead_letters())


def write(path: str) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": "hi"})


def ours(message: Msg, subjects: Subjects) -> bool:
    """Of those that the document describes: no answer of the server, no copy by it, no private bucket."""
    subject = message.subject
    if subject.startswith("_INBOX."):
        return b'"command_id"' in message.data
    if subject.startswith("$KV."):
        if not subject.startswith(subjects.writes("").removesuffix(">").removesuffix(".")):
            return False  # of another test on this server
        private = subject.startswith(tuple(f"$KV.{subjects.named(name)}." for name in PRIVATE))
        return not private and bool(message.data)
    said = message.data != GARBAGE or subject.startswith(subjects.dead(""))
    return said and not subject.split(".")[2].isdecimal()


async def test_live_messages_are_as_the_document_says(broker: EmbeddedServer, tmp_path: Path) -> None:
    subjects = Subjects(root="t" + secrets.token_hex(6))
    messages: list[Msg] = []
    described = Described(subjects.root)
    async with heard(broker.url, subjects.root, messages) as client:
        async with system(broker.url, subjects, tmp_path) as whole:
            await something_of_everything(whole)
        stored = await log(client, subjects.session_stream("live"))
    for message in (*messages, *stored):
        if ours(message, subjects):
            described.check(message.subject, message.headers or {}, message.data)
    seen = set(described.seen)
    assert seen >= set(SAID.split())
    assert sum(1 for message in messages if message.subject.startswith(subjects.feed("live", ""))) == len(
        stored
    )


async def log(client: nats.NATS, stream: str) -> list[Msg]:
    """A stream from its beginning, by a consumer of nats-py."""
    jetstream = client.jetstream()
    size = (await jetstream.stream_info(stream)).state.messages
    options = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    found: list[Msg] = []
    subscription = await jetstream.subscribe(">", stream=stream, config=options, ordered_consumer=True)
    while len(found) < size:
        found.append(await subscription.next_msg(timeout=10))
    await subscription.unsubscribe()
    return found


@pytest.mark.parametrize("data", [{"effect_id": 3}, {}])
def test_what_is_not_as_the_document_says_is_found(data: Any) -> None:
    with pytest.raises(Exception, match="effect_id"):
        Described().check("vagus.gate.s1", {"Nats-Msg-Id": "x"}, json.dumps(data).encode())


def test_a_subject_that_the_document_does_not_name_is_found() -> None:
    with pytest.raises(AssertionError, match="on no channel"):
        Described().check("vagus.gossip.s1", {}, b"{}")
