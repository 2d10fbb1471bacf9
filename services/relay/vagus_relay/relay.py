"""The relay process: a share of all sessions, carried into the firehose."""

import logging
from collections.abc import Awaitable, Callable

import anyio

from vagus.contract import streams
from vagus.contract.errors import VagusError
from vagus.runtime.bus import Bus
from vagus.runtime.members import Lease, Members, members
from vagus.runtime.provision import ensure_firehose
from vagus_relay.firehose import NOTE_S, Firehose
from vagus_relay.settings import RelaySettings

_log = logging.getLogger(__name__)


async def serve(
    bus: Bus, settings: RelaySettings, draining: anyio.Event, *, started: Callable[[], None]
) -> None:
    """Carry until `draining` is set; what is under way then is finished and noted."""
    subjects, me = settings.subjects, f"relay.{settings.instance}"
    if settings.provision:
        events = streams.events(subjects, max_age_s=settings.events_age_s, max_bytes=settings.events_bytes)
        await ensure_firehose(bus, subjects, events, replicas=settings.replicas)
    firehose = Firehose(bus, subjects, me)
    await firehose.cursors.begin(settings.events_from)
    hints = await bus.subscribe_callback(subjects.feed(), firehose.hint)
    try:
        async with Lease(bus, subjects, me), members(bus, subjects, "relay.*") as view:
            firehose.share({*view.live, me})
            await firehose.survey()
            async with anyio.create_task_group() as watch:
                watch.start_soon(_share, firehose, view, me)
                watch.start_soon(_again, firehose.survey, settings.survey_s)
                watch.start_soon(_again, firehose.note, NOTE_S)
                watch.start_soon(firehose.press)
                async with anyio.create_task_group() as carriers:
                    for _ in range(settings.relay_concurrency):
                        carriers.start_soon(firehose.carry)
                    started()
                    await draining.wait()
                    firehose.leave()
                await firehose.note()
                watch.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(1, shield=True):
            await hints.unsubscribe()


async def _share(firehose: Firehose, view: Members, me: str) -> None:
    while True:
        await view.changed()
        firehose.share({*view.live, me})
        await _tried(firehose.survey)


async def _again(work: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await anyio.sleep(every_s)
        await _tried(work)


async def _tried(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except VagusError as error:
        _log.warning("tried again later: %s", error)
