"""A world around kernels, without a server: a log, a work queue, buckets, a gate, a runner, people.

Kernels run for real, each in a loop of its own, so that one can be stopped between any two awaits, killed
there, or left standing while another goes on.
"""

import json
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from tests.kit.fake_files import FakeFiles
from tests.kit.fake_log import FakeLog
from tests.kit.fake_ports import FakeBucket, FakeBus, Model
from tests.kit.fake_tickets import FakeTickets
from tests.kit.warp import Clock, WarpLoop
from vagus.contract import commands, limits
from vagus.contract.approvals import ApprovalDecision, ApprovalTicket, Resolution, TicketState
from vagus.contract.claims import CANCELLED, Claim
from vagus.contract.codec import decode_commit, verify
from vagus.contract.commands import Reply
from vagus.contract.errors import Unavailable
from vagus.contract.events import BranchCreated, Custom, EventRecord
from vagus.contract.messages import (
    ANSWER_TO,
    GateRequest,
    Receipt,
    Report,
    ReportType,
    Role,
    ToolRequest,
    Verdict,
    decode,
)
from vagus.contract.outcome import tick_output
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import TickOutput
from vagus.contract.subjects import Subjects
from vagus.contract.tools import FileMutation, Success, ToolAnnotations, ToolDefinition, ToolExecutionReport
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import Commit, EventLog
from vagus.runtime.memory_log import MemoryLog
from vagus.runtime.origin import Origin
from vagus.runtime.queue import Delivery, KeepAlive
from vagus.runtime.toolbox import Toolbox
from vagus.runtime.wire import Message
from vagus_kernel.evolve import evolve
from vagus_kernel.filewriter import FileWriter
from vagus_kernel.kernel import Kernel
from vagus_kernel.middleware import Middleware
from vagus_kernel.ports import Ports
from vagus_kernel.providers import Providers
from vagus_kernel.settings import KernelSettings
from vagus_kernel.snapshots import Snapshots
from vagus_kernel.state import Session

SESSION = "s"
SUBJECTS = Subjects()
POLICY = PolicySet(
    allow_capabilities=("run",), gate_capabilities=("pay",), max_tool_runtime_secs=30, max_events_per_turn=256
)
TOOLS = {
    "do": ToolDefinition(name="do", capabilities=("run",)),
    "look": ToolDefinition(name="look", capabilities=("run",), annotations=ToolAnnotations(read_only=True)),
    "pay": ToolDefinition(name="pay", capabilities=("pay",)),
    "rob": ToolDefinition(name="rob", capabilities=("rob",)),
}


@dataclass(eq=False)
class Queued:
    """A message of the inbox."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    deliveries: int = 0
    held_since: float | None = None
    not_before: float = 0.0
    done: bool = False


class Process:
    """A kernel process."""

    def __init__(
        self, world: "World", middlewares: tuple[Middleware, ...] = (), settings: KernelSettings | None = None
    ) -> None:
        self.world = world
        self.alive = True
        self.hooks: list[Any] = []
        self.loop = WarpLoop(world.clock)
        self.kernel: Kernel
        self.keep_alive: KeepAlive
        self._middlewares = middlewares
        self._settings = settings or KernelSettings(effect_retry=world.retry_s)
        self.instance = self._settings.instance
        world.processes.append(self)
        self._ready = False
        self.task = self.loop.create_task(self._main())
        while not self._ready:
            self.loop.step()

    async def passes(self) -> None:
        """One await of something outside; the dead do not come back from it with anything done."""
        await checkpoint()
        if not self.alive:
            raise Unavailable("this process is dead")

    async def _main(self) -> None:
        bus = cast("Bus", FakeBus(self.world, self))
        async with KeepAlive(bus) as self.keep_alive, anyio.create_task_group() as tasks:
            self.kernel = Kernel(self._ports(bus), tasks)
            self.kernel._pulls[0] = AsyncExitStack()
            self._ready = True
            await anyio.sleep_forever()

    def _ports(self, bus: Bus) -> Ports:
        def bucket(name: str) -> Bucket:
            return cast("Bucket", FakeBucket(self.world.buckets.setdefault(name, {}), self))

        return Ports(
            bus=bus,
            subjects=SUBJECTS,
            settings=self._settings,
            config=self._settings.config(),
            log=cast("EventLog", FakeLog(self.world.log, self)),
            snapshots=Snapshots(bucket("SNAPSHOTS"), cast("Any", None)),
            sessions=bucket("SESSIONS"),
            policies=bucket("POLICIES"),
            calls=bucket("CALLS"),
            tickets=cast("Bucket", FakeTickets(self.world.tickets, self.passes)),
            toolbox=cast("Toolbox", TOOLS),
            providers=cast("Providers", Model(self)),
            keep_alive=self.keep_alive,
            files=cast("FileWriter", FakeFiles()),
            middlewares=self._middlewares,
        )

    def step(self, count: int = 1) -> None:
        """Let it run for so many rounds."""
        self.loop.step(count)
        assert not self.task.done(), self.task.exception()

    def reconnect(self) -> None:
        """Its connection was lost and is back."""
        for hook in (*self.hooks, self.kernel.on_reconnect):
            hook()

    def drain(self) -> None:
        """SIGTERM: everything is given back."""
        ended = self.loop.create_task(self.kernel.release_all())
        for rounds in range(10_000):
            if ended.done():
                break
            self.loop.step()
            if rounds > 50:  # it sleeps
                self.world.elapse(0.01)
        ended.result()
        self.kill()

    def kill(self) -> None:
        """End it where it stands; nothing that it does from now on leaves it."""
        self.alive = False
        self.task.cancel()
        for _ in range(10_000):
            if self.task.done():
                break
            self.loop.step()
        with suppress(BaseException):
            self.task.result()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@dataclass
class World:
    """Everything but the kernels."""

    retry_s: float = 10.0
    model_s: float = 0.0
    clock: Clock = field(default_factory=Clock)
    log: MemoryLog = field(default_factory=MemoryLog)
    buckets: dict[str, dict[str, Entry]] = field(default_factory=dict)
    inbox: list[Queued] = field(default_factory=list)
    gate: deque[tuple[GateRequest, Mapping[str, str]]] = field(default_factory=deque)
    tools: deque[tuple[ToolRequest, Mapping[str, str]]] = field(default_factory=deque)
    running: dict[str, tuple[ToolRequest, Mapping[str, str]]] = field(default_factory=dict)
    handed: dict[str, tuple[Report, str, float]] = field(default_factory=dict)
    """Reports that a runner has handed over and not heard of, with their message ids and since when."""
    runs: Counter[str] = field(default_factory=Counter)
    tickets: dict[str, ApprovalTicket] = field(default_factory=dict)
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    returned: dict[str, bytes] = field(default_factory=dict)
    """What was given back in good order, and at which delivery."""
    receipts: list[bytes] = field(default_factory=list)
    """Of reports that no runner of ours has handed over."""
    dead: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    tool_names = frozenset(TOOLS)
    lose_next: int = 0
    """So many of the next messages to gate and runner, and straight from and to them, are lost on the way."""
    lose_acks: int = 0
    refuse_commits: int = 0
    model_calls: int = 0
    _stored_at: dict[tuple[str, str], float] = field(default_factory=dict)

    # Messages ---------------------------------------------------------------------------------------------

    def take(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """A message for the world."""
        match subject.split("."):
            case ["$JS", "ACK", _, _, _, sequence, *_]:
                self._settle(self.inbox[int(sequence) - 1], data)
            case ["_INBOX", "receipt", _]:
                self.receipts.append(data)
            case ["_INBOX", "runner", tool_run_id]:
                if not self._is_lost():
                    self._receipt(tool_run_id, taken=decode(data, Receipt).taken)
            case ["_INBOX", command_id]:
                self.replies.setdefault(command_id, []).append(decode(data, Reply))
            case ["$KV", "_RETURNS", *_]:
                self.returned[subject] = data
            case [_, "dead", *_]:
                self.dead.append((subject, data, headers))
            case [_, "control", "cancel", tool_run_id]:
                self._stop_tool(tool_run_id)
            case [_, "approval", _] if self._is_new("approvals", headers):
                self._keep(decode(data, ApprovalTicket))
            case [_, "gate", _] if self._is_new("gate", headers) and not self._is_lost():
                self.gate.append((decode(data, GateRequest), headers))
            case [_, "tool", *_] if self._is_new("tools", headers) and not self._is_lost():
                self.tools.append((decode(data, ToolRequest), headers))

    def tell(
        self, role: Role, body: msgspec.Struct | bytes, msg_id: str | None = None, **headers: str
    ) -> None:
        """Put a message into the inbox."""
        headers |= {"Nats-Msg-Id": msg_id} if msg_id else {}
        if self._is_new("inbox", headers):
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            subject = SUBJECTS.inbox_partition(0, role, SESSION)
            self.inbox.append(Queued(len(self.inbox) + 1, subject, data, headers))

    def command(
        self, kind: str, body: Any, command_id: str, branch: str = "main", *, copy: bool = False
    ) -> None:
        """A client's command; a copy is another message with the same id."""
        wire = {
            "type": kind,
            "command_id": command_id,
            "session_id": SESSION,
            "branch_id": branch,
            "actor": "me",
            "reply_to": f"_INBOX.{command_id}",
            commands.BODY[kind]: body,
        }
        self.sent[command_id] = wire
        self.tell(Role.COMMAND, json.dumps(wire).encode(), None if copy else command_id)

    def create(self) -> None:
        """Ask for the session."""
        self.command("CreateSession", {"owner": "me", "policy": msgspec.to_builtins(POLICY)}, "create")

    def available(self) -> list[Queued]:
        """What the queue would deliver now."""
        return [
            queued
            for queued in self.inbox
            if not queued.done
            and queued.not_before <= self.clock.now
            and (queued.held_since is None or queued.held_since + limits.ACK_WAIT_S <= self.clock.now)
        ]

    def deliver(self, queued: Queued, process: Process) -> None:
        """Deliver one message to a process."""
        queued.deliveries += 1
        queued.held_since = self.clock.now
        origin = Origin(
            "INBOX", "c", queued.deliveries, queued.sequence, queued.sequence, self.clock.now_ns(), 0
        )
        reply = f"$JS.ACK.INBOX.c.{queued.deliveries}.{queued.sequence}.{queued.sequence}.0.0"
        message = Message(queued.subject, queued.data, queued.headers, reply)
        bus = cast("Bus", FakeBus(self, process))
        process.loop.call_soon(process.kernel._deliver, Delivery(bus, message, origin, lambda: None))

    def hand_out(self, process: Process) -> None:
        """Deliver all that there is to a process, and let it run."""
        for queued in self.available():
            self.deliver(queued, process)
        process.step(60)

    def elapse(self, seconds: float) -> None:
        """Let time pass for all."""
        self.clock.now += seconds
        for tool_run_id, (_, _, since) in tuple(self.handed.items()):
            if since + limits.HAND_OVER_S <= self.clock.now:
                self._receipt(tool_run_id, taken=False)

    def _settle(self, queued: Queued, how: bytes) -> None:
        if how.startswith(b"-NAK"):
            delay = json.loads(how[4:] or b"{}").get("delay", 0) / 1e9
            queued.held_since, queued.not_before = None, self.clock.now + delay
        elif how == b"+WPI":
            if queued.held_since is not None:
                queued.held_since = self.clock.now
        else:
            queued.done = True

    def _is_new(self, stream: str, headers: Mapping[str, str]) -> bool:
        if "Nats-Msg-Id" not in headers:
            return True
        key = (stream, headers["Nats-Msg-Id"])
        stored_at = self._stored_at.get(key)
        if stored_at is not None and stored_at + limits.DUPLICATE_WINDOW_S > self.clock.now:
            return False
        self._stored_at[key] = self.clock.now
        return True

    def _is_lost(self) -> bool:
        self.lose_next, lost = max(0, self.lose_next - 1), self.lose_next > 0
        return lost

    # The others -------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """The gate answers one request."""
        request, headers = self.gate.popleft()
        needed = TOOLS[request.call.tool_name].capabilities
        approved = request.tickets and all(
            self.tickets[ticket].state is TicketState.APPROVED for ticket in request.tickets
        )
        verdict = Verdict(effect_id=request.effect_id, tool_run_id=request.tool_run_id)
        if needed == ("rob",):
            verdict = replace(verdict, denied=needed)
        elif needed == ("pay",) and not approved:
            verdict = replace(verdict, requires_approval=needed)
        else:
            verdict = replace(verdict, allowed=needed, grant="granted")
        kernel = headers.get(ANSWER_TO)
        if kernel is None:
            self.tell(Role.VERDICT, verdict, f"{request.effect_id}.{request.attempt}")
        elif not self._is_lost():
            self._tell_straight(kernel, verdict)

    def _tell_straight(self, kernel: str, verdict: Verdict) -> None:
        subject = SUBJECTS.verdict(kernel, SESSION)
        for process in self.processes:
            if process.alive and process.instance == kernel:
                process.loop.call_soon(process.kernel.told, Message(subject, msgspec.json.encode(verdict)))

    def run_tool(self) -> None:
        """A runner takes one request."""
        request, headers = self.tools.popleft()
        if TOOLS[request.call.tool_name].annotations.read_only:  # it may run as often as anybody likes
            self.running[request.tool_run_id] = request, headers
            return
        key = f"{request.session_id}.{request.tool_run_id}"
        calls = self.buckets.setdefault("CALLS", {})
        if key not in calls:
            claim = Claim(holder="runner.default.r", taken_at="2026-01-01T00:00:00Z")
            calls[key] = Entry(key, msgspec.json.encode(claim), 1)
            self.running[request.tool_run_id] = request, headers
            self.runs[request.tool_run_id] += 1
        elif decode(calls[key].value, Claim).holder == CANCELLED:
            self._report(request, headers, ReportType.HARNESS_ERROR, error="cancelled")

    def beat(self) -> None:
        """Running tools tell that they run."""
        for request, _ in self.running.values():
            report = Report(
                effect_id=request.effect_id, type=ReportType.STARTED, tool_run_id=request.tool_run_id
            )
            self.tell(Role.REPORT, report)

    def finish_tool(self, tool_run_id: str, status: str | None = None) -> None:
        """A running tool ends."""
        request, headers = self.running.pop(tool_run_id)
        report = ToolExecutionReport(
            tool_run_id=tool_run_id,
            call_id=request.call.call_id,
            tool_name=request.call.tool_name,
            exit_status=0 if status is None else 1,
            duration_ms=1,
            outcome=Success(output="done"),
            mutated=() if request.call.tool_name == "look" else (FileMutation(path="a", content_hash="0"),),
            status=status,
        )
        self._report(request, headers, ReportType.REPORT, report=report)

    def answer(self, approval_id: str, decision: ApprovalDecision) -> None:
        """Somebody answers a ticket."""
        ticket = self.tickets[approval_id]
        if ticket.state is TicketState.PENDING:
            self.tickets[approval_id] = replace(ticket, state=TicketState(decision.value))
            said = Resolution(approval_id=approval_id, decision=decision, actor="boss")
            self.tell(Role.RESOLUTION, said, f"{approval_id}.{decision}")

    def pending(self) -> list[str]:
        """Tickets that nobody has answered."""
        return [key for key, ticket in self.tickets.items() if ticket.state is TicketState.PENDING]

    def _stop_tool(self, tool_run_id: str) -> None:
        if tool_run_id in self.running:
            self.finish_tool(tool_run_id, "cancelled")

    def _keep(self, said: ApprovalTicket) -> None:
        kept = self.tickets.get(said.approval_id)
        if kept is None or (kept.state is TicketState.PENDING and said.state is TicketState.WITHDRAWN):
            self.tickets[said.approval_id] = said

    def _report(
        self, request: ToolRequest, headers: Mapping[str, str], kind: ReportType, **fields: Any
    ) -> None:
        report = Report(effect_id=request.effect_id, type=kind, tool_run_id=request.tool_run_id, **fields)
        msg_id = f"{request.effect_id}.{request.attempt}.{kind}"
        kernel = headers.get(ANSWER_TO)
        if kernel is None or not any(
            process.alive and process.instance == kernel for process in self.processes
        ):
            self.tell(Role.REPORT, report, msg_id)  # nobody there hears it
            return
        self.handed[request.tool_run_id] = report, msg_id, self.clock.now
        if self._is_lost():
            return
        straight = Message(
            SUBJECTS.report(kernel, SESSION),
            msgspec.json.encode(report),
            {},
            f"_INBOX.runner.{request.tool_run_id}",
        )
        for process in self.processes:
            if process.alive and process.instance == kernel:
                process.loop.call_soon(process.kernel.handed, straight)

    def _receipt(self, tool_run_id: str, *, taken: bool) -> None:
        """What a runner does when it hears what became of a report, or has heard nothing for too long."""
        handed = self.handed.pop(tool_run_id, None)
        if handed is not None and not taken:
            self.tell(Role.REPORT, *handed[:2])

    # Rest -------------------------------------------------------------------------------------------------

    def settle_all(self, process: Process) -> None:
        """Let everything come to its end under one kernel."""
        self.lose_next, self.model_s = 0, 0.0
        for _ in range(200):
            self.hand_out(process)
            while self.gate:
                self.judge()
            while self.tools:
                self.run_tool()
            for tool_run_id in list(self.running):
                self.finish_tool(tool_run_id)
            for approval_id in self.pending():
                self.answer(approval_id, ApprovalDecision.APPROVED)
            quiet = all(queued.done for queued in self.inbox) and not self.handed
            if quiet and not any(actor.busy for actor in process.kernel._actors.values()):
                return
            self.elapse(1.0)
        left = [(queued.subject, queued.data[:200]) for queued in self.inbox if not queued.done]
        raise AssertionError(f"never at rest: {left}")

    def commits(self) -> list[Commit]:
        """The log."""
        return list(self.log._sessions.get(SESSION, []))

    def events(self) -> list[EventRecord]:
        """All events in the log's order."""
        return [record for commit in self.commits() for record in decode_commit(commit.payload)]

    def check(self, process: Process) -> None:
        """What holds of every world at rest."""
        events = self.events()
        self._check_chain(events)
        self._check_state(events, process)
        self._check_commands(events)
        self._check_calls(events)
        assert not process.keep_alive._held, "inputs are kept alive that are done"

    def _check_chain(self, events: list[EventRecord]) -> None:
        by_branch: dict[str, list[EventRecord]] = {}
        for record in events:
            by_branch.setdefault(record.branch_id, []).append(record)
        for branch_id, records in by_branch.items():
            assert [record.sequence for record in records] == list(range(1, len(records) + 1))
            previous = ""
            match records[0].kind:
                case BranchCreated(from_branch=str(parent), fork_point_seq=int(point)) if point:
                    previous = by_branch[parent][point - 1].digest or ""
            lines = [
                line for commit in self.commits() if commit.branch_id == branch_id for line in commit.lines()
            ]
            verify(lines, previous)
        assert len({record.event_id for record in events}) == len(events)

    def _check_state(self, events: list[EventRecord], process: Process) -> None:
        session: Session | None = None
        for record in events:
            session = evolve(session, record)
        for actor in process.kernel._actors.values():
            if actor.ledger.stream_sequence == len(self.commits()):  # else it finds out before it answers
                assert actor.session == session

    def _check_commands(self, events: list[EventRecord]) -> None:
        for command_id, wire in self.sent.items():
            told = self.replies.get(command_id, [])
            assert told, f"no reply to {wire}"
            if wire["type"] != "Tick":
                continue
            mine = [record for record in events if record.correlation_id == command_id]
            began = sum(
                isinstance(r.kind, Custom) and r.kind.event_type == "vagus.turn_started" for r in mine
            )
            output = tick_output(mine)
            assert began == (output is not None), f"{began} beginnings, and the output {output}"
            for reply in told:
                if reply.error is None:
                    assert output is not None
                    assert msgspec.json.decode(reply.ok, type=TickOutput) == output

    def _check_calls(self, events: list[EventRecord]) -> None:
        requested = [r.kind.call_id for r in events if r.kind.type == "ToolCallRequested"]  # type: ignore[union-attr]
        ended = [
            r.kind.call_id  # type: ignore[union-attr]
            for r in events
            if r.kind.type in ("ToolCallCompleted", "ToolCallFailed")
        ]
        assert Counter(requested) == Counter(ended)
        assert all(count == 1 for count in self.runs.values())
