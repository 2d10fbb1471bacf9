"""What earlier releases wrote is read by this one, and what later ones may write too."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

import vagus
from tests.golden_logs.record import fold
from tests.golden_logs.release import SESSIONS, UNKNOWN, Release, Said, names, release, tomorrow
from tests.kit.fields import missing
from tests.kit.services import wait_until_empty
from tests.kit.system import PARTITIONS, System, system
from tests.kit.waiting import eventually
from vagus.contract import commands, streams
from vagus.contract.approvals import Answer, ApprovalTicket, Resolution
from vagus.contract.claims import Claim
from vagus.contract.codec import encode_kind
from vagus.contract.errors import ApprovalNotPending
from vagus.contract.events import CheckpointCreated, Unknown
from vagus.contract.hashing import state_hash
from vagus.contract.messages import GateRequest, Report, ToolRequest, Verdict
from vagus.contract.policy import PolicyInForce
from vagus.contract.sessions import SessionSummary
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolboxEntry
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.provision import ensure
from vagus.sdk.verification import Verifier
from vagus_kernel.evolve import evolve
from vagus_kernel.state import Session

SUBJECTS = Subjects(root="vagus")
RELEASES = names()
RESTORED = (streams.SESSIONS, streams.POLICIES, streams.TICKETS, streams.TOOLBOX, streams.SNAPSHOTS)
READERS: dict[str, Callable[[bytes], object]] = {
    "vagus.inbox.command.": commands.decode_command,
    "vagus.inbox.verdict.": lambda data: msgspec.json.decode(data, type=Verdict),
    "vagus.inbox.report.": lambda data: msgspec.json.decode(data, type=Report),
    "vagus.inbox.resolution.": lambda data: msgspec.json.decode(data, type=Resolution),
    "vagus.gate.": lambda data: msgspec.json.decode(data, type=GateRequest),
    "vagus.tool.": lambda data: msgspec.json.decode(data, type=ToolRequest),
    "vagus.approval.": lambda data: msgspec.json.decode(data, type=ApprovalTicket),
    "vagus.answer.": lambda data: msgspec.json.decode(data, type=Answer),
    "_INBOX.": lambda data: msgspec.json.decode(data, type=commands.Reply),
    "$KV.VAGUS_SESSIONS.": lambda data: msgspec.json.decode(data, type=SessionSummary),
    "$KV.VAGUS_POLICIES.": lambda data: msgspec.json.decode(data, type=PolicyInForce),
    "$KV.VAGUS_TICKETS.": lambda data: msgspec.json.decode(data, type=ApprovalTicket),
    "$KV.VAGUS_TOOLBOX.": lambda data: msgspec.json.decode(data, type=ToolboxEntry),
    "$KV.VAGUS_CALLS.": lambda data: msgspec.json.decode(data, type=Claim),
}
OTHERS = ("$KV.VAGUS_MEMBERS.", "$KV.VAGUS_SNAPSHOTS.", "vagus.control.", "vagus.live.", "vagus.dead.")
"""Read by whom they concern, and left alone when they cannot be."""

past = pytest.mark.parametrize("name", RELEASES)


def reader(said: Said) -> Callable[[bytes], object] | None:
    found = [read for prefix, read in READERS.items() if said.subject.startswith(prefix)]
    assert found or said.subject.startswith(OTHERS), said.subject
    return found[0] if found else None


def verified(given: Release, session_id: str) -> tuple[str, ...]:
    verifier = Verifier(session_id)
    for commit in given.commits(session_id):
        verifier.take(commit)
    return verifier.result().problems


def test_a_release_is_recorded() -> None:
    assert RELEASES


@past
@pytest.mark.parametrize("session_id", SESSIONS)
def test_a_log_folds_to_what_its_release_made_of_it(name: str, session_id: str) -> None:
    given = release(name)
    assert verified(given, session_id) == ()
    folded = fold(commit.payload for commit in given.commits(session_id))
    assert not list(missing(given.states[session_id], json.loads(json.dumps(folded))))


@past
@pytest.mark.parametrize("session_id", SESSIONS)
def test_the_state_at_each_checkpoint_has_its_hash(name: str, session_id: str) -> None:
    session: Session | None = None
    seen = 0
    for commit in release(name).commits(session_id):
        for record in commit.records():
            session = evolve(session, record)
            if isinstance(record.kind, CheckpointCreated):
                seen += 1
                vector = session.branches[record.branch_id].memory.vector
                assert state_hash(vector) == record.kind.state_hash, (record.branch_id, record.sequence)
    assert seen


@past
@pytest.mark.parametrize("session_id", SESSIONS)
def test_no_event_is_unknown_and_none_loses_a_field(name: str, session_id: str) -> None:
    for commit in release(name).commits(session_id):
        for record, line in zip(commit.records(), commit.lines(), strict=True):
            assert not isinstance(record.kind, Unknown), line
            assert not list(missing(json.loads(line), json.loads(msgspec.json.encode(record)))), line


@past
def test_messages_are_read_whole(name: str) -> None:
    shapes = Counter[str]()
    for said in release(name).messages:
        if (read := reader(said)) is not None:
            back = json.loads(msgspec.json.encode(read(said.payload)))
            assert not list(missing(json.loads(said.data), back)), said
            shapes[next(prefix for prefix in READERS if said.subject.startswith(prefix))] += 1
    assert set(shapes) == set(READERS)


@past
def test_messages_with_more_fields_are_read_as_without(name: str) -> None:
    later = iter(tomorrow(name).messages)
    for said in release(name).messages:
        if "_SNAPSHOTS." not in said.subject:
            more = next(later)
            read = reader(said)
            if read is not None and not said.subject.startswith("_INBOX."):
                assert read(more.payload) == read(said.payload), said
            elif read is not None:
                read(more.payload)


@past
@pytest.mark.parametrize("session_id", SESSIONS)
def test_a_log_with_more_fields_and_another_kind_folds_to_the_same(name: str, session_id: str) -> None:
    given, later = release(name), tomorrow(name)
    assert verified(later, session_id) == ()
    states = [fold(commit.payload for commit in one.commits(session_id)) for one in (given, later)]
    for state in states:
        for branch in state["branches"].values():
            del branch["digest"], branch["head_sequence"]
    assert states[0] == states[1]
    last = later.commits(session_id)[-1].records()[-1]
    assert isinstance(last.kind, Unknown)
    assert encode_kind(last.kind) == msgspec.json.encode(UNKNOWN)


@past
@pytest.mark.parametrize("later", [False, True], ids=["yesterday", "tomorrow"])
async def test_a_session_of_another_release_goes_on(
    name: str, later: bool, own_broker: EmbeddedServer, own_bus: Bus, tmp_path: Path
) -> None:
    given = tomorrow(name) if later else release(name)
    await restore(own_bus, given)
    before = {session_id: recorded_lines(given, session_id) for session_id in SESSIONS}
    async with system(own_broker.url, SUBJECTS, tmp_path) as whole:
        await repeat_commands(whole, given)
        session = await whole.client.session("golden")
        said = await session.tick("still there?", timeout_s=60)
        assert said.reason == "completed"
        call = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/new.txt", "content": "hi"})
        assert [r.status for r in (await session.tick("a call", tool=call, timeout_s=60)).tool_results] == [
            "ok"
        ]
        assert (await session.tick("a branch", branch="past", timeout_s=60)).reason == "completed"
        await end_the_wait(whole.client)
        for session_id in SESSIONS:
            found = await whole.client.verify(session_id)
            assert found.problems == ()
            assert (await lines(whole.bus, session_id))[: len(before[session_id])] == before[session_id]
        assert await lines(whole.bus, "closed") == before["closed"]


def recorded_lines(given: Release, session_id: str) -> list[bytes]:
    return [line for commit in given.commits(session_id) for line in commit.lines()]


async def lines(bus: Bus, session_id: str) -> list[bytes]:
    log = JetStreamLog(bus, SUBJECTS)
    return [line async for commit in log.commits(session_id) for line in commit.lines()]


async def restore(bus: Bus, given: Release) -> None:
    """Put a release's logs and buckets into a server."""
    await ensure(bus, SUBJECTS, partitions=PARTITIONS)
    log = JetStreamLog(bus, SUBJECTS)
    for session_id in SESSIONS:
        await log.create(session_id)
        for said in given.logs[session_id]:
            await bus.store(said.subject, said.payload, headers=said.headers)
    for bucket in RESTORED:
        prefix = f"$KV.{SUBJECTS.named(bucket)}."
        for said in given.messages:
            if said.subject.startswith(prefix):
                key = said.subject.removeprefix(prefix)
                await Bucket(bus, SUBJECTS.named(bucket)).put(key, said.payload)


async def repeat_commands(whole: System, given: Release) -> None:
    """Everything that clients asked for then is asked for again; all of it is remembered."""
    for said in given.messages:
        if said.subject.startswith("vagus.inbox.command."):
            await whole.bus.store(said.subject, said.payload, headers=said.headers)
    await wait_until_empty(whole.bus, SUBJECTS.named("INBOX"))


async def end_the_wait(client: vagus.Client) -> None:
    """Somebody answers the ticket that was open, if it has not timed out in all the time since."""
    for ticket in await client.approvals("waiting"):
        with suppress(ApprovalNotPending):
            await client.approve(ticket.approval_id, actor="grace")

    async def ended() -> bool:
        session = await client.session("waiting")
        types = [event.kind.type async for event in session.history()]
        return "ApprovalResolved" in types and ("ToolCallCompleted" in types or "ToolCallFailed" in types)

    await eventually(ended)
