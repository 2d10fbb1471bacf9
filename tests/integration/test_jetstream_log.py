"""What the log on JetStream does beyond the contract: under lost messages, permissions and much data."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from tests.conformance.event_log_suite import Branch, all_of, contents, names, write
from tests.kit.relay import Relay, relay_to
from tests.kit.waiting import eventually
from vagus.contract.errors import Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.eventlog import At, NoStream
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.settings import Access


@pytest.fixture
async def log(bus: Bus, subjects: Subjects) -> JetStreamLog:
    log = JetStreamLog(bus, subjects, direct=True)
    await log.create("s")
    return log


@pytest.fixture
async def relay(broker: EmbeddedServer) -> AsyncIterator[Relay]:
    async with relay_to(broker.port) as relay:
        yield relay


@pytest.fixture
async def far(relay: Relay, subjects: Subjects, log: JetStreamLog) -> AsyncIterator[JetStreamLog]:
    """The same log through the relay."""
    async with connect(relay.url, name="far") as bus:
        yield JetStreamLog(bus, subjects)


async def test_a_lost_ack_is_settled_within_the_call(relay: Relay, far: JetStreamLog) -> None:
    branch = Branch()
    relay.lose_next_reply()
    assert await far.commit("s", "main", branch.seal("a"), NoStream()) == 1
    assert relay.lost
    assert await far.commit("s", "main", branch.seal("b"), At(1)) == 2


async def test_a_long_commit_that_loses_a_part_on_its_way_is_stored_whole_or_not_at_all(
    relay: Relay, far: JetStreamLog, log: JetStreamLog
) -> None:
    long = ["x" * 300_000] * 8
    sealed = Branch().seal(*long)
    relay.lose_next_request()
    try:
        head = await far.commit("s", "main", sealed, NoStream())
    except Unavailable:  # the rest of the parts came on a new connection, without the first
        assert await log.head("s") == 0
        head = await far.commit("s", "main", sealed, NoStream())
    assert relay.lost
    assert await log.head("s") == head
    assert contents(await log.read("s", "main")) == long


async def test_a_follower_misses_nothing_though_its_connection_breaks(
    relay: Relay, far: JetStreamLog, log: JetStreamLog
) -> None:
    branch, seen = Branch(), list[int]()

    async def keep_writing() -> None:
        for at in range(120):
            await write(log, branch, [1], at=at)
            if at % 40 == 20:
                relay.lose_next_reply()
                await eventually(lambda: relay.lost, timeout_s=20)

    with anyio.fail_after(40):
        async with (
            aclosing(far.follow("s")) as commits,
            anyio.create_task_group() as group,
        ):
            group.start_soon(keep_writing)
            while not seen or seen[-1] < 120:
                seen.append((await anext(commits)).stream_sequence)
    assert seen == list(range(1, 121))


async def test_a_slow_follower_of_much_data_gets_it_all(far: JetStreamLog, log: JetStreamLog) -> None:
    branch, count = Branch(), 30
    at = await log.commit("s", "main", branch.seal("first"), NoStream())
    async with aclosing(far.follow("s")) as commits:
        assert (await anext(commits)).stream_sequence == 1
        for _ in range(count):
            at = await log.commit("s", "main", branch.seal("x" * 700_000), At(at))
        assert [(await anext(commits)).stream_sequence for _ in range(count)] == list(range(2, count + 2))


@pytest.mark.parametrize("direct", [True, False])
async def test_pages_of_much_data_are_cut_by_size(
    bus: Bus, subjects: Subjects, log: JetStreamLog, direct: bool
) -> None:
    branch, at = Branch(), 0
    for _ in range(12):
        sealed = branch.seal("x" * 850_000)
        at = await log.commit("s", "main", sealed, At(at) if at else NoStream())
    commits = await all_of(JetStreamLog(bus, subjects, direct=direct).commits("s"))
    assert [commit.stream_sequence for commit in commits] == list(range(1, 13))


CLIENT = """
authorization {{
  users: [
    {{ user: kernel, password: k }}
    {{ user: client, password: c, permissions: {{
        publish: ["$JS.API.CONSUMER.CREATE.*.*.{root}.session.>", "$JS.API.STREAM.INFO.*", "$JS.FC.>"]
        subscribe: "_INBOX_client.>"
    }} }}
  ]
}}
"""


class Guarded(EmbeddedServer):
    """A server that permits a client what it needs to read logs and nothing more."""

    root = "t"

    def _configuration(self) -> str:
        return super()._configuration() + CLIENT.format(root=self.root)


async def test_a_client_reads_logs_with_no_more_than_the_permission_to_make_consumers_on_them(
    tmp_path_factory: pytest.TempPathFactory, subjects: Subjects
) -> None:
    server = Guarded(tmp_path_factory.mktemp("guarded"), durability="fast")
    server.root = subjects.root
    async with (
        server,
        connect(server.url.replace("//", "//kernel:k@"), name="kernel") as kernel,
        connect(
            server.url.replace("//", "//client:c@"), name="c", access=Access(inbox_prefix="_INBOX_client")
        ) as client,
    ):
        log, reader = JetStreamLog(kernel, subjects, direct=True), JetStreamLog(client, subjects)
        await log.create("s")
        await write(log, Branch(), [3] * 40)
        with anyio.fail_after(30):
            assert await reader.head("s") == 40
            assert contents(await reader.read("s", "main", from_sequence=50, limit=7)) == names(
                "main", 50, 56
            )
            assert len(await all_of(reader.commits("s", after=3))) == 37
            async with aclosing(reader.follow("s", branch_id="main", after=38)) as commits:
                assert [(await anext(commits)).stream_sequence for _ in range(2)] == [39, 40]
