"""Few faults at every step of small worlds; and that a protocol which is broken on purpose is found out."""

import logging
from collections.abc import Iterator

import pytest

from tests.model.explore import explore, problem, schedules
from tests.model.scenario import SCENARIOS
from tests.model.schedule import Fault, Kind, parse, write
from vagus.contract.codec import Sealed
from vagus.runtime.eventlog import At, Expected, NoStream
from vagus.runtime.memory_log import MemoryLog
from vagus_kernel import evolve


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Kernels that die by the hundred have much to say."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scenario", ["text", "tool", "reading"])
def test_every_schedule_of_one_fault_holds(scenario: str) -> None:
    count, failure = explore(scenario, schedules(scenario, 1))
    assert failure is None, str(failure)
    assert count > len(Kind) * 10


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_schedules_of_three_faults_hold(scenario: str) -> None:
    count, failure = explore(scenario, schedules(scenario, 3, sample=60, seed=3))
    assert failure is None, str(failure)
    assert count == 60


def test_a_log_without_a_fence_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(self: MemoryLog, session: str, branch: str, sealed: Sealed, expected: Expected) -> int:
        head = await self.head(session)
        return await fenced(self, session, branch, sealed, At(head) if head else NoStream())

    fenced = MemoryLog.commit
    monkeypatch.setattr(MemoryLog, "commit", commit)
    _, failure = explore("tool", ((Fault(step, Kind.SPLIT),) for step in range(60)))
    assert failure is not None
    assert problem(failure.scenario, parse(write(failure.schedule))) == failure.problem
    monkeypatch.undo()
    assert problem(failure.scenario, failure.schedule) is None


def test_a_kernel_that_forgets_what_it_has_handled_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "_remember", lambda ids, new: ids)
    _, failure = explore("copies", schedules("copies", 2, sample=50, seed=1))
    assert failure is not None
    assert len(failure.schedule) == 1, "one fault is enough, whichever makes an input come again"


def test_a_schedule_is_written_and_read_back() -> None:
    schedule = (Fault(3, Kind.STALL), Fault(17, Kind.WAKE))
    assert write(schedule) == "3:stall 17:wake"
    assert parse("17:wake 3:stall") == schedule
