"""The process that runs sinks: each from a durable subscription of its name into its receiver."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, TypeVar

import anyio

from vagus.contract.errors import Transient
from vagus.contract.subscriptions import Filter
from vagus.runtime.bus import Bus
from vagus.runtime.subscription import Subscription, subscribe
from vagus_relay.sinks.carrier import Carrier
from vagus_relay.sinks.configuration import PostgresSink, SinkConfig, WebhookSink, read_sinks
from vagus_relay.sinks.lanes import Lanes
from vagus_relay.sinks.opening import opened
from vagus_relay.sinks.patience import Patience, pause
from vagus_relay.sinks.port import Sink
from vagus_relay.sinks.settings import SinkSettings
from vagus_relay.sinks.source import Source
from vagus_relay.sinks.tally import Tally, observed

PREFETCH: Final = 4096
"""Events that are read ahead for one sink, those that wait behind a session that fails included."""

T = TypeVar("T")

_log = logging.getLogger("vagus.sink")


async def serve(
    bus: Bus,
    settings: SinkSettings,
    draining: anyio.Event,
    *,
    environ: Mapping[str, str],
    started: Callable[[], None],
) -> None:
    """Run all sinks until `draining`; a sink whose receiver is away does not hold up the others."""
    sinks = read_sinks(settings.sinks)
    tallies = [Tally(name) for name in sinks]
    with observed(tallies):
        async with anyio.create_task_group() as tasks:
            tried = [anyio.Event() for _ in tallies]
            for tally, told in zip(tallies, tried, strict=True):
                tasks.start_soon(_run, bus, settings, tally, sinks[tally.name], environ, draining, told)
            for told in tried:
                await told.wait()
            started()


async def _run(
    bus: Bus,
    settings: SinkSettings,
    tally: Tally,
    config: SinkConfig,
    environ: Mapping[str, str],
    draining: anyio.Event,
    tried: anyio.Event,
) -> None:
    """One sink; sets `tried` when it runs, or when it is known that something is away."""
    wanted = Filter(
        sessions=config.sessions, branches=config.branches, kinds=config.kinds, owner=config.owner
    )

    def events() -> AbstractAsyncContextManager[Subscription]:
        return subscribe(
            bus, settings.subjects, wanted, durable=tally.name, start=config.start, prefetch=PREFETCH
        )

    async with AsyncExitStack() as stack:
        sink = await _entered(stack, lambda: opened(tally.name, config, environ), tally, draining, tried)
        source = await _entered(stack, events, tally, draining, tried)
        if sink is not None and source is not None:
            _log.info("sink %s runs", tally.name)
            tried.set()
            await _carrier(source, sink, tally, config).run(draining)
    tried.set()


async def _entered(
    stack: AsyncExitStack,
    make: Callable[[], AbstractAsyncContextManager[T]],
    tally: Tally,
    draining: anyio.Event,
    tried: anyio.Event,
) -> T | None:
    """The context's value, tried again for as long as it is away; None if we are to end before that."""
    patience, failures = Patience(), 0
    while not draining.is_set():
        try:
            return await stack.enter_async_context(make())
        except Transient as error:
            failures += 1
            tally.retries += 1
            wait_s = patience.wait_s(failures)
            _log.warning("sink %s: %s; trying again in %.1f s", tally.name, error, wait_s)
            tried.set()
            await pause(wait_s, until=draining)
    return None


def _carrier(source: Source, sink: Sink, tally: Tally, config: SinkConfig) -> Carrier | Lanes:
    match config:
        case WebhookSink():
            patience = Patience(first_s=config.retry_first_s, most_s=config.retry_most_s)
            return Lanes(
                source,
                sink,
                tally,
                concurrency=config.concurrency,
                give_up_s=config.retry_for_s,
                patience=patience,
            )
        case PostgresSink():
            return Carrier(source, sink, tally, limit=config.batch)
        case _:
            return Carrier(source, sink, tally)
