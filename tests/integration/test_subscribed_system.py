"""What clients subscribe to is what the logs say."""

from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.broker import Broker
from tests.kit.firehose import Firehose
from tests.kit.secured import secured
from tests.kit.system import system
from vagus.contract.permissions import User
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect

FREE = vagus.PolicySet.preset("default")


async def lines(session: vagus.Session) -> list[bytes]:
    return [event.line async for event in session.history()]


async def test_a_subscription_gives_the_lines_of_the_logs(
    broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        await whole.start("relay")
        hers = await whole.client.create_session(owner="ada", policy=FREE)
        his = await whole.client.create_session(owner="bob", policy=FREE)
        for session in (hers, his):
            await session.tick("say hello")
        expected = await lines(hers)
        found: list[bytes] = []
        async with whole.client.subscribe(vagus.Filter(owner="ada"), durable="hers") as subscription:
            with anyio.fail_after(30):
                while len(found) < len(expected):
                    delivery = await anext(subscription)
                    assert delivery.event.event_id == delivery.event_id
                    found.append(delivery.line)
                    await delivery.ack()
        assert found == expected
        finished = vagus.Filter(kinds=("RunFinished",))
        async with whole.client.subscribe(finished) as subscription:
            with anyio.fail_after(30):
                told = {(await anext(subscription)).session_id for _ in range(2)}
        assert told == {hers.id, his.id}


@pytest.mark.parametrize("user", [User.CLIENT, User.RELAY, User.SINK])
async def test_programs_and_sinks_may_subscribe_as_what_they_are(user: User, tmp_path: Path) -> None:
    subjects = Subjects()
    async with (
        secured(tmp_path) as server,
        connect(server.url, name="operator", access=server.secrets.access(User.OPERATOR)) as operator,
        vagus.connect(server.url, access=server.secrets.access(user)) as client,
    ):
        firehose = Firehose(operator, subjects)
        await firehose.make()
        await firehose.own("a", "ada")
        for _ in range(2):
            await firehose.put("a")
        async with client.subscribe(vagus.Filter(owner="ada"), durable="d") as subscription:
            with anyio.fail_after(30):
                await (await anext(subscription)).bury("it is odd")
                assert (await anext(subscription)).sequence == 2
            (there,) = await client.subscriptions()
            assert (there.name, there.subscribers) == ("d", 1)
        async with client.subscribe(vagus.Filter(), start="new") as subscription:
            await firehose.put("a")
            with anyio.fail_after(30):
                assert (await anext(subscription)).sequence == 3
        await client.unsubscribe("d")
