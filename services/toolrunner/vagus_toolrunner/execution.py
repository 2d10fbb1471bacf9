"""One run of one tool: bounded in time, cancellable, and turned into an ending, whatever the tool does."""

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread

from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.policy import SpanStatus
from vagus.contract.tools import FileMutation, ToolCall
from vagus.runtime import clock
from vagus.tools import Tool, ToolContext
from vagus_toolrunner.output import encoded, shortened
from vagus_toolrunner.workspace import Workspace

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 10.0
"""Between two attempts of a tool that allows several: doubling, jittered."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The tool returned; `output` is JSON."""

    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The tool ran and did not succeed, or was cut short."""

    error: str
    exit_status: int = 1
    status: SpanStatus = SpanStatus.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """Nothing of it took effect, or nobody knows; the text says which."""

    error: str


Ending: TypeAlias = Succeeded | Failed | NotRun

CANCELLED = Failed(error="cancelled", exit_status=-1, status=SpanStatus.CANCELLED)


class Execution:
    """A run that begins with `run` and can be cancelled before and after."""

    def __init__(self) -> None:
        self._cancelled = anyio.Event()
        self._scope = anyio.CancelScope()
        self.attempts = 0
        self.duration_ms = 0
        self.mutated: tuple[FileMutation, ...] = ()
        self.started_at: str | None = None
        """None: the tool has not been touched."""

    def cancel(self) -> None:
        """End it: it is reported as cancelled, unless it has just ended by itself. Idempotent."""
        self._cancelled.set()
        self._scope.cancel()

    async def wait(self, seconds: float) -> None:
        """Wait before the run, no longer than until it is cancelled."""
        if seconds > 0:
            with anyio.move_on_after(seconds):
                await self._cancelled.wait()

    async def run(
        self,
        tool: Tool[Any, Any],
        call: ToolCall,
        context: ToolContext,
        timeout_s: float,
        delay: Callable[[float], float] | None = None,
    ) -> Ending:
        """Run the tool once, and again as often as it allows; for at most `timeout_s` altogether.

        `delay` tells how much longer a retry has to wait, given how long it can. Raises nothing but the
        cancellation of the caller.
        """
        if self._cancelled.is_set():
            return CANCELLED
        self.started_at = clock.now()
        begun = time.monotonic()
        ending = await self._bounded(tool, call, context, timeout_s, delay)
        self.duration_ms = round((time.monotonic() - begun) * 1000)
        changed = tool.paths(call.input) if isinstance(ending, Succeeded) else ()
        if paths := tuple(dict.fromkeys((*changed, *context.changed))):
            self.mutated = await anyio.to_thread.run_sync(_hashed, Workspace(context.workspace), paths)
        return ending

    async def _bounded(
        self,
        tool: Tool[Any, Any],
        call: ToolCall,
        context: ToolContext,
        timeout_s: float,
        delay: Callable[[float], float] | None,
    ) -> Ending:
        self._scope.deadline = anyio.current_time() + timeout_s
        try:
            with self._scope:
                return Succeeded(output=await self._tried(tool, call, context, delay))
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                raise  # the runner is stopping
            return Failed(error="the tool cancelled itself")
        except (Exception, SystemExit) as error:
            if not self._scope.cancel_called:  # else it failed over being cut short
                return _ending_of(error)
        finally:
            context.cancel()
        if self._cancelled.is_set():
            return CANCELLED
        text = f"timed out after {timeout_s:.3g} s"
        return Failed(error=text, exit_status=-1, status=SpanStatus.TIMEOUT)

    async def _tried(
        self,
        tool: Tool[Any, Any],
        call: ToolCall,
        context: ToolContext,
        delay: Callable[[float], float] | None,
    ) -> bytes:
        """The output as JSON; raises what the last attempt did, when there is no time for another, too."""
        wait_s = RETRY_FIRST_S
        while True:
            self.attempts += 1
            try:
                return encoded(await tool.invoke(call.input, context))
            except Exception as error:
                pause_s = wait_s * random.uniform(0.5, 1)  # noqa: S311 -- spreads load, keeps no secret
                left_s = self._scope.deadline - anyio.current_time() - pause_s
                if self.attempts > tool.definition.retries or not _passing(tool, error) or left_s <= 0:
                    raise
                _log.info("%s failed, trying again: %s", tool, shortened(str(error)))
            await anyio.sleep(pause_s)
            await anyio.sleep(delay(left_s) if delay is not None else 0)
            wait_s = min(wait_s * 2, RETRY_MOST_S)


def _passing(tool: Tool[Any, Any], error: Exception) -> bool:
    """Whether the error may not come again."""
    match error:
        case ExceptionGroup(exceptions=(only,)):
            return _passing(tool, only)
        case HarnessError():
            return False
        case ToolFailure():
            return tool.definition.retry_failures
    return True


def _ending_of(error: BaseException) -> Ending:
    match error:
        case BaseExceptionGroup(exceptions=(only,)):  # what a task group makes of one error
            return _ending_of(only)
        case HarnessError():
            return NotRun(error=shortened(error.message))
        case ToolFailure():
            return Failed(error=shortened(error.error), exit_status=error.exit_status)
        case _:
            return Failed(error=shortened(f"{type(error).__name__}: {error}"))


def _hashed(workspace: Workspace, paths: tuple[str, ...]) -> tuple[FileMutation, ...]:
    """Each path with its content's hash; folders, and what does not lie in the workspace, are left out."""
    mutated = []
    for path in paths:
        try:
            digest = workspace.digest(path)
        except (HarnessError, OSError) as error:
            _log.warning("a changed file is not recorded: %s", error)
            continue
        if digest is not None:
            mutated.append(FileMutation(path=path, content_hash=digest))
    return tuple(mutated)
