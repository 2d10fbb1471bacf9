"""The relay process: a share of all sessions, carried into the firehose."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

from vagus.contract import streams
from vagus.contract.subjects import Subjects
from vagus.runtime.beside import beside
from vagus.runtime.bus import Bus, Message
from vagus.runtime.members import Lease, Members, members
from vagus.runtime.provision import ensure_firehose
from vagus_relay.firehose import Firehose
from vagus_relay.gauges import gauges
from vagus_relay.settings import RelaySettings

KIND: Final = "relay"
NOTE_S: Final = 3.0
"""How far notes are behind the firehose; less than what an erasure waits before it looks for traces again."""
CLOSE_S: Final = 1.0


async def serve(
    bus: Bus, settings: RelaySettings, draining: anyio.Event, *, started: Callable[[], None]
) -> None:
    """Carry until `draining` is set; what is under way then is finished and noted."""
    subjects, me = settings.subjects, f"{KIND}.{settings.instance}"
    if settings.provision:
        events = streams.events(subjects, max_age_s=settings.events_age_s, max_bytes=settings.events_bytes)
        await ensure_firehose(bus, subjects, events, replicas=settings.replicas)
    firehose = Firehose(bus, subjects, me)
    await firehose.cursors.begin(settings.events_from)

    async def noting() -> None:
        while True:
            await anyio.sleep(NOTE_S)
            await firehose.note()

    async with (
        _hearing(bus, settings, firehose),
        Lease(bus, subjects, me),
        members(bus, subjects, f"{KIND}.*") as view,
    ):
        firehose.roster.share({*view.live, me})
        async with (
            gauges(firehose.roster),
            beside(
                lambda: _sharing(firehose, view, me),
                lambda: firehose.roster.surveys(settings.survey_s),
                firehose.press,
                noting,
            ),
            anyio.create_task_group() as carriers,
        ):
            for _ in range(settings.relay_concurrency):
                carriers.start_soon(firehose.carry)
            started()
            await draining.wait()
            firehose.leave()
        await firehose.note()


@asynccontextmanager
async def _hearing(bus: Bus, settings: RelaySettings, firehose: Firehose) -> AsyncIterator[None]:
    """Hear of commits while the block lasts, and of whatever may have kept a commit from being told of."""
    subjects = settings.subjects
    logs = subjects.session_stream("")

    def led(advisory: Message) -> None:  # the former leader may have died before it told the feed
        if Subjects.last_token(advisory.subject).startswith(logs):
            firehose.roster.survey_soon()

    forget = bus.on_reconnect(firehose.roster.survey_soon)
    subscriptions = [
        await bus.subscribe_callback(subjects.feed(), firehose.roster.hint),
        await bus.subscribe_callback(subjects.stream_elected(), led),
    ]
    try:
        yield
    finally:
        forget()
        with anyio.move_on_after(CLOSE_S, shield=True):
            for subscription in subscriptions:
                await subscription.unsubscribe()


async def _sharing(firehose: Firehose, view: Members, me: str) -> None:
    while True:
        await view.changed()
        firehose.roster.share({*view.live, me})
