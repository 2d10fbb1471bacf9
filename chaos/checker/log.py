"""Reading: messages of streams, from a server or from wherever else they were kept."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, Protocol, TypeVar

import anyio
import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError, ServiceUnavailableError

_T = TypeVar("_T")

PAGE: Final = 128
"""Messages in memory at a time: of at most 1 MiB each."""
CONNECT_S: Final = 5.0
REQUEST_S: Final = 15.0
"""A server that has just been started again reads its streams first."""
AGAIN_S: Final = 0.1
LAST_WORDS_S: Final = 2.0


class CannotCheck(Exception):
    """What is needed for an answer could not be read."""


class Message(NamedTuple):
    """A stored message."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes


class Source(Protocol):
    """Where the streams are. All methods may raise `CannotCheck`."""

    async def streams(self) -> list[str]:
        """The names of all streams."""
        ...

    async def size(self, stream: str) -> int:
        """How many messages a stream holds."""
        ...

    async def trimmed(self, stream: str) -> bool:
        """Whether a stream may have dropped its oldest messages by its limits."""
        ...

    def subjects(self, stream: str) -> AsyncGenerator[str, None]:
        """The subjects of all messages that a stream holds, each once, in no order."""
        ...

    def messages(
        self, stream: str, *, after: int = 0, subject: str | None = None, latest: bool = False
    ) -> AsyncGenerator[Message, None]:
        """The messages of a stream in order, or of some subjects; `latest`: of each subject only the last.

        With `after`, only those behind that sequence.
        """
        ...


class _Page(msgspec.Struct):
    total: int = 0
    streams: list[str] | None = None


class _Held(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _Subjects(msgspec.Struct):
    """A page of what a stream holds."""

    state: _Held
    total: int = 0


class Login(NamedTuple):
    """How to log in: files, and the prefix of the subjects that replies come on."""

    credentials: str | None = None
    nkey: str | None = None
    ca: str | None = None
    inbox_prefix: str = "_INBOX"


@asynccontextmanager
async def server(url: str, login: Login = Login()) -> AsyncIterator["Server"]:  # noqa: B008 -- immutable
    """Connect to a server (several: comma-separated); raises `CannotCheck` if that cannot be done."""
    try:
        client = await nats.connect(
            url.split(","),
            name="checker",
            user_credentials=login.credentials,
            nkeys_seed=login.nkey,
            tls=None if login.ca is None else ssl.create_default_context(cafile=login.ca),
            inbox_prefix=login.inbox_prefix,
            connect_timeout=CONNECT_S,
            max_reconnect_attempts=4,
            reconnect_time_wait=0.5,
            error_cb=_silent,
        )
    except (OSError, nats.errors.Error) as error:
        raise CannotCheck(f"no connection to {url}: {_why(error)}") from error
    try:
        yield Server(client)
    finally:
        with anyio.move_on_after(LAST_WORDS_S, shield=True), suppress(nats.errors.Error):
            await client.close()


async def _silent(_: Exception) -> None:
    """What goes wrong shows in what is asked for."""


class Server:
    """The streams of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._streams: JetStreamContext = client.jetstream(timeout=REQUEST_S)

    async def streams(self) -> list[str]:
        """See `Source.streams`."""
        names: list[str] = []
        while True:
            page = await self._ask("NAMES", {"offset": len(names)}, _Page)
            names += page.streams or ()
            if not page.streams or len(names) >= page.total:
                return names

    async def size(self, stream: str) -> int:
        """See `Source.size`."""
        try:
            return (await self._streams.stream_info(stream)).state.messages
        except (OSError, nats.errors.Error) as error:
            raise _unreadable(stream, error) from error

    async def trimmed(self, stream: str) -> bool:
        """See `Source.trimmed`. What is purged goes from the front as well: limits are needed, too."""
        try:
            info = await self._streams.stream_info(stream)
        except (OSError, nats.errors.Error) as error:
            raise _unreadable(stream, error) from error
        limits = (info.config.max_age, info.config.max_bytes, info.config.max_msgs)
        return info.state.first_seq > 1 and any(limit is not None and limit > 0 for limit in limits)

    async def subjects(self, stream: str) -> AsyncGenerator[str, None]:
        """See `Source.subjects`; a page of them at a time. A work queue lets nobody read its messages."""
        told = 0
        while True:
            page = await self._ask(f"INFO.{stream}", {"subjects_filter": ">", "offset": told}, _Subjects)
            subjects = page.state.subjects or {}
            for subject in subjects:
                yield subject
            told += len(subjects)
            if not subjects or told >= page.total:
                return

    async def _ask(self, what: str, given: dict[str, object], shape: type[_T]) -> _T:
        try:
            answer = await self._client.request(
                f"$JS.API.STREAM.{what}", msgspec.json.encode(given), timeout=REQUEST_S
            )
            return msgspec.json.decode(answer.data, type=shape)
        except (OSError, nats.errors.Error, msgspec.MsgspecError) as error:
            raise CannotCheck(f"no answer to STREAM.{what}: {_why(error)}") from error

    async def messages(
        self, stream: str, *, after: int = 0, subject: str | None = None, latest: bool = False
    ) -> AsyncGenerator[Message, None]:
        """See `Source.messages`: as many as there are at the beginning, or more."""
        policy = DeliverPolicy.BY_START_SEQUENCE if after else DeliverPolicy.ALL
        wanted = ConsumerConfig(
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT if latest else policy,
            opt_start_seq=after + 1 if after else None,
            filter_subject=">" if latest and subject is None else subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=2 * REQUEST_S,
            mem_storage=True,
            num_replicas=1,
        )
        consumer = ""
        try:
            made = await self._streams.add_consumer(stream, config=wanted)
            consumer, left, read = made.name, made.num_pending or 0, 0
            if not left:
                return
            pull = await self._streams.pull_subscribe_bind(consumer=consumer, stream=stream)
            while left:
                for message in await _fetched(pull, min(left, PAGE)):
                    read += 1
                    said = message.metadata
                    if said.sequence.consumer != read:
                        raise CannotCheck(f"cannot read {stream}: a message was lost on the way")
                    left = said.num_pending
                    yield Message(said.sequence.stream, message.subject, message.headers or {}, message.data)
            await pull.unsubscribe()
        except (OSError, nats.errors.Error) as error:
            raise _unreadable(stream, error) from error
        finally:
            if consumer:
                with anyio.move_on_after(LAST_WORDS_S, shield=True), suppress(OSError, nats.errors.Error):
                    await self._streams.delete_consumer(stream, consumer)


async def _fetched(pull: JetStreamContext.PullSubscription, count: int) -> list[Msg]:
    """The next messages. On a cluster the way to a consumer made a moment ago is not yet known everywhere."""
    until = anyio.current_time() + REQUEST_S
    while True:
        try:
            return await pull.fetch(count, timeout=REQUEST_S)
        except ServiceUnavailableError:
            if anyio.current_time() > until:
                raise
            await anyio.sleep(AGAIN_S)


def _unreadable(stream: str, error: Exception) -> CannotCheck:
    why = "there is no such stream" if isinstance(error, NotFoundError) else _why(error)
    return CannotCheck(f"cannot read {stream}: {why}")


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
