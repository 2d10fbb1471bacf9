import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.policy import SpanStatus
from vagus.contract.tools import FileMutation, ToolCall
from vagus.tools import Tool, ToolContext, tool
from vagus_toolrunner import execution as execution_module
from vagus_toolrunner.execution import CANCELLED, Ending, Execution, Failed, NotRun, Succeeded
from vagus_toolrunner.workspace import DELETED

SHA_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


async def run(
    made: Tool[Any, Any], given: object = None, *, workspace: Path = Path("nowhere"), timeout_s: float = 5
) -> tuple[Ending, Execution]:
    execution = Execution()
    call = ToolCall(tool_name="t", input=given or {})
    return await execution.run(made, call, ToolContext(workspace=workspace), timeout_s), execution


async def test_what_a_tool_returns_is_its_output() -> None:
    @tool
    async def answer() -> dict[str, int]:
        await anyio.sleep(0.02)
        return {"x": 1}

    ending, execution = await run(answer)
    assert ending == Succeeded(output=b'{"x":1}')
    assert execution.duration_ms >= 15
    assert execution.started_at is not None
    assert execution.mutated == ()


def raising(error: BaseException) -> Callable[[], Tool[Any, Any]]:
    def make(asynchronous: bool = True) -> Tool[Any, Any]:
        if asynchronous:

            async def fail_later() -> None:
                raise error

            return tool(fail_later)

        def fail() -> None:
            raise error

        return tool(fail)

    return make


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ToolFailure("no", 3), Failed(error="no", exit_status=3)),
        (HarnessError("cannot"), NotRun(error="cannot")),
        (ValueError("bad"), Failed(error="ValueError: bad")),
        (KeyError("k"), Failed(error="KeyError: 'k'")),
        (TimeoutError("own"), Failed(error="TimeoutError: own")),
        (ExceptionGroup("g", [ToolFailure("inner", 4)]), Failed(error="inner", exit_status=4)),
        (ExceptionGroup("g", [ExceptionGroup("h", [HarnessError("deep")])]), NotRun(error="deep")),
        (RuntimeError("a\ud800"), Failed(error="RuntimeError: a?")),
    ],
)
async def test_what_a_tool_raises_becomes_its_ending(
    error: Exception, ending: Ending, asynchronous: bool
) -> None:
    made: Any = raising(error)
    assert (await run(made(asynchronous)))[0] == ending


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_tool_cannot_end_the_runner(asynchronous: bool) -> None:
    made: Any = raising(SystemExit(1))
    ending, _ = await run(made(asynchronous))
    assert ending == Failed(error="SystemExit: 1")


async def test_a_tool_that_raises_a_cancellation_of_its_own_has_failed() -> None:
    @tool
    async def odd() -> None:
        raise anyio.get_cancelled_exc_class()

    assert (await run(odd))[0] == Failed(error="the tool cancelled itself")


async def test_what_is_no_json_is_a_failure() -> None:
    @tool
    async def odd() -> object:
        return object()

    ending, _ = await run(odd)
    assert isinstance(ending, Failed)
    assert ending.error.startswith("the output is not JSON")


async def test_an_input_that_does_not_fit_does_not_run() -> None:
    @tool
    async def picky(x: int) -> None: ...

    ending, _ = await run(picky, {"x": "1"})
    assert isinstance(ending, NotRun)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_timeout_ends_the_wait(asynchronous: bool) -> None:
    free = threading.Event()

    @tool
    async def sleeps() -> None:
        await anyio.sleep(60)

    @tool
    def blocks() -> None:
        free.wait(60)

    began = time.monotonic()
    ending, execution = await run(sleeps if asynchronous else blocks, timeout_s=0.05)
    free.set()
    assert ending == Failed(error="timed out after 0.05 s", exit_status=-1, status=SpanStatus.TIMEOUT)
    assert time.monotonic() - began < 20
    assert execution.duration_ms >= 45


async def test_a_tool_that_fails_over_its_timeout_has_timed_out() -> None:
    @tool
    async def sore() -> None:
        try:
            await anyio.sleep(60)
        finally:
            raise ValueError("cleaning up failed")

    ending, _ = await run(sore, timeout_s=0.05)
    assert isinstance(ending, Failed)
    assert ending.status is SpanStatus.TIMEOUT


@asynccontextmanager
async def running(made: Tool[Any, Any]) -> AsyncIterator[tuple[Execution, list[Ending]]]:
    execution = Execution()
    endings: list[Ending] = []

    async def go() -> None:
        call = ToolCall(tool_name="t")
        endings.append(await execution.run(made, call, ToolContext(workspace=Path()), 60))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            yield execution, endings


async def test_a_cancel_ends_a_running_tool() -> None:
    begun = anyio.Event()

    @tool
    async def sleeps() -> None:
        begun.set()
        await anyio.sleep(60)

    async with running(sleeps) as (execution, endings):
        await begun.wait()
        execution.cancel()
        execution.cancel()
    assert endings == [CANCELLED]


async def test_a_cancel_before_the_start_leaves_the_tool_untouched() -> None:
    @tool
    def touched() -> None:
        raise AssertionError("must not run")

    execution = Execution()
    execution.cancel()
    assert (
        await execution.run(touched, ToolCall(tool_name="t"), ToolContext(workspace=Path()), 5) == CANCELLED
    )
    assert execution.started_at is None


async def test_the_runners_own_stop_is_no_ending() -> None:
    @tool
    async def sleeps() -> None:
        await anyio.sleep(60)

    ended = False
    with anyio.move_on_after(0.05) as stop:
        await run(sleeps)
        ended = True
    assert stop.cancelled_caught
    assert not ended


async def test_changed_files_are_hashed_after_a_success(tmp_path: Path) -> None:
    @tool(mutates=("path", "gone"))
    def work(context: ToolContext, path: str, gone: str) -> None:
        (context.workspace / path).write_text("x")
        context.mutated("/folder")
        context.mutated("/also")
        context.mutated(path)
        context.mutated("../outside")
        (context.workspace / "also").write_text("x")
        (context.workspace / "folder").mkdir()

    _, execution = await run(work, {"path": "a", "gone": "b"}, workspace=tmp_path)
    assert execution.mutated == (
        FileMutation(path="a", content_hash=SHA_OF_X),
        FileMutation(path="b", content_hash=DELETED),
        FileMutation(path="/also", content_hash=SHA_OF_X),
    )


async def test_of_a_failure_only_what_the_tool_itself_told_counts(tmp_path: Path) -> None:
    @tool(mutates=("path",))
    async def work(context: ToolContext, path: str) -> None:
        context.mutated("told")
        raise ToolFailure("half way")

    _, execution = await run(work, {"path": "a"}, workspace=tmp_path)
    assert execution.mutated == (FileMutation(path="told", content_hash=DELETED),)


# Again ----------------------------------------------------------------------------------------------------


def failing(times: int, error: Exception, **settings: Any) -> Tool[Any, Any]:
    """A tool that fails so often before it succeeds."""
    left = [error] * times

    @tool(idempotent=True, **settings)
    async def flaky() -> str:
        if left:
            raise left.pop()
        return "done"

    return flaky


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of no length between attempts."""
    monkeypatch.setattr(execution_module, "RETRY_FIRST_S", 0.001)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("times", "attempts"), [(0, 1), (1, 2), (3, 4)])
async def test_an_exception_is_followed_by_another_attempt(times: int, attempts: int) -> None:
    ending, execution = await run(failing(times, OSError("away"), retries=3))
    assert ending == Succeeded(output=b'"done"')
    assert execution.attempts == attempts


@pytest.mark.usefixtures("hasty")
async def test_after_the_last_attempt_its_error_counts() -> None:
    ending, execution = await run(failing(9, OSError("away"), retries=2))
    assert ending == Failed(error="OSError: away")
    assert execution.attempts == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("error", "settings", "attempts"),
    [
        (OSError("away"), {}, 1),
        (ToolFailure("no"), {"retries": 3}, 1),
        (ToolFailure("no"), {"retries": 3, "retry_failures": True}, 2),
        (ExceptionGroup("", [ToolFailure("no")]), {"retries": 3}, 1),
        (ExceptionGroup("", [OSError("away")]), {"retries": 3}, 2),
        (HarnessError("cannot"), {"retries": 3, "retry_failures": True}, 1),
    ],
)
async def test_what_is_tried_again(error: Exception, settings: dict[str, Any], attempts: int) -> None:
    _, execution = await run(failing(1, error, **settings))
    assert execution.attempts == attempts


async def test_there_is_no_attempt_for_which_no_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_module, "RETRY_FIRST_S", 1000)
    ending, execution = await run(failing(9, OSError("away"), retries=9))
    assert ending == Failed(error="OSError: away")
    assert execution.attempts == 1


async def test_a_call_that_waits_for_its_next_attempt_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution_module, "RETRY_FIRST_S", 60)
    execution, flaky = Execution(), failing(9, OSError("away"), retries=9)
    endings: list[Ending] = []

    async def call() -> None:
        context = ToolContext(workspace=Path("nowhere"))
        endings.append(await execution.run(flaky, ToolCall(tool_name="t"), context, 1000))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await eventually(lambda: execution.attempts)
        execution.cancel()
    assert endings == [CANCELLED]


@pytest.mark.usefixtures("hasty")
async def test_every_attempt_waits_for_its_turn() -> None:
    execution, turns = Execution(), list[float]()

    def turn(patience_s: float) -> float:
        turns.append(patience_s)
        return 0.001

    flaky = failing(2, OSError("away"), retries=5)
    await execution.run(flaky, ToolCall(tool_name="t"), ToolContext(workspace=Path("nowhere")), 9, turn)
    assert len(turns) == 2
    assert all(0 < patience_s < 9 for patience_s in turns)


def test_only_what_may_be_repeated_is_tried_again() -> None:
    wrong: list[dict[str, Any]] = [{"retries": 1}, {"retry_failures": True}]
    for settings in wrong:
        with pytest.raises(ValueError, match="idempotent"):
            tool(**settings)(lambda: None)
