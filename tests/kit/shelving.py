"""Logs that go to the archive, without a kernel."""

from collections.abc import Awaitable, Callable

from tests.kit.downstream import Branches, Downstream
from tests.kit.writing import Logs
from vagus.contract.extensions import LogCopied
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.bus import Bus


async def archived(
    bus: Bus,
    subjects: Subjects,
    logs: Logs,
    session: str,
    *,
    marked: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Archive a log as a kernel does; `marked` is called when it is all there, and still a stream."""
    keeper = Keeper(bus, subjects)
    begun = await keeper.begin(session)
    await logs.commit(session, LogCopied(copy=begun.placement.copy or "").event())
    if marked is not None:
        await marked()
    await keeper.archive(session, begun, logs.heads[session])


async def shelved(bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream, *sessions: str) -> Branches:
    """Archive the logs of these sessions; returns what they had."""
    found = Branches()

    async def look() -> None:
        found.update(await reader.logged([session]))

    for session in sessions:
        await archived(bus, subjects, logs, session, marked=look)
    return found
