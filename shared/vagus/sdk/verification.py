"""Checks that a session's log, as it can be read, is whole."""

from contextlib import aclosing

from vagus.contract.errors import Malformed, SessionNotFound
from vagus.contract.sessions import SessionSummary
from vagus.runtime.eventlog import EventLog
from vagus.runtime.verifier import Verification, Verifier

__all__ = ["Verification", "Verifier", "verify"]


async def verify(log: EventLog, session_id: str, known: SessionSummary | None) -> Verification:
    """Check a whole log up to its present end; `known` is what the registry had before.

    A commit that cannot be read does not end it: what follows is checked too. Raises `SessionNotFound` if
    neither log nor registry knows the session.
    """
    try:
        head = await log.head(session_id)
    except SessionNotFound:
        head = 0
    if not head and known is None:
        raise SessionNotFound(f"session not found: {session_id}")
    verifier, after, single = Verifier(session_id), 0, False
    while after < head and not verifier.full:
        try:
            async with aclosing(
                log.commits(session_id, after=after, until=after + 1 if single else head)
            ) as commits:
                async for commit in commits:
                    verifier.take(commit)
                    after = commit.stream_sequence
        except Malformed:  # a page of commits, one of which cannot be read; one by one it is found
            after += single
            single = not single
    return verifier.result(after, known if after >= head else None)
