"""Moving the log of one session to the archive, and back at somebody's wish."""

from typing import TYPE_CHECKING

from vagus.contract.commands import ArchiveSession, RestoreSession
from vagus.contract.errors import Malformed, Refused, VagusError
from vagus.contract.replies import LogPlace
from vagus_kernel.inputs import Mark

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor


class Archiving:
    """Of one actor. While it moves the log the actor does nothing else; inputs wait in the mailbox."""

    def __init__(self, actor: "Actor") -> None:
        self._actor = actor

    async def handle(self, command: ArchiveSession | RestoreSession) -> LogPlace | VagusError:
        """Move the log, unless it is there; returns where it is then, or why it could not be moved.

        Raises:
            Conflict: Another kernel has written to the log, or moves it.
            Unavailable, OutcomeUnknown: It cannot be done now; wherever it was left, repeating goes on.
        """
        ledger = self._actor.ledger
        try:
            match command:
                case ArchiveSession():
                    refused = await self._archive(command)
                case RestoreSession():
                    refused = None
                    await ledger.restore()
        except (Malformed, Refused) as error:  # it is damaged, or the server will not have it
            refused = error
        if refused is not None:
            return refused
        self._actor.projections.touch()
        await self._actor.projections.flush(ledger, now=True)
        return LogPlace(
            session_id=self._actor.session_id,
            archived=ledger.archived,
            stream_sequence=ledger.stream_sequence,
        )

    async def _archive(self, command: ArchiveSession) -> VagusError | None:
        actor, ledger = self._actor, self._actor.ledger
        keeper = actor.ports.keeper
        if keeper is None:
            return Refused("this kernel archives nothing")
        if await keeper.tidy(actor.session_id):
            ledger.archived = True
            return None
        if command.archive_session.stream_sequence not in (None, ledger.stream_sequence):
            return Refused(f"session {actor.session_id} was used meanwhile")
        if actor.waiting or any(lane.holder or lane.waiting for lane in actor.lanes.values()):
            return Refused(f"inputs wait for session {actor.session_id}: archive it when it is at rest")
        await ledger.own()
        begun = await keeper.begin(actor.session_id)
        marked = await actor.apply(Mark(command_id=command.command_id, copy=begun.placement.copy or ""))
        if isinstance(marked, VagusError):
            return marked
        await keeper.archive(actor.session_id, begun, ledger.stream_sequence)
        ledger.archived = True
        return None
