"""Telling the kernel how a run goes and how it ended."""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import OutcomeUnknown, Permanent, Transient
from vagus.contract.ids import check_id
from vagus.contract.messages import NOT_STORED, Receipt, Report, ReportType, Role, ToolRequest, decode
from vagus.contract.policy import SpanStatus
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Failure, Success, ToolExecutionReport, ToolOutcome
from vagus.runtime import telemetry
from vagus.runtime.blobs import Blobs
from vagus.runtime.bus import Bus
from vagus.runtime.queue import ACK_S
from vagus_toolrunner.execution import Ending, Execution, Failed, NotRun, Succeeded

RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0

_log = logging.getLogger(__name__)


class Reports:
    """Hands reports over to the kernels that wait for them, or sends them to the sessions' inbox."""

    def __init__(self, bus: Bus, blobs: Blobs, subjects: Subjects) -> None:
        self._bus = bus
        self._blobs = blobs
        self._subjects = subjects

    def heartbeat(self, request: ToolRequest, execution: Execution, context: str | None) -> "Heartbeat":
        """Tell of a slow run, from `limits.STARTED_AFTER_S` on, while the block lasts."""
        return Heartbeat(self._bus, self._subject(request), request, execution, _headers(context))

    async def finish(
        self,
        request: ToolRequest,
        execution: Execution,
        ending: Ending,
        context: str | None = None,
        *,
        kernel: str | None = None,
    ) -> None:
        """Tell how it ended; returns when what follows is on the log, or the report in the inbox.

        It is handed over to the `kernel` that waits for it, and stored where that does not take it at once.
        Tries that for as long as it takes: what the tool did is known here only. Meanwhile the call holds its
        slot, so that an inbox which takes nothing stops the runner.

        Raises:
            Permanent: The server will never take it.
        """
        wait_s = RETRY_FIRST_S
        while True:
            try:
                await self._tell(request, execution, ending, context, kernel)
            except (Transient, OutcomeUnknown) as error:
                told = logging.DEBUG if wait_s > RETRY_FIRST_S else logging.WARNING
                _log.log(told, "the report of %s is not stored, trying on: %s", request.tool_run_id, error)
                await anyio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MOST_S)
                kernel = None  # who cannot reach one cannot reach the other
            else:
                break
        if wait_s > RETRY_FIRST_S:
            _log.info("the report of %s is stored now", request.tool_run_id)

    async def _tell(
        self,
        request: ToolRequest,
        execution: Execution,
        ending: Ending,
        context: str | None,
        kernel: str | None,
    ) -> None:
        report = await self._report(request, execution, ending)
        data = msgspec.json.encode(report)
        if len(data) > limits.REPORT_BYTES:
            small = Failed(error=f"output too large: {len(data)} bytes, at most {limits.REPORT_BYTES}")
            execution.mutated = ()
            report = await self._report(request, execution, small)
            data = msgspec.json.encode(report)
        inbox, headers = self._subject(request), _headers(context)
        if kernel is not None and await self._handed_over(request, data, headers, kernel):
            # Whoever listens there hears it as ever; it goes out with the request's ack.
            self._bus.send(inbox, data, headers=headers | NOT_STORED, within_s=ACK_S)
            return
        msg_id = f"{request.effect_id}.{request.attempt}.{report.type}"
        await self._bus.store(inbox, data, msg_id=msg_id, headers=headers)

    async def _handed_over(
        self, request: ToolRequest, data: bytes, headers: dict[str, str], kernel: str
    ) -> bool:
        """Whether the kernel has what follows from the report on the log."""
        try:
            subject = self._subjects.report(check_id("kernel", kernel), request.session_id)
            if self._bus.forbids(self._subjects.report(kernel, "")):
                return False
            answer = await self._bus.request(subject, data, timeout_s=limits.HAND_OVER_S, headers=headers)
            return decode(answer.data, Receipt).taken
        except (Transient, OutcomeUnknown, Permanent) as error:
            _log.debug("the report of %s goes to the inbox: %s", request.tool_run_id, error)
            return False

    async def _report(self, request: ToolRequest, execution: Execution, ending: Ending) -> Report:
        if isinstance(ending, NotRun):
            return Report(
                effect_id=request.effect_id,
                type=ReportType.HARNESS_ERROR,
                tool_run_id=request.tool_run_id,
                tool_name=request.call.tool_name,
                error=ending.error,
                started_at=execution.started_at,
                attempts=max(1, execution.attempts),
            )
        return Report(
            effect_id=request.effect_id,
            type=ReportType.REPORT,
            tool_run_id=request.tool_run_id,
            tool_name=request.call.tool_name,
            attempts=max(1, execution.attempts),
            report=ToolExecutionReport(
                tool_run_id=request.tool_run_id,
                call_id=request.call.call_id,
                tool_name=request.call.tool_name,
                exit_status=ending.exit_status if isinstance(ending, Failed) else 0,
                duration_ms=execution.duration_ms,
                outcome=await self._outcome(request, ending),
                mutated=execution.mutated,
                started_at=execution.started_at,
                status=_cut_short(ending),
            ),
        )

    async def _outcome(self, request: ToolRequest, ending: Succeeded | Failed) -> ToolOutcome:
        if isinstance(ending, Failed):
            return Failure(error=ending.error)
        if len(ending.output) <= limits.BLOB_BYTES:
            return Success(output=msgspec.Raw(ending.output))
        return Success(output=await self._blobs.put(request.session_id, ending.output, "application/json"))

    def _subject(self, request: ToolRequest) -> str:
        return self._subjects.inbox(Role.REPORT, request.session_id)


class Heartbeat:
    """Says `started`, again and again. Not acknowledged: the next one makes up for one that is lost."""

    def __init__(
        self, bus: Bus, subject: str, request: ToolRequest, execution: Execution, headers: dict[str, str]
    ) -> None:
        self._bus = bus
        self._subject = subject
        self._request = request
        self._execution = execution
        self._headers = headers
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._after(limits.STARTED_AFTER_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._beat)

    def _beat(self) -> None:
        self._after(limits.HEARTBEAT_S)
        report = Report(
            effect_id=self._request.effect_id,
            type=ReportType.STARTED,
            tool_run_id=self._request.tool_run_id,
            tool_name=self._request.call.tool_name,
            started_at=self._execution.started_at,
        )
        # Without a message id: within the duplicate window the second one would be taken for the first.
        self._bus.send(self._subject, msgspec.json.encode(report), headers=self._headers)


def _cut_short(ending: Succeeded | Failed) -> str | None:
    """`timeout` or `cancelled`; None if the tool came to its end."""
    if isinstance(ending, Succeeded) or ending.status is SpanStatus.ERROR:
        return None
    return ending.status.value


def _headers(context: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    telemetry.inject(headers, context)
    return headers
