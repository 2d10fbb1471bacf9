"""Logs that go to the archive, without a kernel."""

from tests.kit.downstream import Branches, Downstream
from tests.kit.writing import Logs
from vagus.contract.extensions import LogCopied
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.bus import Bus


async def shelved(bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream, *sessions: str) -> Branches:
    """Archive the logs of these sessions as a kernel does; returns what they had, the mark included."""
    keeper, found = Keeper(bus, subjects), Branches()
    for session in sessions:
        begun = await keeper.begin(session)
        await logs.commit(session, LogCopied(copy=begun.placement.copy or "").event())
        found |= await reader.logged([session])
        await keeper.archive(session, begun, logs.heads[session])
    return found
