"""Whatever anybody manages to publish: it is put aside or taken for late, and the work goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

import vagus
from tests.kit.raw import Raw, raw
from tests.kit.services import stored, wait_until_empty
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Message
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)
QUEUES = ("INBOX", "GATE", "TOOLS", "APPROVALS")
DEEP = 100_000
SHAPELESS = (
    b"",
    b"nonsense",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'"text"',
    b"{}",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b'{"effect_id": "e", "tool_run_id": "r", "approval_id": "a", "command_id": "c", "type"',
)
COMMAND = b'{"type": "Tick", "command_id": "c", "session_id": "s", "tick": {"objective": "o"}'
OF_ROLE = {
    Role.COMMAND: (
        COMMAND.replace(b"Tick", b"Dance") + b"}",
        COMMAND.replace(b'"s"', b'"other"') + b"}",
        COMMAND.replace(b'"c"', b'""') + b"}",
        COMMAND.replace(b'"o"', b"{}") + b"}",
        COMMAND + b', "branch_id": "a.b"}',
        COMMAND + b', "branch_id": ' + b"[" * DEEP,
        b'{"type": "RecordEvent", "command_id": "c", "session_id": "s", "record_event": {"event": 1e999}}',
    ),
    Role.VERDICT: (
        b'{"effect_id": 1, "tool_run_id": "r"}',
        b'{"effect_id": "e", "tool_run_id": "a.b", "grant": "g"}',
        b'{"effect_id": "e", "tool_run_id": "r", "allowed": "*"}',
    ),
    Role.REPORT: (
        b'{"effect_id": "e", "tool_run_id": "r", "type": "report"}',
        b'{"effect_id": "e", "tool_run_id": "r", "type": "applause"}',
        b'{"effect_id": "e", "tool_run_id": "r", "type": "report", "report": {"outcome": ' + b"[" * DEEP,
    ),
    Role.RESOLUTION: (
        b'{"approval_id": "a", "decision": "maybe"}',
        b'{"approval_id": ["a"], "decision": "approved"}',
    ),
}
LATE = {
    Role.VERDICT: b'{"effect_id": "e", "tool_run_id": "r", "allowed": ["*"], "grant": "g"}',
    Role.REPORT: b'{"effect_id": "e", "tool_run_id": "r", "type": "harness_error", "error": "no"}',
    Role.RESOLUTION: b'{"approval_id": "a", "decision": "approved", "actor": "mallory"}',
}


def write(path: str) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": "x"})


@asynccontextmanager
async def dead_letters(whole: System) -> AsyncIterator[dict[str, Message]]:
    """What is put aside while the block lasts, by the id under which it is stored once."""
    letters: dict[str, Message] = {}

    def put(letter: Message) -> None:
        letters[letter.headers["Nats-Msg-Id"]] = letter

    subscription = await whole.bus.subscribe_callback(whole.subjects.dead(), put)
    yield letters
    await subscription.unsubscribe()


async def nothing_is_left(whole: System) -> None:
    for queue in QUEUES:
        await wait_until_empty(whole.bus, whole.subjects.named(queue), timeout_s=60)


async def ticks_amid(whole: System, session: vagus.Session, role: Role, garbage: tuple[bytes, ...]) -> None:
    """A tick with each piece of garbage; all of them, and nothing else, are on the log."""
    before = [event.kind.type for event in await session.read_events(limit=1000)]
    async with anyio.create_task_group() as tasks:
        for number, data in enumerate(garbage):
            tasks.start_soon(whole.bus.store, whole.subjects.inbox(role, session.id), data)
            output = await session.tick(
                f"t{number}", tool=write("a") if number % 3 == 0 else None, timeout_s=60
            )
            assert output.reason == ("tool_calls" if number % 3 == 0 else "completed")
            assert all(result.status == "ok" for result in output.tool_results)
    await nothing_is_left(whole)
    assert (await session.verify()).ok
    seen = [event.kind.type for event in await session.read_events(limit=1000)]
    assert seen.count("Heartbeat") - before.count("Heartbeat") == len(garbage)


@pytest.mark.parametrize("role", Role)
async def test_garbage_goes_to_the_dead_letters_and_good_ticks_go_on(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, role: Role
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole, dead_letters(whole) as letters:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        garbage = (*SHAPELESS, *OF_ROLE[role], b"x" * (whole.bus.max_payload - 1000))
        await ticks_amid(whole, session, role, garbage)
        await eventually(lambda: len(letters) == len(garbage))
        assert {letter.subject for letter in letters.values()} == {subjects.dead("kernel.s")}
        assert all(letter.headers["Vagus-Reason"].startswith("not a ") for letter in letters.values())
        kept = sorted(letter.data for letter in letters.values() if "Vagus-Size" not in letter.headers)
        assert kept == sorted(garbage[:-1])
        with pytest.raises(vagus.Refused, match="over the limit"):
            await whole.bus.store(subjects.inbox(role, "s"), b"x" * 2 * limits.MIB)


@pytest.mark.parametrize("role", LATE)
async def test_an_answer_that_nobody_waits_for_is_late(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, role: Role
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await whole.bus.store(subjects.inbox(role, "nobody"), LATE[role])
        await ticks_amid(whole, session, role, (LATE[role],) * 3)
        assert await stored(whole.bus, subjects.named("DEAD")) == 0


async def test_a_forged_answer_makes_no_tool_run(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    """Of another session, before its time, or with a grant that no gate signed."""
    services = "approver runner kernel"
    async with (
        system(broker.url, subjects, tmp_path, services=services) as whole,
        anyio.create_task_group() as tasks,
    ):
        ours, theirs = [
            await whole.client.create_session(owner=name, policy=POLICY, session_id=name)
            for name in ("ours", "theirs")
        ]
        outputs: list[vagus.TickOutput] = []

        async def tick() -> None:
            outputs.append(await ours.tick("write", tool=write("a"), timeout_s=60))

        tasks.start_soon(tick)

        async def asked() -> str | None:
            events = await ours.read_events(limit=100)
            return next((e.event_id for e in events if e.kind.type == "ToolCallRequested"), None)

        effect = await eventually(asked)
        assert effect is not None
        verdict = msgspec.json.decode(LATE[Role.VERDICT]) | {"effect_id": effect, "tool_run_id": effect}
        report = msgspec.json.decode(LATE[Role.REPORT]) | {"effect_id": effect, "tool_run_id": effect}
        await whole.bus.store(subjects.inbox(Role.VERDICT, theirs.id), msgspec.json.encode(verdict))
        await whole.bus.store(subjects.inbox(Role.REPORT, theirs.id), msgspec.json.encode(report))
        await whole.bus.store(subjects.inbox(Role.REPORT, ours.id), msgspec.json.encode(report))

        async def only_the_tick_is_left() -> bool:
            return await stored(whole.bus, subjects.named("INBOX")) == 1

        await eventually(only_the_tick_is_left)
        assert (await ours.read_events(limit=100))[-1].event_id == effect
        await whole.bus.store(subjects.inbox(Role.VERDICT, ours.id), msgspec.json.encode(verdict))
        await eventually(lambda: outputs, timeout_s=60)
        (result,) = outputs[0].tool_results
        assert (result.status, "grant refused" in (result.error or "")) == ("failed", True)
        assert not (whole.root / "sessions" / "ours" / "a").exists()
        await whole.start("gate")
        (result,) = (await ours.tick("again", tool=write("a"), timeout_s=60)).tool_results
        assert result.status == "ok"
        assert (await ours.verify()).ok
        assert (await theirs.verify()).ok
        await nothing_is_left(whole)
        assert await stored(whole.bus, subjects.named("DEAD")) == 0


async def shout(client: Raw, subject: bytes) -> None:
    await client.publish(subject, b"?" * 2 * limits.MIB)
    await client.heard()


async def test_what_no_client_library_would_send_ends_no_process(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    """Subjects that are no text, headers that are no headers: the server lets clients send both."""
    headers = (
        b"Odd: one\nline\r\n",
        b"Nats-Odd\x00\xff: \xff\r\nno colon\r\n: no name\r\n",
        b"Long: " + b"\xff" * 40_000 + b"\r\n",
        b"".join(b"Many-%d: %b\r\n" % (number, b"x" * 500) for number in range(100)),
    )
    tokens = (b"\xff\xfe", b"\x01", b"\xe2\x80\xa8", b"a" * 1000)
    async with system(broker.url, subjects, tmp_path) as whole, dead_letters(whole) as letters:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        families = [
            *(subjects.inbox(role, "s") for role in Role),
            subjects.gate("s"),
            subjects.tool("default", "normal", "s"),
            subjects.approval("s"),
            subjects.answer("s"),
        ]
        async with raw(broker.port) as client:
            for family in families:
                for token in tokens:
                    await client.publish(family[:-1].encode() + token, b"?")
                for head in headers:
                    await client.publish(family.encode(), b"?", head)
            await client.heard()
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await shout(client, families[0].encode())
        assert (await session.tick("write", tool=write("a"), timeout_s=60)).tool_results[0].status == "ok"
        await nothing_is_left(whole)
        await eventually(lambda: len(letters) == len(families) * (len(tokens) + len(headers)))
        assert any("Vagus-Left-Out" in letter.headers for letter in letters.values())
        assert not any(service.ended.is_set() for service in whole.services.values())
        assert (await session.verify()).ok
