"""How events get into a sink: again after a failure, in order within a session, and never lost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from tests.kit.sinks import FakeSink, FakeSource, given, several
from tests.kit.waiting import eventually
from vagus.runtime import telemetry
from vagus_relay.sinks.carrier import Carrier
from vagus_relay.sinks.lanes import Lanes
from vagus_relay.sinks.patience import Patience
from vagus_relay.sinks.port import Delivery, Poison, TryLater
from vagus_relay.sinks.tally import Tally, observed

QUICK = Patience(first_s=0.001, most_s=0.002)


@asynccontextmanager
async def running(carrier: Carrier | Lanes) -> AsyncIterator[anyio.Event]:
    draining = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.run, draining)
            yield draining
            draining.set()


class Failing:
    """Refuses so many times."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.error = error or TryLater("away")

    def __call__(self, batch: Sequence[Delivery]) -> None:
        if batch and self.left:
            self.left -= 1
            raise self.error


@pytest.mark.parametrize("lanes", [False, True])
async def test_what_fails_is_tried_again_and_acked_when_it_is_delivered(lanes: bool) -> None:
    source, sink, tally = FakeSource(), FakeSink(fail=Failing(3)), Tally("x")
    events = several("s", 5)
    source.put(events)
    made = Lanes if lanes else Carrier
    async with running(made(source, sink, tally, patience=QUICK)):
        await eventually(lambda: source.acked == events)
    assert sink.written == events
    assert (tally.delivered, tally.failed, tally.retries, tally.held()) == (5, 0, 3, 0)


@pytest.mark.parametrize("lanes", [False, True])
async def test_poison_is_buried_and_the_others_are_delivered(lanes: bool) -> None:
    events = several("s", 5)

    def refuse(batch: Sequence[Delivery]) -> None:
        if events[2] in batch:
            raise Poison(events[2], "not this one")

    source, sink, tally = FakeSource(), FakeSink(fail=refuse), Tally("x")
    source.put(events)
    made = Lanes if lanes else Carrier
    async with running(made(source, sink, tally, patience=QUICK)):
        await eventually(lambda: len(source.acked) == 4)
    assert events[2].reason == "not this one"
    assert sink.written == [event for event in events if event is not events[2]]
    assert (tally.delivered, tally.failed) == (4, 1)


async def test_a_drain_leaves_what_is_not_delivered_to_come_again() -> None:
    source, sink = FakeSource(), FakeSink(fail=Failing(10**9))
    source.put(several("s", 5))
    carrier = Carrier(source, sink, Tally("x"), patience=Patience(first_s=600, most_s=600))
    async with running(carrier):
        await eventually(lambda: source.open)
    assert (source.acked, sink.written) == ([], [])


async def test_a_sink_is_told_when_nothing_comes() -> None:
    told: list[Sequence[Delivery]] = []
    source, sink = FakeSource(), FakeSink(fail=told.append)
    async with running(Carrier(source, sink, Tally("x"), patience=QUICK)):
        await eventually(lambda: told)
    assert set(map(len, told)) == {0}


async def test_a_session_that_fails_does_not_hold_up_the_others() -> None:
    def refuse(batch: Sequence[Delivery]) -> None:
        if batch[0].session_id == "bad":
            raise TryLater("no")

    source, sink, tally = FakeSource(), FakeSink(fail=refuse), Tally("x")
    events = [event for pair in zip(several("bad", 20), several("good", 20), strict=True) for event in pair]
    source.put(events)
    lanes = Lanes(source, sink, tally, concurrency=1, patience=QUICK)
    async with running(lanes):
        await eventually(lambda: len(source.acked) == 20)
        assert [event.sequence for event in sink.written] == list(range(1, 21))
        assert {event.session_id for event in sink.written} == {"good"}
        sink.fail = None
        await eventually(lambda: len(source.acked) == 40)
    late = [event.sequence for event in sink.written if event.session_id == "bad"]
    assert late == list(range(1, 21))


async def test_a_session_that_fails_for_too_long_goes_to_the_dead_letters_until_it_is_well() -> None:
    now = 0.0
    source, tally = FakeSource(), Tally("x")
    sink = FakeSink(fail=Failing(10**9))
    events = several("s", 4)
    source.put(events)
    lanes = Lanes(source, sink, tally, give_up_s=86_400, patience=QUICK, clock=lambda: now)
    async with running(lanes):
        await eventually(lambda: tally.retries > 3)
        assert events[0].reason is None
        now = 86_401.0
        await eventually(lambda: tally.failed == 4)
        assert events[0].reason == "not delivered within 24 h: away"
        sink.fail = None
        source.put(several("s", 5, 5))
        await eventually(lambda: tally.delivered == 1)
        sink.fail = Failing(2)  # the clock has begun anew
        source.put(several("s", 6, 6))
        await eventually(lambda: tally.delivered == 2)
    assert tally.failed == 4


async def test_a_sink_that_begins_anew_goes_on_with_the_time_of_a_session_that_fails() -> None:
    now = 0.0
    source, tally = FakeSource(), Tally("x")
    sink = FakeSink(fail=Failing(10**9))
    (event,) = events = several("s", 1)
    source.put(events)
    async with running(Lanes(source, sink, tally, patience=QUICK, clock=lambda: now)):
        await eventually(lambda: tally.retries)
    source.given.clear()
    source.put(events)
    now = 86_401.0
    async with running(Lanes(source, sink, tally, patience=QUICK, clock=lambda: now)):
        await eventually(lambda: tally.failed)
    assert (event.failing_since, event.reason) == (0, "not delivered within 24 h: away")


async def test_what_comes_after_what_was_given_up_is_given_up_by_the_next_process_too() -> None:
    now = 0.0
    source, tally = FakeSource(), Tally("x")
    sink = FakeSink(fail=Failing(10**9))
    events = several("s", 2)
    source.put(events)
    async with running(Lanes(source, sink, tally, patience=QUICK, clock=lambda: now)):
        await eventually(lambda: tally.retries)
        now = 86_401.0
        await eventually(lambda: tally.failed == 2)
    assert [event.failing_since for event in events] == [0, 0]


async def test_no_more_is_taken_than_is_held_at_most() -> None:
    source, tally = FakeSource(), Tally("x")
    sink = FakeSink(fail=Failing(10**9))
    source.put(given(f"s{number}") for number in range(30))
    async with running(Lanes(source, sink, tally, held=10, patience=QUICK)):
        await eventually(lambda: tally.retries > 30)
        assert (len(source.given), tally.held()) == (10, 10)
        sink.fail = None
        await eventually(lambda: tally.delivered == 30)


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    patience = Patience(first_s=1, most_s=60)
    assert [patience.wait_s(n, spread=lambda: 1.0) for n in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    assert patience.wait_s(3, spread=lambda: 0.0) == 3


def test_a_receivers_wish_is_kept_within_reason() -> None:
    patience = Patience(first_s=1, most_s=60)
    assert patience.wait_s(1, 30, spread=lambda: 1.0) == 30
    assert patience.wait_s(1, 10**9, spread=lambda: 1.0) == 3600


def test_the_lag_is_the_age_of_what_waits() -> None:
    tally = Tally("x", now=lambda: 1_795_428_060.0)
    assert tally.lag_s == 0
    tally.oldest = lambda: [given(at="2026-11-23T10:00:00Z"), given(at="2026-11-23T10:00:30Z")]
    assert tally.lag_s == 60


def test_gauges_tell_of_each_sink_by_its_name() -> None:
    reader = InMemoryMetricReader()
    telemetry.join(TracerProvider(), MeterProvider(metric_readers=[reader]).get_meter("tests"))
    one, two = Tally("one"), Tally("two")
    one.delivered, two.failed = 7, 2
    try:
        with observed([one, two]):
            data = reader.get_metrics_data()
    finally:
        telemetry.shut_down()
    assert data is not None
    shown = {
        (metric.name, point.attributes["vagus.sink"]): point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    names = ("lag", "held", "delivered", "failed", "retries")
    assert shown.keys() == {(f"vagus.sink.{name}", sink) for name in names for sink in ("one", "two")}
    assert (shown["vagus.sink.delivered", "one"], shown["vagus.sink.failed", "two"]) == (7, 2)
