"""One real run, recorded once: the checker finds nothing wrong with it, until tests tamper with it."""

import json
import secrets
from base64 import b64decode
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import vagus
from chaos import tools
from chaos.checker.log import server
from chaos.checker.names import QUEUES, Names
from tests.kit.broker import Broker
from tests.kit.recording import Recording, record
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.errors import ErrorInfo
from vagus.contract.events import CheckpointCreated
from vagus.contract.messages import Role
from vagus.contract.models import ModelRouting
from vagus.contract.subjects import Subjects

POLICY = vagus.PolicySet(
    allow_capabilities=("chaos:*",),
    gate_capabilities=("chaos:pay:ask*", "chaos:extra"),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


class Clients:
    """Clients that write down what they are told."""

    def __init__(self, whole: System, ledger: Path) -> None:
        self.whole = whole
        self.ledger = ledger
        self.accepted: list[dict[str, Any]] = []

    async def tick(
        self,
        session: vagus.Session,
        command_id: str,
        tool: str | None = None,
        /,
        branch: str = "main",
        capabilities: tuple[str, ...] = (),
        **given: object,
    ) -> None:
        call = None
        if tool is not None:
            call = vagus.ToolCall(
                call_id=f"call-{command_id}", tool_name=tool, input=given, requested_capabilities=capabilities
            )
        line = {"session_id": session.id, "branch_id": branch, "command_id": command_id}
        try:
            output = await session.tick(command_id, tool=call, branch=branch, command_id=command_id)
            reply: dict[str, Any] = {"ok": msgspec.to_builtins(output)}
        except vagus.VagusError as error:
            reply = {"error": msgspec.to_builtins(ErrorInfo.of(error))}
        self.accepted.append(line | {"reply": reply})

    async def quiet(self) -> None:
        """Wait until nobody has anything to do."""

        async def empty() -> bool:
            return not any([await source.size(names.stream(name)) for name in QUEUES])

        names = Names(self.whole.subjects.root)
        async with server(self.whole.url) as source:
            await eventually(empty)

    async def answer(self, session: vagus.Session, *, approve: bool, tickets: int = 1) -> None:
        """Answer the session's tickets, the first of them or all."""

        async def asked() -> list[vagus.ApprovalTicket]:
            return await self.whole.client.approvals(session.id)

        say = self.whole.client.approve if approve else self.whole.client.deny
        await self.quiet()
        for ticket in (await eventually(asked))[:tickets]:
            await say(ticket.approval_id, actor="boss")
            await self.quiet()

    async def started(self, tool: str) -> None:
        await eventually(lambda: f'"tool":"{tool}"' in self.ledger.read_text())

    async def stored(self, command_id: str) -> None:
        """Wait until a command has reached the inbox."""
        subjects = self.whole.subjects
        last = {"last_by_subj": subjects.inbox_partition("*", Role.COMMAND)}

        async def there() -> bool:
            answer: Any = await self.whole.bus.api(f"STREAM.MSG.GET.{subjects.named('INBOX')}", last)
            data: str = answer["message"]["data"]
            return command_id.encode() in b64decode(data)

        await eventually(there)


async def work(clients: Clients) -> None:
    """A session with some of everything."""
    session = await clients.whole.client.create_session(owner="me", policy=POLICY, session_id="work")
    await session.create_branch("early")
    await clients.tick(session, "text")
    await clients.tick(session, "put", "chaos.put", key="a")
    await clients.tick(session, "pay", "chaos.pay", key="b")
    await session.record_event({"type": "ExternalSignal", "signal_type": "deploy", "data": {"sha": "1f2e"}})
    await clients.tick(session, "fail", "chaos.fail", key="c")
    await clients.tick(session, "denied", "fs.read", path="secret")
    await clients.tick(session, "approved", "chaos.pay", key="ask-1")
    await clients.answer(session, approve=True)
    await clients.tick(session, "both", "chaos.pay", key="ask-2", capabilities=("chaos:extra",))
    await clients.answer(session, approve=True, tickets=2)
    await clients.tick(session, "declined", "chaos.pay", key="ask-3")
    await clients.answer(session, approve=False)
    await clients.tick(session, "either", "chaos.pay", key="ask-4", capabilities=("chaos:extra",))
    await clients.answer(session, approve=False)
    await clients.tick(session, "withdrawn", "chaos.pay", key="ask-5")
    await session.cancel()
    await clients.quiet()
    await session.set_policy(POLICY)
    await session.extend_budget(errors=20, tokens=1000)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: clients.tick(session, "crawl", "chaos.crawl", key="d", seconds=60))
        await clients.started("chaos.crawl")
        group.start_soon(clients.tick, session, "dropped")
        await clients.stored("dropped")
        await session.cancel()
    await branches(clients, session)
    await session.close("done")


async def branches(clients: Clients, session: vagus.Session) -> None:
    events = await session.read_events(limit=1000)
    checkpoints = [event for event in events if isinstance(event.kind, CheckpointCreated)]
    await session.create_branch("side")
    await clients.tick(session, "aside", "chaos.put", branch="side", key="e")
    await session.create_branch("past", fork_sequence=checkpoints[1].sequence)
    await clients.tick(session, "bygone", branch="past")
    await session.create_branch("fresh", fork_sequence=0)
    await session.merge_branch("side")
    await clients.tick(session, "too late", branch="side")
    first = checkpoints[0].kind
    assert isinstance(first, CheckpointCreated)
    await session.restore(first.checkpoint_id)
    await clients.tick(session, "restored", "chaos.put", key="f")


async def poor(clients: Clients) -> None:
    """A session that runs out of everything."""
    budget = vagus.BudgetState(tool_calls_remaining=1, tokens_remaining=1500)
    session = await clients.whole.client.create_session(
        owner="me", policy=POLICY, session_id="poor", budget=budget
    )
    await clients.tick(session, "last", "chaos.put", key="a")
    await clients.tick(session, "one too many", "chaos.put", key="b")
    await session.extend_budget(tool_calls=1)
    await clients.tick(session, "once more", "chaos.put", key="c")
    await clients.tick(session, "spent")


async def mute(clients: Clients) -> None:
    """A session whose model fails."""
    routing = ModelRouting(primary_model="scripted:/nowhere.json")
    session = await clients.whole.client.create_session(
        owner="me", policy=POLICY, session_id="mute", model_routing=routing
    )
    for number in range(4):
        await clients.tick(session, f"broken-{number}")


@pytest.fixture(scope="session")
async def recorded(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The run, as a checker reads it; see `recording`."""
    folder = tmp_path_factory.mktemp("chaos")
    subjects = Subjects(root="t" + secrets.token_hex(6))
    ledger = folder / "ledger.ndjson"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tools.LEDGER, str(ledger))
        async with system(broker.url, subjects, folder, tools=tools.__file__) as whole:
            clients = Clients(whole, ledger)
            for scene in (work, poor, mute):
                await scene(clients)
            await clients.quiet()
            async with server(broker.url) as source:
                recording = await record(source, subjects.root)
    recording.accepted = clients.accepted
    recording.ledger = [json.loads(line) for line in ledger.read_text().splitlines()]
    return recording


@pytest.fixture
def recording(recorded: Recording) -> Recording:
    """A copy of the run, to tamper with."""
    return recorded.copy()
