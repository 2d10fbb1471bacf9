"""The whole installation at a glance."""

from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.command_line import run
from tests.kit.system import PARTITIONS, System, system
from tests.kit.waiting import eventually
from vagus.cli.render import status as render
from vagus.contract.messages import Role
from vagus.contract.state import OperatingMode
from vagus.contract.status import OldestInput, Queue, Replica, Server, SessionCount, Status
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure


def queue(status: Status, name: str) -> Queue:
    return next(queue for queue in status.queues if queue.name == name)


async def send_nowhere(whole: System, session: vagus.Session) -> None:
    """A tick while there is no kernel: it waits."""
    with pytest.raises(vagus.OutcomeUnknown):
        await session.tick("later", timeout_s=0.2)


async def test_who_lives_who_owns_what_and_what_sessions_do(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path, services="gate approver runner kernel kernel") as whole:
        for name in ("one", "two"):
            await whole.client.create_session(
                owner="me", policy=vagus.PolicySet.preset("default"), session_id=name
            )
        status = await whole.client.status()
        assert status.problems == ()
        assert [member.name for member in status.members] == [
            "kernel.kernel3",
            "kernel.kernel4",
            "policygate.gate0",
            "runner.runner2",
            "approver.approver1",
        ]
        assert all(member.since and (member.alive_s or 0) > 0 for member in status.members)
        assert [member.pools for member in status.members if member.kind == "runner"] == [("default",)]
        assert status.partitions == PARTITIONS
        shares = [partition for share in status.owned.values() for partition in share]
        assert sorted(shares) == list(range(PARTITIONS))
        assert set(status.owned) == {"kernel.kernel3", "kernel.kernel4"}
        assert {queue.name for queue in status.queues} >= {
            "answers", "commands", "dead", "due", "gate", "people", "tickets", "tools.default",
        }  # fmt: skip
        assert status.server is not None
        assert status.server.streams > 10
        assert status.sessions is not None
        assert (status.sessions.total, status.sessions.closed, status.sessions.archived) == (2, 0, 0)
        assert sum(status.sessions.by_mode.values()) == 2
        await whole.client.archive_session("two")

        async def counted() -> bool:
            sessions = (await whole.client.status()).sessions
            return sessions is not None and (sessions.total, sessions.archived) == (2, 1)

        await eventually(counted)


async def test_what_nobody_takes_is_told_with_its_age_whether_or_not_there_is_a_consumer(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        policy = vagus.PolicySet.preset("default")
        session = await whole.client.create_session(owner="me", policy=policy, session_id="s")
        await whole.services["kernel3"].drain()
        await send_nowhere(whole, session)
        await whole.bus.store(subjects.tool("gpu", "normal", "s"), b"{}")
        status = await whole.client.status()
        assert status.owned == {}
        commands = queue(status, "commands")
        assert (commands.messages, commands.in_hand) == (1, 0)
        assert (commands.oldest_s or 0) >= 0.2
        assert queue(status, "answers").oldest_s is None
        gpu = queue(status, "tools.gpu")
        assert (gpu.messages, gpu.in_hand) == (1, None)
        oldest = status.oldest_input
        assert oldest is not None
        assert (oldest.session_id, oldest.role, oldest.kernel) == ("s", Role.COMMAND, "")
        for partition in range(PARTITIONS):
            await whole.bus.api(f"CONSUMER.DELETE.{subjects.named('INBOX')}.commands-{partition}")
        commands = queue(await whole.client.status(), "commands")
        assert (commands.messages, commands.in_hand) == (1, None)
        await whole.start("kernel", "next")


async def test_it_is_printed_for_people_and_for_programs(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
    monkeypatch.setenv("VAGUS_SERVER", broker.url)
    async with system(broker.url, subjects, tmp_path, services="kernel") as whole:
        said = await run("status")
        assert (said.code, said.err) == (0, "")
        assert "kernel.kernel0  " in said.out
        assert f"{PARTITIONS} of {PARTITIONS} partitions" in said.out
        assert "\x1b" not in said.out
        told = await run("status", "--json")
        assert told.json["owned"] == {"kernel.kernel0": list(range(PARTITIONS))}
        assert whole.services


async def test_where_nothing_was_made_it_says_what_it_cannot_read(
    broker: EmbeddedServer, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
    said = await run("status", "--json", "--server", broker.url)
    assert said.code == 1
    assert said.json["members"] == []
    assert any(problem.startswith(f"{subjects.named('INBOX')}: ") for problem in said.json["problems"])
    assert said.json["server"]["version"]


async def test_a_server_that_is_away_is_told_at_once(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects
) -> None:
    await ensure(own_bus, subjects, partitions=1)
    async with vagus.connect(own_broker.url, root_subject=subjects.root) as client:
        await own_broker.stop()
        with anyio.fail_after(20):
            status = await client.status()
        assert status.server is None
        assert len(status.problems) >= 8


def test_times_sizes_and_troubles_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    render.shown(
        Status(
            server=Server(
                version="2.15.1",
                leader="a",
                replicas=(Replica(name="b", current=True), Replica(name="c", lag=7)),
                streams=3,
                consumers=4,
                memory_bytes=0,
                storage_bytes=3 * 1024**3,
                api_errors=0,
            ),
            members=(),
            partitions=None,
            owned={},
            queues=(
                Queue(name="commands", messages=2, in_hand=1, redelivered=0, oldest_s=3 * 3600 + 62),
                Queue(name="gate", messages=1, oldest_s=86_400 * 2 + 59),
                Queue(name="tools.a\x1b[2J", messages=1, oldest_s=61.0),
            ),
            oldest_input=OldestInput(
                session_id="s", role=Role.COMMAND, partition=3, age_s=3 * 3600 + 62, kernel=""
            ),
            sessions=SessionCount(
                total=5, closed=1, by_mode={OperatingMode.EXECUTE: 4}, pending_approvals=2, archived=3
            ),
            problems=("members: no answer within 5 s",),
        )
    )
    said = capsys.readouterr().out
    for text in (
        "nats-server 2.15.1 a · b · c 7 behind · 3 streams · 4 consumers · 3.0 GiB on disk · 0 B in memory",
        "5 · 4 execute · 1 closed · 3 of all archived · 2 approvals pending",
        "3 h 1 min: a command of s, partition 3 of nobody",
        "no process lives: start everything with `vagus up`",
        "2 d",
        "1 min 1 s",
        "✗ members: no answer within 5 s",
    ):
        assert text in said
    assert "\x1b" not in said
