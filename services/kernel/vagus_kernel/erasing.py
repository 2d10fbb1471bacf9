"""Erasing the session of one actor, as its tombstone orders: whatever it was, nothing is left but that.

The order of the steps makes it safe to die between any two: the command stays on the queue until all is done,
and who takes it next goes on by what the tombstone says and the log still holds.
"""

import shutil
from typing import TYPE_CHECKING, Final

import anyio
from anyio.to_thread import run_sync
from msgspec.structs import replace

from vagus.contract import limits
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.erasures import Erasure
from vagus.contract.errors import Malformed, Refused, Unavailable
from vagus.contract.ids import MAIN
from vagus.contract.messages import decode
from vagus.runtime import clock
from vagus.runtime.eraser import Eraser
from vagus.runtime.faults import hit
from vagus.runtime.graves import Graves, erased

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor

_LOOK_S: Final = 0.05

CLOSED: Final = "kernel.erase_closed"
"""Fault point: the log ends, and is all there."""
NOTED: Final = "kernel.erase_noted"
"""Fault point: the tombstone says what the session was."""
TOLD: Final = "kernel.erase_told"
LOG_REMOVED: Final = "kernel.erase_log_removed"
SWEPT: Final = "kernel.erase_swept"
DONE: Final = "kernel.erase_done"
"""Fault point: nothing is left, and nobody was told yet."""


class Erasing:
    """Of one actor. While it erases the actor does nothing else; inputs wait in the mailbox."""

    def __init__(self, actor: "Actor") -> None:
        self._actor = actor
        self._graves = Graves(actor.ports.bus, actor.ports.subjects)
        self._eraser = Eraser(actor.ports.bus, actor.ports.subjects)

    async def ordered(self) -> Erasure | None:
        """The tombstone, if somebody has ordered the erasure."""
        return await self._graves.find(self._actor.session_id)

    def unordered(self) -> Refused:
        """What is said to whoever may speak to sessions, and may not order their erasure."""
        return Refused(
            f"nobody has ordered session {self._actor.session_id} to be erased: an operator does, by "
            "`vagus session erase`"
        )

    async def carry_out(self, order: Erasure) -> Erasure:
        """Erase the session, which is closed or gone; returns its tombstone.

        Raises:
            Conflict: Another kernel has written to the log.
            Unavailable, OutcomeUnknown: It cannot be done now; repeating goes on where it was left.
        """
        if order.erased_at is not None:
            return order
        actor, session_id = self._actor, self._actor.session_id
        order = await self._noted(order)
        hit(NOTED)
        await self._eraser.tell(order)
        hit(TOLD)
        await self._tickets_ended()
        await actor.ports.files.flushed()
        actor.ledger.forget(erased(order))  # no snapshot of it is kept any more
        await self._eraser.remove_log(session_id)
        hit(LOG_REMOVED)
        await self._sweep()
        hit(SWEPT)
        # Whoever had something of the session in hand, such as an approver a ticket, has put it down by now.
        await anyio.sleep(actor.ports.settings.erase_settle_s)
        await self._eraser.tell(order)
        await self._eraser.remove_log(session_id)
        await self._sweep()
        done = replace(order, erased_at=clock.now())
        await self._graves.note(done)
        hit(DONE)
        return done

    async def _noted(self, order: Erasure) -> Erasure:
        """What the session was, while there is a log that tells."""
        session = self._actor.session
        if session is None or order.events:
            return order
        heads = sum(branch.head_sequence for branch in session.branches.values())
        known = replace(order, events=heads, digest=self._actor.ledger.digest(MAIN))
        await self._graves.note(known)
        return known

    async def _tickets_ended(self) -> None:
        """An approver that is told to withdraw a ticket writes it once more: wait for that, if one lives."""
        tickets, keys = self._actor.ports.tickets, f"{self._actor.session_id}.*"
        with anyio.move_on_after(limits.ACK_WAIT_S):
            while any(  # noqa: ASYNC110 -- a watch would cost more
                _pending(entry.value) for entry in await tickets.entries(keys)
            ):
                await anyio.sleep(_LOOK_S)

    async def _sweep(self) -> None:
        await self._eraser.sweep(self._actor.session_id)
        settings, session_id = self._actor.ports.settings, self._actor.session_id
        for folder in (settings.workspace(session_id), settings.lake(session_id)):
            await run_sync(_remove, folder)


def _pending(ticket: bytes) -> bool:
    try:
        return decode(ticket, ApprovalTicket).state is TicketState.PENDING
    except Malformed:
        return False


def _remove(folder: str) -> None:
    """Remove a workspace with all that is in it; links are removed, and never followed."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"cannot remove {folder}: {error.strerror}") from error
