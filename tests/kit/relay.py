"""A TCP relay between a client and a server that loses, on demand, what a broken connection would lose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream, TaskGroup, TaskStatus


class Relay:
    """Passes bytes on. After a loss it is deaf until `mend`, unless it was told to take connections again."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._losing: bytes | None = None
        self._takes_again = True
        self._listening = anyio.CancelScope()
        self._mended = anyio.Event()
        self.port = 0
        self.lost = False
        """Whether the loss that was asked for has happened."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def lose_next_reply(self, *, takes_again: bool = True) -> None:
        """Lose the next message from the server and the connection with it; what was asked has happened."""
        self._arm(b"MSG ", takes_again)

    def lose_next_request(self, *, takes_again: bool = True) -> None:
        """Lose the next message to the server and the connection with it; it never arrives."""
        self._arm(b"PUB ", takes_again)

    def deafen(self) -> None:
        """Take no more connections until `mend`; to be called before the server ends."""
        self._listening.cancel()

    def mend(self) -> None:
        """Listen again."""
        self._mended.set()

    def _arm(self, verb: bytes, takes_again: bool) -> None:
        self._losing, self._takes_again, self.lost = verb, takes_again, False

    async def _run(self, group: TaskGroup, *, task_status: TaskStatus[None]) -> None:
        while True:
            async with await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=self.port
            ) as listener:
                if self.port == 0:
                    self.port = listener.extra(SocketAttribute.local_port)
                    task_status.started()
                self._mended = anyio.Event()
                with anyio.CancelScope() as self._listening:
                    await listener.serve(self._connect, group)
            await self._mended.wait()

    async def _connect(self, client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self._server_port) as server,
            anyio.create_task_group() as both_ways,
        ):
            both_ways.start_soon(self._pass_on, client, server, b"PUB ")
            await self._pass_on(server, client, b"MSG ")
            both_ways.cancel_scope.cancel()

    async def _pass_on(self, source: ByteReceiveStream, target: ByteSendStream, verb: bytes) -> None:
        try:
            async for data in source:
                if self._losing == verb and verb in data:
                    self._losing, self.lost = None, True
                    if not self._takes_again:
                        self.deafen()
                    break
                await target.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the other end is gone: so are we
        await source.aclose()
        await target.aclose()


@asynccontextmanager
async def relay_to(server_port: int) -> AsyncIterator[Relay]:
    """A relay to a local server, for the length of the block."""
    relay = Relay(server_port)
    async with anyio.create_task_group() as group:
        await group.start(relay._run, group)
        yield relay
        group.cancel_scope.cancel()
