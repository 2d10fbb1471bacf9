"""The users of a deployment, on a real server with its configuration: each may do its work, and no more."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.processes import process
from tests.kit.secured import SecuredServer, secured
from tests.kit.shelving import archived
from tests.kit.waiting import eventually
from tests.kit.writing import Logs
from vagus.contract import streams
from vagus.contract.errors import Unavailable
from vagus.contract.messages import Role
from vagus.contract.permissions import User
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.provision import ensure, ensure_firehose
from vagus.runtime.settings import Access
from vagus.sdk.client import Client
from vagus_relay.firehose import Firehose
from vagus_relay.settings import Beginning

SUBJECTS = Subjects()
PROCESSES = {
    User.KERNEL: "vagus_kernel",
    User.POLICYGATE: "vagus_policygate",
    User.TOOLRUNNER: "vagus_toolrunner",
    User.APPROVER: "vagus_approver",
    User.RELAY: "vagus_relay",
}
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:read:*", "exec:cmd:*"),
    gate_capabilities=("fs:write:*",),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)
FORBIDDEN = (
    (User.CLIENT, SUBJECTS.inbox(Role.VERDICT, "s")),
    (User.CLIENT, SUBJECTS.verdict("k", "s")),
    (User.CLIENT, SUBJECTS.report("k", "s")),
    (User.POLICYGATE, SUBJECTS.report("k", "s")),
    (User.CLIENT, SUBJECTS.inbox(Role.REPORT, "s")),
    (User.CLIENT, SUBJECTS.inbox(Role.RESOLUTION, "s")),
    (User.CLIENT, SUBJECTS.log("s", "main")),
    (User.CLIENT, SUBJECTS.tool("default", "normal", "s")),
    (User.CLIENT, SUBJECTS.drain("kernel", "k")),
    (User.CLIENT, "$JS.API.STREAM.MSG.GET.VAGUS_S_s"),
    (User.CLIENT, "$JS.API.CONSUMER.CREATE.VAGUS_INBOX.mine.vagus.inbox.>"),
    (User.CLIENT, "$JS.API.CONSUMER.CREATE.VAGUS_INBOX.mine"),
    (User.CLIENT, "$JS.API.STREAM.DELETE.VAGUS_S_s"),
    (User.CLIENT, "$KV.VAGUS_POLICIES.s"),
    (User.TOOLRUNNER, SUBJECTS.inbox(Role.RESOLUTION, "s")),
    (User.TOOLRUNNER, SUBJECTS.inbox(Role.VERDICT, "s")),
    (User.TOOLRUNNER, SUBJECTS.verdict("k", "s")),
    (User.TOOLRUNNER, SUBJECTS.inbox(Role.COMMAND, "s")),
    (User.TOOLRUNNER, SUBJECTS.answer("s")),
    (User.TOOLRUNNER, "$KV.VAGUS_TICKETS.t"),
    (User.TOOLRUNNER, "$KV.VAGUS_MEMBERS.kernel.k"),
    (User.APPROVER, SUBJECTS.inbox(Role.VERDICT, "s")),
    (User.APPROVER, SUBJECTS.inbox(Role.REPORT, "s")),
    (User.POLICYGATE, SUBJECTS.inbox(Role.RESOLUTION, "s")),
    (User.POLICYGATE, SUBJECTS.tool("default", "normal", "s")),
    (User.POLICYGATE, "$KV.VAGUS_POLICIES.s"),
    (User.KERNEL, SUBJECTS.inbox(Role.VERDICT, "s")),
    (User.KERNEL, SUBJECTS.answer("s")),
    (User.KERNEL, "$KV.VAGUS_TICKETS.t"),
    (User.RELAY, SUBJECTS.log("s", "main")),
    (User.RELAY, SUBJECTS.inbox(Role.COMMAND, "s")),
    (User.SINK, SUBJECTS.event("s", "main", "Kind")),
    (User.SINK, SUBJECTS.log("s", "main")),
    (User.SINK, SUBJECTS.inbox(Role.COMMAND, "s")),
    (User.SINK, SUBJECTS.answer("s")),
    (User.SINK, SUBJECTS.dead("kernel")),
    (User.SINK, "$KV.VAGUS_SESSIONS.s"),
    (User.SINK, "$KV.VAGUS_MEMBERS.kernel.k"),
    (User.SINK, "$JS.API.STREAM.PURGE.VAGUS_EVENTS"),
    (User.SINK, "$JS.API.STREAM.MSG.GET.VAGUS_S_s"),
    (User.SINK, "$JS.API.CONSUMER.CREATE.VAGUS_S_s.mine.vagus.session.s.main"),
    (User.SINK, "$JS.API.DIRECT.GET.OBJ_VAGUS_BLOBS"),
)


async def provisioned(server: SecuredServer) -> None:
    async with connect(server.url, name="operator", access=server.secrets.access(User.OPERATOR)) as bus:
        await ensure(bus, SUBJECTS)
        await ensure_firehose(bus, SUBJECTS, streams.events(SUBJECTS))


async def approved(client: Client, session: vagus.Session) -> None:
    """Approve all that the session waits for."""
    for ticket in await eventually(lambda: client.approvals(session.id)):
        await client.approve(ticket.approval_id, actor="grace")


async def test_all_processes_do_their_work_as_users_of_their_own(tmp_path: Path) -> None:
    async with secured(tmp_path) as server, AsyncExitStack() as stack:
        await provisioned(server)
        secrets = server.secrets
        common = {
            "VAGUS_SERVER": server.url,
            "VAGUS_PROVISION": "false",
            "VAGUS_ROOT": str(tmp_path / "root"),
            "VAGUS_GRANT_SEED_FILE": str(secrets.folder / "grant.seed"),
            "VAGUS_GRANT_PUBLIC_KEYS": secrets.grant_key,
            "VAGUS_INSTANCE": "one",
        }
        running = {
            user: await stack.enter_async_context(
                process(module, common | secrets.environ(user), tmp_path / f"{user}.log", ready=False)
            )
            for user, module in PROCESSES.items()
        }
        for one in running.values():
            await one.ready(timeout_s=90)  # five at once
        access = secrets.access(User.CLIENT)
        client = await stack.enter_async_context(vagus.connect(server.url, access=access, actor="ada"))
        session = await client.create_session(owner="ada", policy=POLICY)
        call = vagus.ToolCall(tool_name="shell.exec", input={"command": "echo", "args": ["hi"]})
        assert (await session.tick("say", tool=call)).tool_results
        call = vagus.ToolCall(
            tool_name="fs.write", input={"path": "artifacts/note", "content": "x" * 100_000}
        )
        assert (await session.tick("write", tool=call)).reason == "awaiting_approval"
        await approved(client, session)
        written = tmp_path / "root" / "sessions" / session.id / "artifacts" / "note"
        await eventually(written.exists)
        await session.wake("later", cron="0 0 1 1 *")
        await session.create_branch("b")
        assert (await session.verify()).ok
        kinds = [event.type async for event in _until(session, "FileMutated")]
        assert "ApprovalResolved" in kinds
        assert [summary.manifest.session_id for summary in await eventually(client.sessions)] == [session.id]
        assert [tool.name for tool in await client.tools()]
        operator = secrets.access(User.OPERATOR)
        async with vagus.connect(server.url, access=operator) as boss:
            assert {member.kind for member in await boss.members()} >= {"kernel", "policygate", "runner"}
            assert (await boss.status()).problems == ()
            await boss.drain("kernel.one")
        assert await running[User.KERNEL].ended() == 0
        assert server.violations() == []


async def test_a_relay_may_carry_what_was_archived(tmp_path: Path) -> None:
    async with secured(tmp_path) as server:
        await provisioned(server)
        access = server.secrets.access
        async with (
            connect(server.url, name="operator", access=access(User.OPERATOR)) as operator,
            connect(server.url, name="relay", access=access(User.RELAY)) as bus,
            anyio.create_task_group() as tasks,
        ):
            logs = Logs(operator, SUBJECTS)
            await logs.commit("s", "one", "two")
            await archived(operator, SUBJECTS, logs, "s")
            firehose = Firehose(bus, SUBJECTS, "r")
            await firehose.cursors.begin(Beginning.ALL)
            await firehose.roster.survey()
            tasks.start_soon(firehose.press)
            tasks.start_soon(firehose.carry)
            await eventually(lambda: firehose.published == 3)  # the mark, too
            await eventually(lambda: not firehose.roster.behind)
            await firehose.note()
            await firehose.roster.survey()
            assert firehose.roster.tracks == {}
            tasks.cancel_scope.cancel()
        assert server.violations() == []


async def _until(session: vagus.Session, kind: str):
    async for event in session.events():
        yield event
        if event.type == kind:
            return


async def test_nobody_says_what_is_another_ones_to_say(tmp_path: Path) -> None:
    async with secured(tmp_path) as server:
        await provisioned(server)
        for user in PROCESSES.keys() | {User.CLIENT, User.SINK}:
            async with connect(server.url, name=user, access=server.secrets.access(user)) as bus:
                for forbidden in (subject for who, subject in FORBIDDEN if who is user):
                    await bus.publish(forbidden)
                await bus.subscribe_callback(bus.new_inbox(), print)  # a round trip: it has read them all
        told = await eventually(lambda: _told(server, len(FORBIDDEN)))
        for _, subject in FORBIDDEN:
            assert any(f'Subject "{subject}"' in line for line in told), subject


async def test_a_process_learns_what_it_may_not_say_or_hear(tmp_path: Path) -> None:
    async with secured(tmp_path) as server:
        access = server.secrets.access
        async with (
            connect(server.url, name="gate", access=access(User.POLICYGATE)) as gate,
            connect(server.url, name="approver", access=access(User.APPROVER)) as approver,
        ):
            for bus in (gate, approver):
                assert not bus.forbids(SUBJECTS.verdict("K1", ""))
                await bus.publish(SUBJECTS.verdict("K1", "s"))
                await bus.subscribe_callback(bus.new_inbox(), print)  # a round trip
            assert not gate.forbids(SUBJECTS.verdict("K1", ""))
            await eventually(
                lambda: approver.forbids(SUBJECTS.verdict("K1", ""))
            )  # told by a task of nats-py's
            assert not approver.forbids(SUBJECTS.verdict("K2", ""))
            await gate.subscribe_callback(SUBJECTS.verdict("K1"), print)
            await eventually(lambda: gate.forbids(SUBJECTS.verdict("K1", "")))


def _told(server: SecuredServer, count: int) -> list[str]:
    lines = [line for line in server.violations() if "Publish Violation" in line]
    return lines if len(lines) >= count else []


async def test_who_does_not_prove_who_he_is_gets_no_connection(tmp_path: Path) -> None:
    async with secured(tmp_path) as server:
        secrets = server.secrets
        trusting = Access(tls_ca=secrets.folder / "ca.pem")
        stranger = secrets.access(User.CLIENT)
        for access in (Access(), trusting, Access(nkey=stranger.nkey)):
            with pytest.raises(Unavailable):
                async with connect(server.url, name="stranger", access=access, timeout_s=1):
                    pytest.fail("a stranger is connected")
        async with connect(server.url, name="client", access=stranger) as bus:
            assert bus.connected
