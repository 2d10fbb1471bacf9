"""When a session's snapshot is kept: after so many events, when nobody speaks to it, at the end."""

import logging
from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from vagus.contract import limits
from vagus.contract.errors import VagusError
from vagus_kernel.filewriter import FileWriter
from vagus_kernel.ledger import Ledger

_log = logging.getLogger(__name__)


class Keeping:
    """The snapshots of one session, one after the other."""

    def __init__(self, ledger: Ledger, files: FileWriter) -> None:
        self._ledger = ledger
        self._files = files
        self._wanted = False
        self._taking = False

    @property
    def behind(self) -> bool:
        """Whether there is anything that the latest snapshot does not have."""
        return self._ledger.snapshot_due(1)

    def want(self) -> None:
        """Have one taken at the next occasion, however few events it is about."""
        self._wanted = True

    def begin(self, tasks: TaskGroup) -> None:
        """Take one beside, if it is due or wanted."""
        due, self._wanted = 1 if self._wanted else limits.SNAPSHOT_EVENTS, False
        if not self._taking and self._ledger.snapshot_due(due):
            self._taking = True
            tasks.start_soon(self.take, self._files.written)

    async def take(self, written: Callable[[], Awaitable[None]]) -> None:
        """Only of what is in the files as well: they are rebuilt from what comes after the snapshot."""
        try:
            snapshot = self._ledger.take_snapshot()
            if snapshot is not None:
                await written()
                await self._ledger.keep(snapshot)
        except VagusError as error:
            _log.warning("no snapshot of session %s: %s", self._ledger.session_id, error)
        finally:
            self._taking = False
