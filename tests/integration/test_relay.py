"""Relays carry what is on the logs into the firehose; a reader with plain nats-py compares the two."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from tests.kit.broker import Broker
from tests.kit.downstream import Downstream
from tests.kit.services import Running, serving
from tests.kit.waiting import eventually
from tests.kit.writing import TRACE, Logs
from vagus.cli.checks.server import check_server
from vagus.contract.events import Custom
from vagus.contract.streams import RELAYED, events
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, Message
from vagus.runtime.inspection import inspect
from vagus.runtime.provision import ensure_firehose
from vagus.sdk.operations import Operations
from vagus_relay.firehose import Firehose
from vagus_relay.gauges import gauges
from vagus_relay.relay import serve
from vagus_relay.settings import Beginning, RelaySettings

LATER = "2099-01-01T00:00:00.000Z"


@asynccontextmanager
async def relay(
    bus: Bus,
    subjects: Subjects,
    name: str = "r",
    *,
    beginning: Beginning = Beginning.ALL,
    most_bytes: int = -1,
) -> AsyncIterator[Running]:
    settings = RelaySettings(
        root_subject=subjects.root, instance=name, events_bytes=most_bytes, events_from=beginning
    )
    async with serving(serve, bus, settings) as running:
        yield running


async def complete(reader: Downstream, logs: Logs) -> bool:
    """The firehose has exactly what the logs have, branch by branch."""
    return await reader.lines() == await reader.logged(logs.sessions)


async def test_what_was_there_before_and_what_comes_is_told(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("old", "one", "two")
    await logs.commit("old", "aside", branch="other")
    await logs.commit("old", "three")
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))
        await logs.commit("new", Custom(event_type="mine", data={}), "four", traceparent=TRACE)
        await logs.commit("old", "five")
        await eventually(lambda: complete(reader, logs))
    told = await reader.told(subjects.event("new"))
    shown = ("Nats-Msg-Id", "Vagus-Sequence", "Vagus-Commit", "traceparent")
    assert [tuple(event.headers[name] for name in shown) for event in told] == [
        ("new.main.1", "1", "1", TRACE),
        ("new.main.2", "2", "1", TRACE),
    ]
    assert [event.commit for event in await reader.told(subjects.event("old"))] == [1, 1, 2, 3, 4]
    assert [event.kind for event in await reader.told(subjects.event(kind="Custom"))] == ["Custom"]
    assert [event.sequence for event in await reader.told(subjects.event(branch="other"))] == [1]


async def test_a_long_commit_is_told_in_several_parts(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("s", *["event"] * 1300)
    await logs.commit("s", *["x" * 400_000] * 4)  # longer than a message of the log
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))
    assert (await reader.told())[-1].commit == logs.heads["s"] > 2


async def test_relays_that_know_nothing_of_each_other_tell_everything_once(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    names = [f"s{number}" for number in range(8)]
    async with hosed(bus, subjects, "a") as one, hosed(bus, subjects, "b") as other:
        for number in range(200):
            await logs.commit(names[number % 8], *[f"{number}"] * (1 + number % 3))
        await eventually(lambda: not one.roster.behind and not other.roster.behind, timeout_s=60)
        assert await complete(reader, logs)
        ids = [event.headers["Nats-Msg-Id"] for event in await reader.told()]
        assert len(set(ids)) == len(ids) == one.published + other.published


async def test_relays_share_the_sessions_and_take_over_from_who_leaves(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    async with relay(bus, subjects, "one") as one, relay(bus, subjects, "two"):
        for number in range(40):
            await logs.commit(f"s{number % 10}", f"{number}")
        await one.drain()
        for number in range(40):
            await logs.commit(f"s{number % 10}", f"{number}")
        await eventually(lambda: complete(reader, logs))
    assert set(await Bucket(bus, subjects.named(RELAYED)).keys("*")) == set(logs.sessions)


async def test_what_no_hint_told_of_is_found_by_the_next_one_or_by_a_survey(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    async with hosed(bus, subjects, "a", hinted=False) as firehose:
        await logs.commit("s", "one")
        hinted(subjects, firehose, "s", 1)
        await eventually(lambda: firehose.published == 1)
        await logs.commit("s", "two")
        await logs.commit("s", "three")
        hinted(subjects, firehose, "s", 3)
        await eventually(lambda: firehose.published == 3)
        assert firehose.roster.repaired == 1
        await logs.commit("s", "four")
        await firehose.roster.survey()
        await eventually(lambda: firehose.published == 4)
        assert firehose.roster.repaired == 2
        assert await complete(reader, logs)


async def test_a_hint_that_is_not_true_does_no_harm(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    async with relay(bus, subjects):
        await logs.commit("s", "one")
        lie = {"Nats-Sequence": "99"}
        await bus.publish(subjects.feed("nobody", "main"), b"{}", headers=lie)
        await bus.publish(subjects.feed("s", "main"), b"{}", headers=lie)
        await bus.publish(subjects.feed("s", "main"), b"{}", headers={"Nats-Sequence": "-1"})
        await bus.publish(subjects.feed("s", "main"), b"{}")
        await logs.commit("s", "two")
        await eventually(lambda: complete(reader, logs))


async def test_the_firehose_begins_with_what_is_new_if_the_first_relay_was_told_so(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    for text in ("one", "two", "three"):
        await logs.commit("old", text)
    await logs.commit("idle", "one")
    async with relay(bus, subjects, beginning=Beginning.NEW):
        pass
    await logs.commit("old", "four", at=LATER)
    await logs.commit("new", "one", at=LATER)
    async with relay(bus, subjects, "second"):
        await logs.commit("old", "five", at=LATER)
        await eventually(lambda: _counted(reader, {"old": 2, "new": 1}))


async def test_what_has_aged_out_is_not_told_again(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("s", "one")
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))
    await bus.api(f"STREAM.PURGE.{subjects.named('EVENTS')}")
    async with relay(bus, subjects):
        await logs.commit("s", "two")
        await eventually(lambda: _counted(reader, {"s": 1}))
        assert (await reader.told())[0].sequence == 2


async def test_what_has_gone_before_it_was_noted_is_passed_over(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    """It is within the duplicate window of the server, which would refuse a whole batch for it."""
    await logs.commit("s", "one", "two")
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))
    await bus.api(f"STREAM.PURGE.{subjects.named('EVENTS')}")
    await Bucket(bus, subjects.named(RELAYED)).delete("s")
    async with relay(bus, subjects):
        await logs.commit("s", "three", "four")
        await eventually(lambda: _counted(reader, {"s": 2}))
        assert [event.sequence for event in await reader.told()] == [3, 4]


async def test_a_firehose_that_is_full_drops_the_oldest_events(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("early", "one")
    async with relay(bus, subjects, most_bytes=50_000):
        await eventually(lambda: _stored(bus, subjects, 1))
        for _ in range(20):
            await logs.commit("s", *["x" * 1000] * 10)
        await eventually(lambda: _stored(bus, subjects, 201))
        await logs.commit("early", "two")  # of which the firehose has nothing any more
        await eventually(lambda: _stored(bus, subjects, 202))
    assert [event.sequence for event in await reader.told(subjects.event("early"))] == [2]
    kept = [event.sequence for event in await reader.told(subjects.event("s"))]
    assert kept == list(range(201 - len(kept), 201))
    assert 20 < len(kept) < 100


async def test_a_firehose_that_is_made_anew_gets_everything_again(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("s", "one")
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))
    await bus.api(f"STREAM.DELETE.{subjects.named('EVENTS')}")
    async with relay(bus, subjects):
        await eventually(lambda: complete(reader, logs))


async def test_a_log_that_is_gone_or_broken_holds_up_no_other(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    for session in ("gone", "broken", "well"):
        await logs.commit(session, "one")
    async with hosed(bus, subjects, "a") as firehose:
        await firehose.roster.survey()
        await eventually(lambda: complete(reader, logs))
        await bus.store(
            subjects.log("broken", "main"), b"rubbish\n", headers={"Vagus-First": "2", "Vagus-Last": "2"}
        )
        await bus.api(f"STREAM.DELETE.{subjects.session_stream('gone')}")
        del logs.heads["gone"]
        hinted(subjects, firehose, "gone", 2)
        await logs.commit("well", "two")
        await eventually(lambda: _counted(reader, {"gone": 1, "broken": 1, "well": 2}))
        await firehose.roster.survey()
        await logs.commit("well", "three")
        await eventually(lambda: _counted(reader, {"gone": 1, "broken": 1, "well": 3}))
        assert "gone" not in firehose.roster.tracks


async def test_an_operator_sees_relays_and_what_they_have_made(
    broker: Broker, bus: Bus, subjects: Subjects, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)

    async def doctor() -> list[tuple[bool, str]]:
        return [(found.ok, found.text) for found in await check_server(broker.url) if found.name == "relay"]

    async def seen() -> dict[str, str]:
        return {found.name: found.problem for found in await inspect(bus, subjects, partitions=1)}

    made = {subjects.named("EVENTS"), f"KV_{subjects.named(RELAYED)}"}
    assert not made & set(await seen())
    assert await doctor() == []
    async with relay(bus, subjects, "one"):
        members = await Operations(bus=bus, subjects=subjects).members()
        assert [(member.kind, member.name) for member in members] == [("relay", "relay.one")]
        assert await doctor() == [(True, "1 alive")]
    assert await doctor() == [(False, "none alive: the firehose stands still")]
    assert {name: problem for name, problem in (await seen()).items() if name in made} == dict.fromkeys(
        made, ""
    )


async def test_a_relay_shows_how_far_it_is_behind(bus: Bus, subjects: Subjects, logs: Logs) -> None:
    found = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[found])
    telemetry.join(TracerProvider(), meters.get_meter("test"))

    def shown() -> dict[str, float]:
        data = found.get_metrics_data()
        return {
            metric.name: point.value
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    try:
        await ensure_firehose(bus, subjects, events(subjects))
        firehose = Firehose(bus, subjects, "a")
        await logs.commit("s", "one", "two")
        await logs.commit("s", "three")
        async with gauges(firehose.roster):
            await firehose.roster.survey()
            waiting = shown()
            assert waiting["vagus.relay.behind"] == 2
            assert waiting["vagus.relay.lag"] > 0
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(firehose.press)
                tasks.start_soon(firehose.carry)
                await eventually(lambda: not firehose.roster.behind)
                await eventually(lambda: firehose.roster.lag_s == 0)
                tasks.cancel_scope.cancel()
            assert shown() == {
                "vagus.relay.events": 3,
                "vagus.relay.lag": 0,
                "vagus.relay.behind": 0,
                "vagus.relay.sessions": 1,
            }
    finally:
        telemetry.shut_down()
        meters.shutdown()


def hinted(subjects: Subjects, firehose: Firehose, session: str, head: int) -> None:
    """Tell it what the feed would."""
    firehose.roster.hint(Message(subjects.feed(session, "main"), b"", {"Nats-Sequence": str(head)}))


async def _stored(bus: Bus, subjects: Subjects, count: int) -> bool:
    """So many events were put into the firehose, whatever it still has of them."""
    info = await bus.api(f"STREAM.INFO.{subjects.named('EVENTS')}")
    return msgspec.convert(info["state"], dict[str, object])["last_seq"] == count


async def _counted(reader: Downstream, wanted: dict[str, int]) -> bool:
    """The firehose has so many events of each session, and nothing else."""
    return {session: len(lines) for (session, _), lines in (await reader.lines()).items()} == wanted


@asynccontextmanager
async def hosed(
    bus: Bus,
    subjects: Subjects,
    name: str,
    *,
    beginning: Beginning = Beginning.ALL,
    hinted: bool = True,
) -> AsyncIterator[Firehose]:
    """A firehose that takes all sessions for its own, without the process around it."""
    await ensure_firehose(bus, subjects, events(subjects))
    firehose = Firehose(bus, subjects, name)
    await firehose.cursors.begin(beginning)
    hints = await bus.subscribe_callback(subjects.feed(), firehose.roster.hint) if hinted else None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(firehose.press)
        for _ in range(4):
            tasks.start_soon(firehose.carry)
        yield firehose
        tasks.cancel_scope.cancel()
    if hints is not None:
        await hints.unsubscribe()
