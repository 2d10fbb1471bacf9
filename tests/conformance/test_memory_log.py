import pytest

from tests.conformance.event_log_suite import EventLogSuite
from vagus.contract.errors import OutcomeUnknown
from vagus.runtime.memory_log import MemoryLog


class MemoryRig:
    """One log for both writers; what is lost is told, and settled by repeating the call."""

    def __init__(self) -> None:
        self.log = self.rival = MemoryLog()

    @property
    def lost(self) -> bool:
        return not self.log.failing

    def lose_next_ack(self, *, takes_again: bool = True) -> None:
        self.log.fail_next(OutcomeUnknown(), after_store=True)

    def lose_next_commit(self) -> None:
        self.log.fail_next(OutcomeUnknown())

    async def mend(self) -> None:
        pass

    async def restart(self) -> None:
        pass


class TestMemoryLog(EventLogSuite):
    @pytest.fixture
    def rig(self) -> MemoryRig:
        return MemoryRig()
