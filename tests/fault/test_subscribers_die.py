"""Subscribers of one name are killed and stopped at work: nothing is left out, nothing overtaken."""

import signal
from collections import Counter
from pathlib import Path

import anyio
import msgspec

from tests.kit.broker import Broker
from tests.kit.firehose import Firehose
from tests.kit.processes import process
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus

SESSIONS = [f"s{number}" for number in range(24)]


class Entry(msgspec.Struct, frozen=True):
    """A line of the ledger."""

    name: str
    what: str
    session: str
    sequence: int


class Ledger:
    """What all subscribers have done, in the order in which they did it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.txt"
        self.path.touch()

    def mark(self, what: str) -> None:
        with self.path.open("a") as file:
            file.write(f"test {what} - 0\n")

    def entries(self) -> list[Entry]:
        rows = (line.split() for line in self.path.read_text().splitlines() if line)
        return [Entry(name, what, session, int(sequence)) for name, what, session, sequence in rows]

    def ended(self) -> set[tuple[str, int]]:
        return {(entry.session, entry.sequence) for entry in self.entries() if entry.what == "ends"}


def check_order(entries: list[Entry]) -> None:
    """An event is begun only when all before it in its session have ended."""
    heads: Counter[str] = Counter()
    for entry in entries:
        if entry.what == "begins":
            assert entry.sequence <= heads[entry.session] + 1, f"{entry} overtook {heads[entry.session] + 1}"
        elif entry.what == "ends":
            heads[entry.session] = max(heads[entry.session], entry.sequence)


def check_repetitions(entries: list[Entry], casualties: set[str]) -> None:
    """What was done twice had been begun by one of those who did not come to say that it was done."""
    begun: dict[tuple[str, int], list[str]] = {}
    for entry in entries:
        if entry.what == "begins":
            begun.setdefault((entry.session, entry.sequence), []).append(entry.name)
    for event, names in begun.items():
        assert set(names[:-1]) <= casualties, f"{event} was done by {names}"


def check_the_sleeper(entries: list[Entry], name: str) -> None:
    """Who was stopped begins nothing that others have done meanwhile."""
    at = next(number for number, entry in enumerate(entries) if entry.what == "resumes")
    done: set[tuple[str, int]] = set()
    late: list[Entry] = []
    for number, entry in enumerate(entries):
        if entry.what == "ends" and entry.name != name:
            done.add((entry.session, entry.sequence))
        again = (entry.session, entry.sequence) in done
        if number > at and entry.name == name and entry.what == "begins" and again:
            late.append(entry)
    assert len(late) <= 1, late  # what it was handed in the very moment in which it was stopped


async def test_a_killed_and_a_stopped_subscriber_leave_nothing_out_and_overtake_nothing(
    broker: Broker, bus: Bus, subjects: Subjects, tmp_path: Path
) -> None:
    firehose, ledger = Firehose(bus, subjects), Ledger(tmp_path)
    await firehose.make()
    stored: set[tuple[str, int]] = set()

    async def fill(rounds: int) -> None:
        for _ in range(rounds):
            for session in SESSIONS:
                record = await firehose.put(session)
                stored.add((session, record.sequence))

    def environ(name: str) -> dict[str, str]:
        return {
            "SUBSCRIBER": name,
            "LEDGER": str(ledger.path),
            "VAGUS_SERVER": broker.url,
            "VAGUS_ROOT_SUBJECT": subjects.root,
        }

    def busy(name: str) -> bool:
        return sum(entry.name == name for entry in ledger.entries()) > 20

    await fill(20)
    async with (
        process("tests.kit.subscriber", environ("killed"), tmp_path / "killed.log") as killed,
        process("tests.kit.subscriber", environ("stopped"), tmp_path / "stopped.log") as stopped,
        process("tests.kit.subscriber", environ("heir"), tmp_path / "heir.log"),
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(fill, 40)
            for name in ("killed", "stopped", "heir"):
                await eventually(lambda name=name: busy(name), timeout_s=60, every_s=0.1)
            killed.send(signal.SIGKILL)
            stopped.send(signal.SIGSTOP)
        await eventually(lambda: ledger.ended() >= stored, timeout_s=90, every_s=0.2)
        ledger.mark("resumes")
        stopped.send(signal.SIGCONT)
        await fill(10)
        await eventually(lambda: ledger.ended() >= stored, timeout_s=90, every_s=0.2)
    entries = ledger.entries()
    check_order(entries)
    check_repetitions(entries, {"killed", "stopped"})
    check_the_sleeper(entries, "stopped")
    assert {entry.name for entry in entries} >= {"killed", "stopped", "heir"}
