"""Reads what the processes publish about sessions and tools."""

from vagus.contract.errors import Malformed, SessionNotFound
from vagus.contract.messages import decode
from vagus.contract.policy import PolicyInForce
from vagus.contract.sessions import SessionSummary
from vagus.contract.streams import POLICIES, SESSIONS, TOOLBOX
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolboxEntry, ToolDefinition
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import EventLog
from vagus.sdk.summary import advanced


class Registry:
    """The buckets that clients may read."""

    def __init__(self, *, bus: Bus, log: EventLog, subjects: Subjects) -> None:
        self._log = log
        self._policies = Bucket(bus, subjects.named(POLICIES))
        self._sessions = Bucket(bus, subjects.named(SESSIONS))
        self._toolbox = Bucket(bus, subjects.named(TOOLBOX))

    async def sessions(self) -> list[SessionSummary]:
        """All sessions, newest first; each entry at most a second behind its log."""
        summaries = [decode(entry.value, SessionSummary) for entry in await self._sessions.entries()]
        return sorted(summaries, key=lambda s: (s.manifest.created_at, s.manifest.session_id), reverse=True)

    async def known(self, session_id: str) -> SessionSummary | None:
        """One session as the registry has it; None if it has none, or none that can be read."""
        entry = await self._sessions.get(session_id)
        try:
            return None if entry is None else decode(entry.value, SessionSummary)
        except Malformed:
            return None

    async def summary(self, session_id: str) -> SessionSummary:
        """One session as of its log's present end; raises `SessionNotFound`."""
        entry = await self._sessions.get(session_id)
        summary = None if entry is None else decode(entry.value, SessionSummary)
        after = 0 if summary is None else summary.stream_sequence
        async for commit in self._log.commits(session_id, after=after):
            summary = advanced(summary, commit.records(), commit.stream_sequence)
        if summary is None:
            raise SessionNotFound(f"session not found: {session_id}")
        return summary

    async def policy(self, session_id: str) -> PolicyInForce:
        """The policy that the gate holds a session to, and its version; raises `SessionNotFound`."""
        entry = await self._policies.get(session_id, fresh=True)
        if entry is None:
            raise SessionNotFound(f"session not found: {session_id}")
        return decode(entry.value, PolicyInForce)

    async def tools(self) -> list[ToolDefinition]:
        """All registered tools, by name."""
        entries = [decode(entry.value, ToolboxEntry) for entry in await self._toolbox.entries()]
        by_name = {entry.definition.name: entry.definition for entry in entries}
        return [by_name[name] for name in sorted(by_name)]
