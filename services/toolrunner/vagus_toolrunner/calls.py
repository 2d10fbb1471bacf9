"""Calls: each request that is granted is run once, and how it ended is reported."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from vagus.contract import limits
from vagus.contract.claims import claim_key
from vagus.contract.errors import HarnessError, VagusError
from vagus.contract.messages import ANSWER_TO, ToolRequest, decode
from vagus.contract.policy import SpanStatus
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, faults, telemetry
from vagus.runtime.bus import Message
from vagus.runtime.grants import GrantVerifier
from vagus.runtime.queue import Delivery
from vagus.tools import Tool, ToolContext
from vagus_toolrunner import admission
from vagus_toolrunner.catalog import Catalog
from vagus_toolrunner.claims import Claims, NotOurs
from vagus_toolrunner.execution import Ending, Execution, NotRun, Succeeded
from vagus_toolrunner.live import Live
from vagus_toolrunner.pace import Paces
from vagus_toolrunner.reports import Reports
from vagus_toolrunner.workspace import Workspace

ELSEWHERE_S: Final = 0.5
"""After which a request for a tool that we do not have is offered to the other runners of its pool."""
LAST_WORDS_S: Final = 1.0

CALL_CLAIMED: Final = "toolrunner.call_claimed"
"""Point of fault: the claim stands, nothing has run."""
TOOL_ENDED: Final = "toolrunner.tool_ended"
"""Point of fault: the tool has run, nobody knows."""
REPORT_STORED: Final = "toolrunner.report_stored"
"""Point of fault: the report is stored, the request is not acknowledged."""


class Calls:
    """The calls of all pools of this process; `handle` is for the intake of each pool."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        claims: Claims,
        live: Live,
        reports: Reports,
        root: Path,
        slots: int,
        verifier: GrantVerifier,
    ) -> None:
        self._catalog = catalog
        self._claims = claims
        self._live = live
        self._paces = Paces()
        self._reports = reports
        self._root = root
        self._slots = slots
        self._verifier = verifier
        self._runs: dict[str, _Run] = {}
        self._ended: dict[str, None] = {}
        self._stuck = 0
        self.worn_out = anyio.Event()
        """Set when as many threads as there are slots ignore their cancellation: a restart must end them."""

    async def handle(self, delivery: Delivery) -> None:
        """Take one request to its end: when this returns, its report is stored, or is another's to store.

        Raises:
            Permanent: It is no request, or the server will never take its report.
            Transient, OutcomeUnknown: Nothing has run; it is to be handled again.
        """
        request = decode(delivery.data, ToolRequest)
        while (earlier := self._runs.get(request.tool_run_id)) is not None:
            await earlier.gone.wait()
        if claim_key(request.session_id, request.tool_run_id) in self._ended:
            return
        run = self._runs[request.tool_run_id] = _Run(delivery, request)
        try:
            await self._answer(run)
        finally:
            del self._runs[request.tool_run_id]
            run.gone.set()

    def in_flight(self) -> Counter[str]:
        """How many calls there are of each pool; may be asked by any thread."""
        tools = [self._catalog.get(run.request.call.tool_name) for run in tuple(self._runs.values())]
        return Counter(tool.definition.pool for tool in tools if tool is not None)

    def cancel(self, message: Message) -> None:
        """Somebody cancels a run: end it if it is here."""
        run = self._runs.get(Subjects.last_token(message.subject))
        if run is not None:
            run.execution.cancel()

    async def _answer(self, run: "_Run") -> None:
        tool = self._catalog.get(run.request.call.tool_name)
        if tool is None and run.delivery.deliveries < limits.MAX_DELIVERIES - 1:
            await run.delivery.nak(ELSEWHERE_S)
            return
        attributes = _attributes(run.request) if telemetry.enabled else None
        with telemetry.span(
            telemetry.EXECUTE_TOOL, attributes, telemetry.extract(run.delivery.headers)
        ) as span:
            run.context = span.context
            try:
                ending = await self._ending(run, tool)
            except NotOurs:
                return
            run.delivery.spare()
            span.set(telemetry.TOOL_STATUS, _status(ending).value)
            if run.execution.attempts > 1:
                span.set(telemetry.TOOL_ATTEMPTS, run.execution.attempts)
            if not isinstance(ending, Succeeded):
                span.fail(ending.error)
            faults.hit(TOOL_ENDED)
            kernel = run.delivery.headers.get(ANSWER_TO)
            await self._reports.finish(run.request, run.execution, ending, run.context, kernel=kernel)
            faults.hit(REPORT_STORED)
        if run.execution.started_at is not None:
            telemetry.record_duration(telemetry.EXECUTE_TOOL, run.execution.duration_ms / 1000)
        if run.granted:  # else anybody could make us drop the genuine request
            self._remember(run.request)

    async def _ending(self, run: "_Run", tool: Tool[Any, Any] | None) -> Ending:
        """Run the call, unless something speaks against it."""
        request = run.request
        try:
            if tool is None:
                raise HarnessError(
                    f"tool not found: {request.call.tool_name}: no runner of its pool offers it"
                )
            grant = admission.granted(request, self._verifier)
            run.granted = True
            workspace = Workspace(admission.workspace_of(request, self._root))
            # Before it is claimed: what is cancelled meanwhile never begins.
            patience_s = admission.waits_for(request, clock.now_ns())
            await run.execution.wait(self._paces.delay(tool, patience_s))
            says = tool.definition.annotations
            if not says.read_only:
                again = run.delivery.deliveries > 1
                known = await self._claims.take(request, redelivered=again, repeatable=says.repeatable)
                if known is not None:
                    return known
                faults.hit(CALL_CLAIMED)
            timeout_s = admission.time_left(request, grant, tool.definition.timeout_secs, clock.now_ns())
            workspace.ensure()
        except HarnessError as error:
            return NotRun(error=error.message)
        except OSError as error:
            return NotRun(error=f"the workspace cannot be made: {error}")
        return await self._execute(run, tool, workspace.root, timeout_s)

    async def _execute(self, run: "_Run", tool: Tool[Any, Any], workspace: Path, timeout_s: float) -> Ending:
        request = run.request
        context = ToolContext(
            workspace=workspace,
            session_id=request.session_id,
            branch_id=request.branch_id,
            tool_run_id=request.tool_run_id,
            emit=self._live.of(request),
        )
        try:
            with self._reports.heartbeat(request, run.execution, run.context):
                delay = partial(self._paces.delay, tool)
                return await run.execution.run(tool, request.call, context, timeout_s, delay)
        except anyio.get_cancelled_exc_class():
            if not tool.definition.annotations.repeatable:
                await self._last_words(run)
            raise
        finally:
            self._mind(context)

    async def _last_words(self, run: "_Run") -> None:
        """We stop while it runs: say so now, rather than let others find out that we are gone."""
        with suppress(VagusError), anyio.move_on_after(LAST_WORDS_S, shield=True):
            unknown = NotRun(error="outcome unknown: the runner was stopped while the tool ran")
            await self._reports.finish(run.request, run.execution, unknown, run.context)
            await run.delivery.ack()

    def _mind(self, context: ToolContext) -> None:
        """Count a thread that has not ended with its call, until it has."""
        thread = context.thread
        if thread is None or thread.done():
            return
        loop = asyncio.get_running_loop()
        self._stuck += 1
        if self._stuck >= self._slots:
            self.worn_out.set()

        def ended() -> None:
            self._stuck -= 1

        thread.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(ended))

    def _remember(self, request: ToolRequest) -> None:
        self._ended[claim_key(request.session_id, request.tool_run_id)] = None
        if len(self._ended) > limits.REMEMBERED_IDS:
            del self._ended[next(iter(self._ended))]


class _Run:
    """A request in hand."""

    __slots__ = ("context", "delivery", "execution", "gone", "granted", "request")

    def __init__(self, delivery: Delivery, request: ToolRequest) -> None:
        self.context: str | None = None
        """The traceparent for what it causes."""
        self.delivery = delivery
        self.execution = Execution()
        self.gone = anyio.Event()
        self.granted = False
        self.request = request


def _status(ending: Ending) -> SpanStatus:
    if isinstance(ending, Succeeded):
        return SpanStatus.OK
    return SpanStatus.ERROR if isinstance(ending, NotRun) else ending.status


def _attributes(request: ToolRequest) -> dict[str, telemetry.Value]:
    return {
        telemetry.OPERATION: telemetry.EXECUTE_TOOL,
        telemetry.TOOL_NAME: request.call.tool_name,
        telemetry.TOOL_CALL_ID: request.call.call_id,
        telemetry.SESSION_ID: request.session_id,
        telemetry.OTEL_SESSION_ID: request.session_id,
        telemetry.BRANCH_ID: request.branch_id,
        telemetry.TOOL_RUN_ID: request.tool_run_id,
    }
