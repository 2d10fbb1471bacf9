"""What a process answers to those that watch over it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from tests.kit.probe import GET, answer, probe
from tests.kit.waiting import eventually
from vagus.contract.errors import SettingsError
from vagus.runtime import health as module
from vagus.runtime.health import Health, Phase, listening


class Process:
    """A process that a test leads through its life, and its port."""

    def __init__(self) -> None:
        self.connected = self.draining = False
        self.port = 0
        self.health = Health("kernel", "k1")
        self.health.connected = lambda: self.connected
        self.health.draining = lambda: self.draining

    def take_work(self) -> None:
        self.connected = self.health.started = True

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SocketStream]:
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            yield stream

    async def says(self, request: bytes) -> tuple[int, Any]:
        return await probe(self.port, request)

    async def ready(self) -> tuple[int, str]:
        status, body = await self.says(GET % b"/readyz")
        return status, body["status"]


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process()
    async with listening(process.health, "127.0.0.1", 0) as process.port:
        yield process


async def test_it_is_alive_from_the_start_and_ready_from_when_it_takes_work_until_it_drains(
    process: Process,
) -> None:
    assert await process.ready() == (503, "starting")
    process.take_work()
    assert await process.ready() == (200, "ready")
    process.connected = False
    assert await process.ready() == (503, "disconnected")
    process.connected = process.draining = True
    assert await process.ready() == (503, "draining")
    status, body = await process.says(GET % b"/healthz")
    assert status == 200
    assert body.pop("uptime_s") >= 0
    assert body == {"status": "draining", "kind": "kernel", "instance": "k1"}


async def test_one_that_drains_before_it_took_work_is_draining(process: Process) -> None:
    process.draining = True
    assert process.health.phase is Phase.DRAINING


async def test_a_query_changes_nothing(process: Process) -> None:
    assert (await process.says(GET % b"/healthz?verbose=1"))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET % b"/", 404),
        (GET % b"/metrics", 404),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /healthz HTTP/2\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\xff\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * module.REQUEST_BYTES, 431),
    ],
)
async def test_what_is_no_question_is_refused(process: Process, request_: bytes, status: int) -> None:
    told, body = await process.says(request_)
    assert told == status
    assert set(body) == {"error"}


async def test_half_a_question_is_refused_when_its_sender_has_no_more_to_say(process: Process) -> None:
    async with process.client() as stream:
        await stream.send(b"GET /healthz HT")
        await stream.send_eof()
        assert (await answer(stream))[0] == 400


async def test_a_question_may_come_in_pieces(process: Process) -> None:
    async with process.client() as stream:
        for piece in (b"GET /hea", b"lthz HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
            await stream.send(piece)
            await anyio.wait_all_tasks_blocked()
        assert (await answer(stream))[0] == 200


async def test_who_is_slow_is_let_go_and_keeps_nobody_waiting(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_S", 0.3)
    async with process.client() as slow:
        await slow.send(b"GET ")
        assert (await process.says(GET % b"/healthz"))[0] == 200
        with anyio.fail_after(20), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await slow.receive()


async def test_more_than_so_many_at_a_time_are_sent_away(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with anyio.create_task_group() as clients:

        async def idle() -> None:
            async with process.client():
                await anyio.sleep_forever()

        for _ in range(module.CLIENTS):
            clients.start_soon(idle)
        await eventually(lambda: sent_away(process))
        clients.cancel_scope.cancel()
    await eventually(lambda: healthy(process))


async def sent_away(process: Process) -> bool:
    async with process.client() as stream:
        try:
            await stream.send(GET % b"/healthz")
            with anyio.fail_after(20):
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


async def healthy(process: Process) -> bool:
    return not await sent_away(process)


async def test_who_goes_without_waiting_for_the_answer_does_no_harm(process: Process) -> None:
    for _ in range(20):
        async with process.client() as stream:
            await stream.send(GET % b"/healthz")
    assert (await process.says(GET % b"/healthz"))[0] == 200


async def test_a_port_that_is_taken_is_a_wrong_setting(process: Process) -> None:
    taken = f"cannot open VAGUS_HEALTH_PORT={process.port} on 127.0.0.1: it is in use"
    with pytest.raises(SettingsError, match=taken):
        async with listening(process.health, "127.0.0.1", process.port):
            pass
