"""What no process could handle is found, sent again and dropped."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import vagus
from tests.kit.broker import Broker
from tests.kit.command_line import Ran, run
from tests.kit.services import stored
from tests.kit.waiting import eventually
from vagus.contract import streams
from vagus.contract.messages import Role
from vagus.contract.streams import ConsumerSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, Message
from vagus.runtime.provision import ensure
from vagus.runtime.queue import Delivery, Pull, dead_letter

PARTITIONS = 2


class Post:
    """Messages that are put on queues, and given up by nobody in particular."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects

    async def bury(
        self,
        spec: ConsumerSpec,
        subject: str,
        data: bytes = b"{}",
        *,
        where: str = "kernel.s",
        msg_id: str = "m",
        **headers: str,
    ) -> None:
        """Publish a message, take it from its queue and make it a dead letter."""
        taken: list[Delivery] = []
        await self._bus.store(subject, data, msg_id=msg_id, headers=headers)
        async with Pull(self._bus, spec, capacity=1, deliver=taken.append):
            (delivery,) = await eventually(lambda: taken)
            await dead_letter(self._bus, self._subjects, where, delivery, "it  was\nodd")

    async def command(self, **given: Any) -> None:
        """A command that no kernel could handle, of a session in any partition."""
        partitions = [streams.inbox_consumer(self._subjects, n, answers=False) for n in range(PARTITIONS)]
        spec = ConsumerSpec(
            stream=partitions[0].stream,
            name="commands-0",
            filters=tuple(spec.filters[0] for spec in partitions),
        )
        await self._bus.api(f"CONSUMER.DELETE.{spec.stream}.commands-0")
        await self._bus.api(f"CONSUMER.DELETE.{spec.stream}.commands-1")
        await self.bury(spec, self._subjects.inbox(Role.COMMAND, "s"), **given)

    async def gate(self, session: str, **given: Any) -> None:
        """A gate request that no gate could handle."""
        spec = streams.gate_consumer(self._subjects)
        where = f"policygate.{session}"
        await self.bury(spec, self._subjects.gate(session), where=where, msg_id=session, **given)


@pytest.fixture
async def post(bus: Bus, subjects: Subjects) -> Post:
    await ensure(bus, subjects, partitions=PARTITIONS)
    return Post(bus, subjects)


@pytest.fixture
async def client(broker: Broker, subjects: Subjects) -> AsyncIterator[vagus.Client]:
    async with vagus.connect(broker.url, root_subject=subjects.root) as made:
        yield made


async def test_a_dead_letter_tells_what_became_of_a_message(post: Post, client: vagus.Client) -> None:
    await post.command(data=b'{"a": 1}', traceparent="t")
    (listed,) = await client.dead_letters()
    letter = await client.dead_letter(listed.id)
    assert (letter.kind, letter.session_id, letter.reason) == ("kernel", "s", "it was odd")
    assert letter.subject == client.subjects.inbox(Role.COMMAND, "s")
    assert letter.origin == f"{client.subjects.named('INBOX')}.1"
    assert (letter.deliveries, letter.size, letter.cut) == (1, 8, False)
    assert letter.headers == {"traceparent": "t"}
    assert (listed.data, listed.size, letter.data) == (None, 8, b'{"a": 1}')


async def test_a_retry_publishes_the_message_as_it_was_and_removes_the_letter(
    post: Post, client: vagus.Client, bus: Bus
) -> None:
    await post.command(data=b"xyz", traceparent="t")
    (letter,) = await client.dead_letters()
    inbox = client.subjects.named("INBOX")
    assert await eventually(lambda: empty(bus, inbox))
    seen: list[Message] = []
    watched = await bus.subscribe_callback(client.subjects.inbox(Role.COMMAND, "*"), seen.append)
    again = await client.retry(letter.id)
    await eventually(lambda: seen)
    await watched.unsubscribe()
    assert (again.id, again.subject) == (letter.id, client.subjects.inbox(Role.COMMAND, "s"))
    (message,) = seen
    assert (message.data, message.headers["traceparent"]) == (b"xyz", "t")
    assert message.headers["Nats-Msg-Id"] != "m"
    assert await stored(bus, inbox) == 1  # within the duplicate window of the first
    assert await client.dead_letters() == []
    with pytest.raises(vagus.NotFound):
        await client.retry(letter.id)


async def empty(bus: Bus, stream: str) -> bool:
    return await stored(bus, stream) == 0


async def test_a_letter_stays_while_its_queue_does_not_take_the_copy(
    post: Post, client: vagus.Client, bus: Bus
) -> None:
    await post.gate("s")
    (letter,) = await client.dead_letters()
    await bus.api(f"STREAM.DELETE.{client.subjects.named('GATE')}")
    with pytest.raises(vagus.Unavailable):
        await client.retry(letter.id)
    assert await client.dead_letters() == [letter]
    await ensure(bus, client.subjects, partitions=PARTITIONS)
    await client.retry(letter.id)
    assert await stored(bus, client.subjects.named("GATE")) == 1


async def test_a_message_that_was_cut_is_not_sent_again(post: Post, client: vagus.Client, bus: Bus) -> None:
    room = bus.max_payload - 100
    await post.gate("s", data=b"x" * room)
    (letter,) = await client.dead_letters()
    assert (letter.size, letter.cut) == (room, True)
    with pytest.raises(vagus.Refused, match="only the beginning"):
        await client.retry(letter.id)
    assert await client.dead_letters() == [letter]


@pytest.mark.parametrize("subject", ["", "elsewhere.x", "{root}.session.s.main", "{root}.gate.>", "{root}"])
async def test_nothing_is_sent_to_where_no_queue_is(
    post: Post, client: vagus.Client, bus: Bus, subject: str
) -> None:
    headers = {"Vagus-Subject": subject.replace("{root}", client.subjects.root)}
    await bus.store(client.subjects.dead("somebody"), b"x", headers=headers)
    (letter,) = await client.dead_letters()
    assert (letter.kind, letter.session_id, letter.subject) == ("somebody", None, None)
    with pytest.raises(vagus.Refused, match="which queue"):
        await client.retry(letter.id)


async def test_letters_are_listed_by_session_and_page(post: Post, client: vagus.Client) -> None:
    for session in ("a", "b", "c"):
        await post.gate(session)
    letters = await client.dead_letters()
    assert [letter.session_id for letter in letters] == ["a", "b", "c"]
    assert await client.dead_letters("b") == [letters[1]]
    assert await client.dead_letters(limit=2) == letters[:2]
    assert await client.dead_letters(after=letters[1].id) == letters[2:]
    await client.drop(letters[0].id)
    assert await client.dead_letters() == letters[1:]
    for gone in (letters[0].id, 99):
        with pytest.raises(vagus.NotFound):
            await client.drop(gone)
        with pytest.raises(vagus.NotFound):
            await client.dead_letter(gone)


async def test_the_command_line_lists_shows_retries_and_drops(
    post: Post, broker: Broker, bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_SERVER", broker.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
    assert (await run("dead", "list")).out == "no dead letters\n"
    for session in ("a", "b"):
        await post.gate(session, data=b'{"call": "\x1b[31m"}')
    ran: Ran = await run("dead", "list", "--json")
    first, second = ran.json
    assert (first["session_id"], first["reason"], first["data"]) == ("a", "it was odd", None)
    assert "it was odd" in (await run("dead", "list", "--session", "b")).out
    plain = (await run("dead", "show", str(first["id"]))).out
    assert '{"call": "·[31m"}' in plain
    shown = (await run("dead", "show", str(first["id"]), "--json")).json
    assert (shown["subject"], shown["size"]) == (subjects.gate("a"), 17)
    again = (await run("dead", "retry", str(first["id"]), "--json")).json
    assert [letter["id"] for letter in again] == [first["id"]]
    missing = await run("dead", "retry", str(first["id"]), "--json")
    assert (missing.code, missing.out, missing.error["type"]) == (1, "", "NotFound")
    assert (await run("dead", "drop", str(second["id"]))).out == f"dropped: {second['id']}\n"
    assert (await run("dead", "list", "--json")).json == []
    await bus.store(subjects.dead("somebody"), b"x")
    ((letter),) = (await run("dead", "list", "--json")).json
    refused = await run("dead", "retry", str(letter["id"]), "--json")
    assert (refused.code, refused.error["type"]) == (3, "Refused")
