"""Files of events: whole, each event once, whatever was cut off."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from tests.kit.sinks import Given, given, several
from vagus.contract.errors import SettingsError
from vagus_relay.sinks.configuration import NdjsonSink, ParquetSink
from vagus_relay.sinks.encoding import Format
from vagus_relay.sinks.files import Files, entry, ndjson, parquet
from vagus_relay.sinks.port import Poison, TryLater
from vagus_relay.sinks.spool import Entry, Spool

HOUR = 3600.0


class Clock:
    now = 1_795_428_000.0

    def __call__(self) -> float:
        return self.now


def entries(events: list[Given]) -> list[Entry]:
    return [entry(event, Format.JSON) for event in events]


class Spools:
    """Makes spools, as often as a process starts, and closes the last."""

    def __init__(self) -> None:
        self._open: list[Spool] = []

    def __call__(self, folder: Path, clock: Clock | None = None, **more: object) -> Spool:
        options: dict[str, Any] = {
            "finish": os.replace, "suffix": ".ndjson", "roll_bytes": 10**9, "roll_s": HOUR,
        }  # fmt: skip
        self.close()
        made = Spool(folder, now=clock or Clock(), **(options | more))
        self._open.append(made)
        return made

    def close(self) -> None:
        while self._open:
            self._open.pop().close()


@pytest.fixture
def spool() -> Iterator[Spools]:
    made = Spools()
    yield made
    made.close()


def finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("day=*/*"))


def sequences(folder: Path) -> list[int]:
    return [
        msgspec.json.decode(line)["sequence"]
        for path in finished(folder)
        for line in path.read_bytes().splitlines()
    ]


def test_a_retried_event_is_written_once_behind_later_ones(tmp_path: Path, spool: Spools) -> None:
    events = [given(sequence=number) for number in (1, 3, 2, 2, 4)]
    events[2].retried = events[3].retried = True
    made = spool(tmp_path, roll_s=0)
    assert made.append(entries(events[:4])) == 3
    made = spool(tmp_path, roll_s=0)
    assert made.append(entries(events[2:])) == 1
    made.roll()
    assert sequences(tmp_path) == [1, 3, 2, 4]


def test_events_are_in_the_folder_of_their_day(tmp_path: Path, spool: Spools) -> None:
    made = spool(tmp_path, roll_s=0)
    first, second = given(at="2026-11-23T23:59:59.999Z"), given(sequence=2, at="2026-11-24T00:00:00Z")
    made.append(entries([first, second]))
    made.roll()
    assert [path.parent.name for path in finished(tmp_path)] == ["day=2026-11-23", "day=2026-11-24"]
    assert finished(tmp_path)[0].read_bytes() == first.line + b"\n"


def test_a_file_is_finished_when_it_is_old_or_large(tmp_path: Path, spool: Spools) -> None:
    clock = Clock()
    made = spool(tmp_path, clock, roll_bytes=1000)
    made.append(entries(several("s", 1)))
    assert made.roll() == 0
    clock.now += HOUR
    assert made.roll() == 1
    made.append(entries(several("s", 10, 2)))
    assert made.roll() == 1
    assert sequences(tmp_path) == list(range(1, 11))


def test_what_comes_again_is_not_written_again(tmp_path: Path, spool: Spools) -> None:
    made = spool(tmp_path, roll_s=0)
    events = entries(several("s", 5))
    assert made.append(events) == 5
    assert made.append(events[3:] + entries(several("s", 6, 6))) == 1
    again = spool(tmp_path, roll_s=0)
    assert again.append(events) == 0
    again.roll()
    assert sequences(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_session_that_was_made_again_under_its_id_is_written(tmp_path: Path, spool: Spools) -> None:
    made = spool(tmp_path)
    made.append(entries(several("s", 5)))
    assert made.append(entries([given("s", 1, agent="another")])) == 1


def test_what_a_crash_cut_off_is_overwritten(tmp_path: Path, spool: Spools) -> None:
    made = spool(tmp_path)
    made.append(entries(several("s", 2)))
    (growing,) = (tmp_path / ".vagus").glob("*.lines")
    with growing.open("ab") as file:
        file.write(b'{"half of an eve')
    (tmp_path / ".vagus" / "999999.lines").write_bytes(b"of a batch that was never committed\n")
    again = spool(tmp_path, roll_s=0)
    again.append(entries(several("s", 3, 3)))
    again.roll()
    assert sequences(tmp_path) == [1, 2, 3]
    assert list((tmp_path / ".vagus").glob("*.lines")) == []


@pytest.mark.parametrize("moved", [False, True])
def test_a_crash_while_a_file_is_finished_leaves_it_once(tmp_path: Path, spool: Spools, moved: bool) -> None:
    def cut(grown: Path, final: Path) -> None:
        if moved:
            grown.replace(final)
        raise SystemExit

    made = spool(tmp_path, roll_s=0, finish=cut)
    made.append(entries(several("s", 3)))
    with pytest.raises(SystemExit):
        made.roll()
    again = spool(tmp_path, roll_s=0)
    again.roll()
    assert sequences(tmp_path) == [1, 2, 3]


def test_a_folder_has_one_writer(tmp_path: Path, spool: Spools) -> None:
    spool(tmp_path)
    with pytest.raises(SettingsError, match="another process writes to the folder"):
        Spools()(tmp_path)
    spool(tmp_path)


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path, spool: Spools) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write to the folder"):
        spool(tmp_path / "file")


async def test_a_full_disk_is_tried_again_and_nothing_is_lost(tmp_path: Path, spool: Spools) -> None:
    def full(grown: Path, final: Path) -> None:
        raise OSError(28, "No space left on device")

    made = spool(tmp_path, roll_s=0, finish=full)
    with pytest.raises(TryLater, match="No space left"):
        await Files(made).write(several("s", 3))
    await Files(spool(tmp_path, roll_s=0)).write(several("s", 3))
    assert sequences(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "line", [b"no event", b'{"event_id":"e","session_id":"s","branch_id":"b","sequence":1,"kind":{}}']
)
async def test_what_is_no_event_is_poison(tmp_path: Path, spool: Spools, line: bytes) -> None:
    with pytest.raises(Poison):
        await Files(spool(tmp_path)).write([Given(line, "s", "b", 1)])


@pytest.mark.parametrize(
    "at", ["", "../../etc", "2026-11-23", "2026-13-01T00:00:00Z", "/2026-11-23T00:00:00Z"]
)
async def test_a_time_that_is_none_makes_no_folder(tmp_path: Path, spool: Spools, at: str) -> None:
    with pytest.raises(Poison):
        await Files(spool(tmp_path / "lake")).write([given(at=at)])
    assert [path.name for path in (tmp_path / "lake").iterdir()] == [".vagus"]


async def test_an_empty_batch_finishes_what_is_due(tmp_path: Path) -> None:
    async with ndjson(NdjsonSink(folder=tmp_path, roll_s=HOUR)) as sink:
        await sink.write(several("s", 3))
        assert finished(tmp_path) == []
    async with ndjson(NdjsonSink(folder=tmp_path, roll_s=1e-9)) as sink:
        await sink.write(())
    assert sequences(tmp_path) == [1, 2, 3]


async def test_lines_may_be_cloud_events(tmp_path: Path) -> None:
    async with ndjson(NdjsonSink(folder=tmp_path, roll_s=1e-9, format=Format.CLOUDEVENTS)) as sink:
        await sink.write(several("s", 2))
    (path,) = finished(tmp_path)
    first, second = map(msgspec.json.decode, path.read_bytes().splitlines())
    assert (first["specversion"], first["type"], second["subject"]) == ("1.0", "vagus.ErrorRaised", "s/main")
    assert first["data"]["sequence"] == 1


async def test_parquet_files_hold_the_events_as_columns(tmp_path: Path) -> None:
    events = [
        given("s", 1, {"type": "ErrorRaised", "message": "é\0"}, at="2026-11-23T10:00:00.123456789Z"),
        given("s", 2, {"type": "Custom", "event_type": "mine", "data": {"a": [1, 2.5]}}),
        given("s", 3, {"no": "type"}, actor=None, digest=None, correlation_id=None),
    ]
    async with parquet(ParquetSink(folder=tmp_path, roll_s=1e-9)) as sink:
        await sink.write(events)
    (path,) = finished(tmp_path)
    assert path.suffix == ".parquet"
    first, second, third = pq.ParquetFile(path).read().to_pylist()
    assert (first["session_id"], first["branch_id"], first["sequence"]) == ("s", "main", 1)
    assert first["at"].isoformat() == "2026-11-23T10:00:00.123456+00:00"
    assert msgspec.json.decode(first["kind"]) == {"type": "ErrorRaised", "message": "é\0"}
    assert (second["type"], second["event_type"]) == ("Custom", "mine")
    assert (third["type"], third["actor"], third["digest"]) == ("Unknown", None, None)


async def test_a_parquet_file_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    async with parquet(ParquetSink(folder=tmp_path, roll_s=HOUR)) as sink:
        await sink.write(several("s", 3))
    (tmp_path / ".vagus" / "000001.part").write_bytes(b"PAR1 half of it")
    async with parquet(ParquetSink(folder=tmp_path, roll_s=1e-9)) as sink:
        await sink.write(several("s", 3))
    (path,) = finished(tmp_path)
    assert pq.ParquetFile(path).metadata.num_rows == 3
    assert list((tmp_path / ".vagus").glob("*.part")) == []
