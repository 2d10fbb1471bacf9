import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.kit.runners import PARTITIONS, Desk, served, start_process
from tests.kit.waiting import eventually
from vagus.contract import limits, streams
from vagus.contract.blobs import BlobRef
from vagus.contract.claims import CANCELLED, Claim, claim_key
from vagus.contract.clock import format_ns
from vagus.contract.errors import Refused, SettingsError, Unavailable
from vagus.contract.grants import GrantLimits
from vagus.contract.messages import ANSWER_TO, Report, ReportType, decode
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Failure, Success, ToolCall
from vagus.runtime import telemetry
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, Message
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.eraser import Eraser
from vagus.runtime.grants import GrantSigner, generate_key
from vagus.runtime.provision import ensure


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects, tmp_path: Path) -> AsyncIterator[Desk]:
    await ensure(bus, subjects, partitions=PARTITIONS)
    async with Desk(bus, subjects, tmp_path).listening() as made:
        yield made


@pytest.fixture
async def runner(broker: EmbeddedServer, desk: Desk) -> AsyncIterator[None]:
    async with served(broker.url, desk.settings()):
        yield


# Running --------------------------------------------------------------------------------------------------


async def test_a_granted_call_is_run_and_reported(desk: Desk, runner: None) -> None:
    request = await desk.send(desk.request("echo", {"value": [1, "ä", None]}))
    ending = await desk.ending(request)
    assert (ending.effect_id, ending.type) == (request.effect_id, ReportType.REPORT)
    report = ending.report
    assert report is not None
    assert report.outcome == Success(output=[1, "ä", None])
    assert (report.tool_run_id, report.call_id, report.tool_name) == (request.tool_run_id, "c", "echo")
    assert (report.exit_status, report.status, report.mutated) == (0, None, ())
    assert report.started_at is not None
    assert desk.messages[0].headers["Nats-Msg-Id"] == f"{request.effect_id}.1.report"
    await eventually(lambda: _none_queued(desk))


async def _left(desk: Desk, member: str) -> bool:
    return await _bucket(desk, streams.MEMBERS).get(member) is None


async def _none_queued(desk: Desk) -> bool:
    return await desk.queued() == 0


async def test_files_are_written_read_and_hashed(desk: Desk, runner: None) -> None:
    written = await desk.run("fs.write", {"path": "/a/b.txt", "content": "x"})
    assert written.outcome == Success(output={"path": "/a/b.txt", "bytes": 1})
    assert [mutation.path for mutation in written.mutated] == ["/a/b.txt"]
    assert written.mutated[0].content_hash.startswith("2d711642b726")
    read = await desk.run("fs.read", {"path": "a/b.txt"})
    assert read.outcome == Success(output={"path": "a/b.txt", "content": "x"})
    assert read.mutated == ()


@pytest.mark.parametrize(
    ("tool", "given", "error"),
    [
        ("fs.read", {"path": "none.txt"}, 'runtime error: failed reading file "{workspace}/none.txt"'),
        ("fs.read", {"path": "../../x"}, "runtime error: path escapes workspace root: ../../x"),
        (
            "fs.write",
            {"path": "../evil", "content": ""},
            "runtime error: path escapes workspace root: ../evil",
        ),
        (
            "fs.write",
            {"path": "/", "content": ""},
            'runtime error: failed writing file "{workspace}/": Is a directory',
        ),
        ("shell.exec", {"command": "rm"}, "command not allowed: rm"),
        ("echo", {"other": 1}, "invalid input: Object contains unknown field `other`"),
    ],
)
async def test_what_cannot_be_done_is_a_harness_error(
    desk: Desk, runner: None, tool: str, given: Any, error: str
) -> None:
    workspace = desk.root / "sessions" / "s"
    assert await desk.harness_error(desk.request(tool, given)) == error.format(workspace=workspace)


async def test_a_command_is_run_and_its_output_shown_live(desk: Desk, runner: None) -> None:
    report = await desk.run("shell.exec", {"command": "echo", "args": ["hello"]})
    assert isinstance(report.outcome, Success)
    output: Any = report.outcome.output
    assert output["stdout"] == "hello\n"
    await eventually(
        lambda: [shown["data"] for shown in desk.shown] == [{"stream": "stdout", "text": "hello\n"}]
    )
    assert desk.shown[0]["tool_name"] == "shell.exec"


async def test_much_output_at_once_is_shown_in_pieces(desk: Desk, runner: None) -> None:
    report = await desk.run("shell.exec", {"command": "head", "args": ["-c", "60000", "/dev/zero"]})
    assert isinstance(report.outcome, Success)
    reference = msgspec.convert(report.outcome.output, BlobRef)
    assert reference.size > 6 * 60_000  # NULs are long in JSON
    await eventually(lambda: "".join(shown["data"]["text"] for shown in desk.shown) == "\0" * 60_000)


async def test_a_failure_keeps_its_text_and_exit_status(desk: Desk, runner: None) -> None:
    report = await desk.run("fail", {"error": "why", "exit_status": 9})
    assert (report.outcome, report.exit_status, report.status) == (Failure(error="why"), 9, None)


async def test_progress_from_a_thread_is_shown_in_order(desk: Desk, runner: None) -> None:
    await desk.run("tell", {"pieces": 50})
    await eventually(lambda: [shown["data"]["piece"] for shown in desk.shown] == list(range(50)))


async def test_a_tool_that_shows_more_than_can_be_sent_is_not_held_up(desk: Desk, runner: None) -> None:
    with anyio.fail_after(10):
        report = await desk.run("shout", {"pieces": 20_000})
    assert isinstance(report.outcome, Success)
    assert 0 < len(desk.shown) <= 20_000
    too_long = await desk.run("tell", {"pieces": 1, "size": limits.PROGRESS_BYTES})
    assert isinstance(too_long.outcome, Failure)
    assert too_long.outcome.error.startswith("ValueError: ")


async def test_calls_run_side_by_side_up_to_the_slots(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings(slots=2)):
        began = time.monotonic()
        asked = [await desk.send(desk.request("look", {"seconds": 0.3})) for _ in range(4)]
        for request in asked:
            await desk.ending(request)
        assert time.monotonic() - began > 0.55


async def test_every_pool_of_its_tools_is_served(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings()):
        request = await desk.send(desk.request("render"), pool="gpu")
        assert (await desk.ending(request)).type is ReportType.REPORT
    async with served(broker.url, desk.settings(pools=("gpu",))):
        (lease,) = await _bucket(desk, streams.MEMBERS).keys("runner.>")
        assert lease.startswith("runner.gpu.")


def _bucket(desk: Desk, name: str) -> Bucket:
    return Bucket(desk.bus, desk.subjects.named(name))


async def test_its_tools_and_its_life_are_known(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings(instance="one")):
        tools = await _bucket(desk, streams.TOOLBOX).keys()
        assert {"default.fs.read", "default.shell.exec", "default.echo", "gpu.render"} <= set(tools)
        assert await _bucket(desk, streams.MEMBERS).get("runner.default.one") is not None
    await eventually(lambda: _left(desk, "runner.default.one"))
    assert await _bucket(desk, streams.TOOLBOX).get("default.fs.read") is not None


# Refusing -------------------------------------------------------------------------------------------------


async def test_nothing_runs_without_a_grant_for_exactly_this_call(
    desk: Desk, runner: None, tmp_path: Path
) -> None:
    generate_key(tmp_path / "other")
    forger = GrantSigner.from_file(tmp_path / "other")
    good = desk.request("echo", {"value": 1})
    genuine, desk.signer = desk.signer, forger
    forged = desk.grant(good)
    desk.signer = genuine
    now_ms = time.time_ns() // 1_000_000
    changed = ToolCall(call_id="c", tool_name="echo", input={"value": 2})
    variants = {
        "not a grant": "invalid",
        forged: "invalid",
        desk.grant(good, session_id="other"): "another session",
        desk.grant(good, branch_id="other"): "another session or branch",
        desk.grant(good, tool_run_id="other"): "another run",
        desk.grant(msgspec.structs.replace(good, call=changed)): "another tool or input",
        desk.grant(good, expires_at=now_ms - 1): "expired",
    }
    for token, why in variants.items():
        request = desk.request("echo", {"value": 1}, tool_run_id=good.tool_run_id, grant=token)
        desk.reports.clear()
        error = await desk.harness_error(request)
        assert error.startswith("grant refused: ")
        assert why in error
        assert desk.runs(good) == 0


async def test_a_forged_request_does_not_keep_the_genuine_one_from_running(desk: Desk, runner: None) -> None:
    good = desk.request("echo", {"value": 1})
    forged = msgspec.structs.replace(good, effect_id="forged", grant="forged")
    assert await desk.harness_error(forged) == "grant refused: invalid grant"
    desk.reports.clear()
    assert (await desk.ending(await desk.send(good))).type is ReportType.REPORT


async def test_another_workspace_is_refused(desk: Desk, runner: None, tmp_path: Path) -> None:
    error = await desk.harness_error(desk.request("echo", workspace_root=str(tmp_path)))
    assert "VAGUS_ROOT" in error


async def test_a_tool_that_no_runner_of_the_pool_has_is_a_harness_error(desk: Desk, runner: None) -> None:
    error = await desk.harness_error(desk.request("no.such"))
    assert error == "tool not found: no.such: no runner of its pool offers it"


async def test_a_call_past_its_deadline_does_not_start(desk: Desk, runner: None) -> None:
    late = desk.request("echo", deadline=format_ns(time.time_ns() - 1))
    assert await desk.harness_error(late) == "the call waited past its deadline for a runner"
    assert desk.runs(late) == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"session_id": "a/b"}', b"[" * 100_000])
async def test_what_is_no_request_goes_to_the_dead_letters(desk: Desk, runner: None, data: bytes) -> None:
    async with desk.bus.subscribe(desk.subjects.dead()) as dead:
        await desk.bus.store(desk.subjects.tool("default", "normal", "s"), data)
        letter = await anext(dead)
    assert letter.subject == desk.subjects.dead("toolrunner.s")
    assert letter.headers["Vagus-Reason"].startswith("Malformed: not a ToolRequest")
    await eventually(lambda: _none_queued(desk))


async def test_a_runner_without_tools_or_keys_does_not_start(desk: Desk, broker: EmbeddedServer) -> None:
    with pytest.raises(ExceptionGroup) as none:
        async with served(broker.url, desk.settings(tools=(), workspace_tools=False)):
            pass
    assert none.group_contains(SettingsError, match="no tools")
    with pytest.raises(ExceptionGroup) as keyless:
        async with served(broker.url, desk.settings(grant_public_keys=())):
            pass
    assert keyless.group_contains(SettingsError)


async def test_a_tool_that_is_known_otherwise_is_not_offered(
    desk: Desk, broker: EmbeddedServer, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("import vagus\n@vagus.tool\ndef noop(x: int) -> str: ...\n")
    async with served(broker.url, desk.settings()):
        with pytest.raises(ExceptionGroup) as refused:
            async with served(broker.url, desk.settings(tools=(str(tmp_path / "mine.py"),))):
                pass
        assert refused.group_contains(Refused, match="noop")


# Once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["once", "look", "put"])
async def test_a_request_that_comes_twice_runs_once(desk: Desk, broker: EmbeddedServer, tool: str) -> None:
    async with served(broker.url, desk.settings(instance="one")):
        first = await desk.send(desk.request(tool, {"seconds": 0.2}))
        await eventually(lambda: desk.runs(first))
        again = msgspec.structs.replace(first, attempt=2)
        await desk.send(again)
        await desk.ending(first)
        await desk.send(msgspec.structs.replace(first, attempt=3))
        await eventually(lambda: _none_queued(desk))
        assert desk.runs(first) == 1
        assert len(desk.endings(first)) == 1


@pytest.mark.parametrize("tool", ["once", "put"])
async def test_a_request_that_comes_to_two_runners_runs_once(
    desk: Desk, broker: EmbeddedServer, tool: str
) -> None:
    one, two = desk.settings(instance="one", slots=1), desk.settings(instance="two", slots=1)
    async with served(broker.url, one), served(broker.url, two):
        asked = desk.request(tool, {"seconds": 0.3})
        for attempt in range(1, 7):
            await desk.send(msgspec.structs.replace(asked, attempt=attempt))
        await eventually(lambda: _none_queued(desk))
        assert desk.runs(asked) == 1
        assert len(desk.endings(asked)) == 1


async def test_a_claim_that_stands_decides(desk: Desk, runner: None) -> None:
    gone = msgspec.json.encode(Claim(holder="runner.default.gone", taken_at=format_ns(0)))
    cancelled = msgspec.json.encode(Claim(holder=CANCELLED, taken_at=format_ns(0)))
    asked = {name: desk.request(name, {"seconds": 0}) for name in ("once", "look", "put")}
    stopped = desk.request("once", {"seconds": 0})
    expired = desk.request("once", {"seconds": 0})
    expired = msgspec.structs.replace(expired, grant=desk.grant(expired, expires_at=1))
    for request, claim in ((stopped, cancelled), (expired, gone), *((each, gone) for each in asked.values())):
        await _bucket(desk, streams.CALLS).create(claim_key("s", request.tool_run_id), claim)
        await desk.send(request)
    for request in (asked["once"], expired):
        unknown = await desk.ending(request, 10)
        assert unknown.error == "outcome unknown: the runner runner.default.gone vanished after the start"
    for name in ("look", "put"):
        assert (await desk.ending(asked[name], 10)).type is ReportType.REPORT
    ended = (await desk.ending(stopped)).report
    assert ended is not None
    assert (ended.outcome, ended.status, ended.exit_status) == (Failure(error="cancelled"), "cancelled", -1)
    assert [desk.runs(request) for request in (*asked.values(), stopped, expired)] == [0, 1, 1, 0, 0]


async def test_a_request_that_comes_again_when_its_session_was_erased_does_not_run(
    desk: Desk, broker: EmbeddedServer
) -> None:
    async with served(broker.url, desk.settings(instance="one")):
        first = await desk.send(desk.request("once", {"seconds": 0}))
        await desk.ending(first)
    await Eraser(desk.bus, desk.subjects).sweep("s")
    async with served(broker.url, desk.settings(instance="two")):
        await desk.send(msgspec.structs.replace(first, attempt=2))
        await eventually(lambda: _none_queued(desk))
        assert desk.runs(first) == 1


async def test_the_claim_names_the_runner(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings(instance="one", pools=("default",))):
        request = await desk.send(desk.request("once", {"seconds": 0}))
        await desk.ending(request)
        read = await desk.send(desk.request("look", {"seconds": 0}))
        await desk.ending(read)
    entry = await _bucket(desk, streams.CALLS).get(claim_key("s", request.tool_run_id))
    assert entry is not None
    assert msgspec.json.decode(entry.value, type=Claim).holder == "runner.default.one"
    assert await _bucket(desk, streams.CALLS).get(claim_key("s", read.tool_run_id)) is None


async def test_calls_of_a_runner_that_was_killed(desk: Desk, broker: EmbeddedServer) -> None:
    """Read-only and idempotent ones are run again; of the others the outcome is unknown, and they are not."""
    first = start_process(desk.environ(broker.url, VAGUS_INSTANCE="first"))
    try:
        asked = {
            name: await desk.send(desk.request(name, {"seconds": 2})) for name in ("once", "look", "put")
        }
        await eventually(lambda: all(desk.runs(each) == 1 for each in asked.values()), timeout_s=20)
    finally:
        first.kill()
        first.communicate()
    async with served(broker.url, desk.settings(instance="second")):
        unknown = await desk.ending(asked["once"], 20)
        again = [await desk.ending(asked[name], 20) for name in ("look", "put")]
    assert unknown.type is ReportType.HARNESS_ERROR
    assert unknown.error == "outcome unknown: the runner runner.default.first vanished after the start"
    assert [ending.report and ending.report.outcome for ending in again] == [
        Success(output="looked"),
        Success(output="put"),
    ]
    assert {name: desk.runs(each) for name, each in asked.items()} == {"once": 1, "look": 2, "put": 2}


# Time -----------------------------------------------------------------------------------------------------


async def test_a_slow_call_is_told_of_and_kept_alive(desk: Desk, runner: None) -> None:
    request = await desk.send(desk.request("once", {"seconds": limits.ACK_WAIT_S + 1.5}))
    first = (await eventually(lambda: desk.of(request)))[0]
    assert first.type is ReportType.STARTED
    assert (first.started_at, first.tool_name) != (None, "")
    ending = await desk.ending(request, 10)
    started = desk.of(request)[:-1]
    assert {each.type for each in started} == {ReportType.STARTED}
    assert len(started) >= 2
    assert ending.report is not None
    assert ending.report.started_at == first.started_at
    assert ending.report.duration_ms >= 6000
    assert desk.runs(request) == 1


async def test_a_call_ends_with_the_shortest_of_its_times(desk: Desk, runner: None) -> None:
    for tool, limit_s in (("once", 1), ("block", 1)):
        request = desk.request(tool, {"seconds": 30})
        short = desk.grant(request, limits=GrantLimits(timeout_secs=limit_s))
        ending = (await desk.ending(await desk.send(msgspec.structs.replace(request, grant=short)))).report
        assert ending is not None
        assert (ending.outcome, ending.status) == (Failure(error="timed out after 1 s"), "timeout")
        assert ending.exit_status == -1
        assert 900 < ending.duration_ms < 20_000


@pytest.mark.parametrize("tool", ["once", "look", "block"])
async def test_a_cancel_ends_a_call(desk: Desk, runner: None, tool: str) -> None:
    request = await desk.send(desk.request(tool, {"seconds": 30}))
    await eventually(lambda: desk.of(request))
    await desk.bus.publish(desk.subjects.cancel("of-another-run"))
    await desk.bus.publish(desk.subjects.cancel(request.tool_run_id))
    ended = (await desk.ending(request)).report
    assert ended is not None
    assert (ended.outcome, ended.status, ended.exit_status) == (Failure(error="cancelled"), "cancelled", -1)


async def test_a_runner_whose_slots_are_held_by_deaf_tools_starts_anew(
    desk: Desk, broker: EmbeddedServer
) -> None:
    with pytest.raises(ExceptionGroup) as ended:  # noqa: PT012 -- it raises at the block's end
        async with served(broker.url, desk.settings(slots=2)):
            deaf = [await desk.send(desk.request("deaf")) for _ in range(2)]
            for request in deaf:
                report = (await desk.ending(request)).report
                assert report is not None
                assert report.status == "timeout"
            await anyio.sleep(5)
    assert ended.group_contains(Unavailable, match="ignores its cancellation")


# Size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [limits.BLOB_BYTES - 1, 2 * limits.MIB])
async def test_a_large_output_becomes_a_blob(desk: Desk, runner: None, size: int) -> None:
    report = await desk.run("big", {"size": size})
    assert isinstance(report.outcome, Success)
    reference = msgspec.convert(report.outcome.output, BlobRef)
    assert (reference.size, reference.media_type) == (size + 2, "application/json")
    blobs = Blobs(desk.bus, desk.subjects.named(streams.BLOBS))
    assert await blobs.get("s", reference) == b'"' + b"x" * size + b'"'


async def test_an_output_up_to_the_limit_stands_in_the_report(desk: Desk, runner: None) -> None:
    size = limits.BLOB_BYTES - 2
    assert (await desk.run("big", {"size": size})).outcome == Success(output="x" * size)


async def test_an_output_over_all_limits_is_a_failure(desk: Desk, runner: None) -> None:
    report = await desk.run("big", {"size": limits.OUTPUT_BYTES})
    assert isinstance(report.outcome, Failure)
    assert report.outcome.error.startswith(f"output too large: {limits.OUTPUT_BYTES + 2} bytes")
    assert report.exit_status == 1


# Faults ---------------------------------------------------------------------------------------------------


async def test_a_report_waits_until_the_inbox_takes_it(
    bus: Bus, subjects: Subjects, broker: EmbeddedServer, tmp_path: Path
) -> None:
    await ensure(bus, subjects, partitions=PARTITIONS)
    desk = Desk(bus, subjects, tmp_path)  # that does not listen: nobody at all takes reports
    async with served(broker.url, desk.settings()):
        await _take_the_inbox_away(desk)


async def _take_the_inbox_away(desk: Desk) -> None:
    await desk.bus.api(f"STREAM.DELETE.{desk.subjects.named('INBOX')}")
    request = await desk.send(desk.request("once", {"seconds": 0}))
    await eventually(lambda: desk.runs(request))
    assert await desk.queued() == 1
    await ensure(desk.bus, desk.subjects, partitions=PARTITIONS)
    await eventually(lambda: _none_queued(desk))
    info: Any = await desk.bus.api(f"STREAM.INFO.{desk.subjects.named('INBOX')}")
    assert info["state"]["messages"] == 1
    assert desk.runs(request) == 1


# Handing over ---------------------------------------------------------------------------------------------


class Waiting:
    """A kernel that waits for reports, and says to each what it is told to say."""

    def __init__(self, desk: Desk, says: bytes | None) -> None:
        self.heard: list[Message] = []
        self._desk = desk
        self._says = says

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Waiting"]:
        heard = await self._desk.bus.subscribe_callback(self._desk.subjects.report("k1"), self._answer)
        yield self
        await heard.unsubscribe()

    def _answer(self, message: Message) -> None:
        self.heard.append(message)
        if self._says is not None:
            self._desk.bus.send(message.reply, self._says)


async def test_a_report_is_handed_over_to_the_kernel_that_waits(desk: Desk, runner: None) -> None:
    async with Waiting(desk, b'{"taken":true}').listening() as kernel:
        request = await desk.send(desk.request("echo", {"value": 1}), **{ANSWER_TO: "k1"})
        ending = await desk.ending(request)
        await eventually(lambda: _none_queued(desk))
    (message,) = kernel.heard
    assert message.subject == desk.subjects.report("k1", "s")
    assert decode(message.data, Report) == ending
    assert await desk.stored_endings(request) == [], "heard in the inbox's place, and not stored"


@pytest.mark.parametrize("says", [b'{"taken":false}', b"what", None])
async def test_a_report_that_the_kernel_does_not_take_is_stored(
    desk: Desk, runner: None, says: bytes | None
) -> None:
    async with Waiting(desk, says).listening() as kernel:
        request = await desk.send(desk.request("once", {"seconds": 0}), **{ANSWER_TO: "k1"})
        await eventually(lambda: _none_queued(desk))
    assert len(kernel.heard) == 1
    assert [report.type for report in await desk.stored_endings(request)] == [ReportType.REPORT]
    assert desk.runs(request) == 1


@pytest.mark.parametrize("kernel", ["gone", "not an id", "a.b", "*"])
async def test_a_report_for_a_kernel_that_is_not_there_is_stored(
    desk: Desk, runner: None, kernel: str
) -> None:
    request = await desk.send(desk.request("echo"), **{ANSWER_TO: kernel})
    await eventually(lambda: _none_queued(desk))
    assert [report.type for report in await desk.stored_endings(request)] == [ReportType.REPORT]


async def test_a_runner_that_is_told_to_stop_finishes_what_runs(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings(slots=1)) as running:
        first = await desk.send(desk.request("once", {"seconds": 0.5}))
        await eventually(lambda: desk.runs(first))
        second = await desk.send(desk.request("once", {"seconds": 0}))
        running.draining.set()
    assert (await desk.ending(first)).type is ReportType.REPORT
    assert desk.runs(second) == 0
    async with served(broker.url, desk.settings()):
        assert (await desk.ending(second)).type is ReportType.REPORT


async def test_what_a_stop_cuts_short_is_reported_or_given_back(desk: Desk, broker: EmbeddedServer) -> None:
    async with served(broker.url, desk.settings()) as running:
        once, look = [await desk.send(desk.request(name, {"seconds": 1})) for name in ("once", "look")]
        await eventually(lambda: desk.runs(once) and desk.runs(look))
        running.scope.cancel()
    assert (await desk.ending(once)).error == "outcome unknown: the runner was stopped while the tool ran"
    async with served(broker.url, desk.settings()):
        assert (await desk.ending(look)).type is ReportType.REPORT
        await eventually(lambda: _none_queued(desk))
    assert (desk.runs(once), desk.runs(look)) == (1, 2)


async def test_the_process_serves_and_stops_in_order(desk: Desk, broker: EmbeddedServer) -> None:
    process = start_process(desk.environ(broker.url))
    try:
        assert (await desk.ending(await desk.send(desk.request("noop")), 20)).type is ReportType.REPORT
        process.send_signal(signal.SIGTERM)
        _, said = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=10))
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said
    assert "ready" in said


# Tracing --------------------------------------------------------------------------------------------------


async def test_a_span_covers_the_run_and_goes_on_in_the_report(desk: Desk, runner: None) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.join(provider)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    try:
        context = f"00-{trace}-{parent}-01"
        fine = await desk.send(desk.request("echo"), traceparent=context)
        await desk.ending(fine)
        bad = await desk.send(desk.request("fail", {"error": "why"}), traceparent=context)
        await desk.ending(bad)
        await eventually(lambda: len(exporter.get_finished_spans()) == 2)
    finally:
        telemetry.shut_down()
    good, failed = exporter.get_finished_spans()
    assert good.name == "execute_tool"
    assert good.context is not None
    assert good.parent is not None
    assert f"{good.context.trace_id:032x}" == trace
    assert f"{good.parent.span_id:016x}" == parent
    assert dict(good.attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
        "gen_ai.tool.call.id": "c",
        "life.tool.status": "ok",
        "life.tool.run_id": fine.tool_run_id,
        "life.session_id": "s",
        "session.id": "s",
        "life.branch_id": "main",
    }
    assert (failed.attributes or {})["life.tool.status"] == "error"
    assert failed.status.description == "why"
    assert desk.messages[0].headers["traceparent"] == f"00-{trace}-{good.context.span_id:016x}-01"
