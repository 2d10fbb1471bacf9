import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.contract.json import Json
from vagus_kernel.filewriter import REPLACED, Add, Append, FileWork, FileWriter, Replace

Write = Callable[..., Awaitable[None]]


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
async def writer() -> AsyncIterator[FileWriter]:
    made = FileWriter()
    async with anyio.create_task_group() as group:
        group.start_soon(made.run)
        yield made
        group.cancel_scope.cancel()


@pytest.fixture
def write(writer: FileWriter) -> Write:
    async def do(*work: FileWork) -> None:
        await writer.submit(work)
        with anyio.fail_after(20):
            await writer.flushed()

    return do


def checkpoint(base: Path, name: str, content: Json = 1, *, keep: int = 2) -> Add:
    return Add(
        base=str(base), path="checkpoints", name=name, file="manifest.json", content=content, keep=keep
    )


def report(base: Path, content: Json, *, anew: bool) -> Add:
    return Add(base=str(base), path="tools/runs", name="r", file="report.json", content=content, anew=anew)


async def test_json_is_written_with_two_spaces_and_text_as_it_is(write: Write, tmp_path: Path) -> None:
    await write(Replace(str(tmp_path), "state/h.json", {"a": 1}), Replace(str(tmp_path), "mode.txt", "sleep"))
    assert (tmp_path / "state/h.json").read_text() == '{\n  "a": 1\n}'
    assert (tmp_path / "mode.txt").read_text() == "sleep"


async def test_a_shorter_content_leaves_nothing_of_the_longer(write: Write, tmp_path: Path) -> None:
    (tmp_path / ".f.new").write_text("left by somebody who was killed")
    for content in ("a long text", "short"):
        await write(Replace(str(tmp_path), "f", content))
    assert (tmp_path / "f").read_text() == "short"
    assert names_in(tmp_path) == ["f"]


async def test_only_the_latest_content_is_written_without_a_hurry(writer: FileWriter, tmp_path: Path) -> None:
    await writer.submit([Replace(str(tmp_path), "f", "1")])
    await writer.submit([Replace(str(tmp_path), "f", "2")])
    assert writer.pending == 1
    with anyio.fail_after(20):
        await writer.written()
    assert (tmp_path / "f").read_text() == "2"


async def test_of_many_files_those_that_wait_longest_are_replaced_first(
    writer: FileWriter, tmp_path: Path
) -> None:
    many = [Replace(str(tmp_path), f"{number:03}", "x") for number in range(2 * REPLACED)]
    await writer.submit(many[:1])
    await writer.submit(many)
    await writer.submit([Replace(str(tmp_path), "000", "y")])  # keeps its turn
    await eventually(lambda: writer.pending == REPLACED)
    await writer.submit([checkpoint(tmp_path, str(uuid4()))])
    await eventually(lambda: sorted(names_in(tmp_path))[:REPLACED] == [f"{n:03}" for n in range(REPLACED)])
    assert (tmp_path / "000").read_text() == "y"
    with anyio.fail_after(20):
        await writer.written()
    assert {f"{number:03}" for number in range(2 * REPLACED)} < set(names_in(tmp_path))
    assert len(names_in(tmp_path / "checkpoints")) == 1


async def test_a_hurry_leaves_nothing_behind(writer: FileWriter, tmp_path: Path) -> None:
    await writer.submit([Replace(str(tmp_path), str(number), "x") for number in range(20 * REPLACED)])
    with anyio.fail_after(20):
        await writer.flushed()
    assert writer.pending == 0
    assert len(names_in(tmp_path)) == 20 * REPLACED


async def test_what_is_submitted_last_is_written_when_the_writer_ends(tmp_path: Path) -> None:
    writer = FileWriter()
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        await writer.submit([Replace(str(tmp_path), "f", "x")])
        group.cancel_scope.cancel()
    assert (tmp_path / "f").read_text() == "x"


async def test_a_line_is_appended_once(write: Write, tmp_path: Path) -> None:
    first, second = (Append(str(tmp_path), "memory/o.jsonl", line) for line in (b"1", b"2"))
    await write(first, second)
    await write(second, first)
    assert (tmp_path / "memory/o.jsonl").read_bytes() == b"1\n2\n"


async def test_a_line_of_an_earlier_process_is_not_appended_again(write: Write, tmp_path: Path) -> None:
    (tmp_path / "o.jsonl").write_bytes(b"1\n")
    await write(Append(str(tmp_path), "o.jsonl", b"1"), Append(str(tmp_path), "o.jsonl", b"2"))
    assert (tmp_path / "o.jsonl").read_bytes() == b"1\n2\n"


async def test_the_oldest_member_makes_room_for_the_newest(write: Write, tmp_path: Path) -> None:
    names = [str(uuid4()) for _ in range(5)]
    for number, name in enumerate(names):
        await write(checkpoint(tmp_path, name, {"n": number}))
    members = {entry.name: names_in(entry) for entry in (tmp_path / "checkpoints").iterdir()}
    assert members == {name: ["manifest.json"] for name in names[-2:]}
    assert (tmp_path / "checkpoints" / names[-1] / "manifest.json").read_text() == '{\n  "n": 4\n}'


async def test_a_member_that_would_be_pushed_out_at_once_is_not_written(write: Write, tmp_path: Path) -> None:
    names = [str(uuid4()) for _ in range(5)]
    work = [checkpoint(tmp_path, name, keep=2) for name in names]
    again = checkpoint(tmp_path, names[4], 2, keep=2)
    other = tmp_path / "other"
    elsewhere = checkpoint(other, names[0])
    await write(elsewhere, *work, again)
    assert sorted(names_in(tmp_path / "checkpoints")) == sorted(names[3:])
    assert (tmp_path / "checkpoints" / names[4] / "manifest.json").read_text() == "2"
    assert names_in(other / "checkpoints") == names[:1]


async def test_members_of_an_earlier_process_make_room_as_well(write: Write, tmp_path: Path) -> None:
    old = [str(uuid4()) for _ in range(4)]
    for age, name in enumerate(old):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("a content that is longer than the new one")
        os.utime(folder, (1000 + age, 1000 + age))
    new = str(uuid4())
    await write(checkpoint(tmp_path, new, 7))
    assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == {old[-1], new}
    assert (tmp_path / "checkpoints" / new / "manifest.json").read_text() == "7"


async def test_a_member_that_holds_more_is_not_reused(write: Write, tmp_path: Path) -> None:
    first, second = str(uuid4()), str(uuid4())
    await write(checkpoint(tmp_path, first, keep=1))
    (tmp_path / "checkpoints" / first / "notes").write_text("a tool's")
    await write(checkpoint(tmp_path, second, keep=1))
    assert names_in(tmp_path / "checkpoints") == [second]
    assert names_in(tmp_path / "checkpoints" / second) == ["manifest.json"]


async def test_what_is_not_a_member_of_ours_is_left_alone(write: Write, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    names = [str(uuid4()) for _ in range(3)]
    for name in names:
        await write(checkpoint(tmp_path, name, keep=1))
    assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == {"mine", names[-1]}


async def test_a_report_is_restored_only_where_none_is(write: Write, tmp_path: Path) -> None:
    await write(report(tmp_path, "of the log", anew=False))
    assert (tmp_path / "tools/runs/r/report.json").read_text() == "of the log"
    await write(report(tmp_path, "of the runner", anew=True))
    await write(report(tmp_path, "of the log", anew=False))
    assert (tmp_path / "tools/runs/r/report.json").read_text() == "of the runner"


@pytest.mark.parametrize("place", ["state", "checkpoints", "tools/runs", ""])
async def test_a_link_in_the_way_costs_one_file_and_leads_nowhere(
    write: Write, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    outside, base = tmp_path / "outside", tmp_path / "base"
    outside.mkdir()
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / place).symlink_to(outside) if place else base.symlink_to(outside)
    with caplog.at_level(logging.WARNING):
        await write(
            Replace(str(base), "state/h.json", 1), checkpoint(base, str(uuid4())), report(base, 1, anew=True)
        )
        await write(Replace(str(tmp_path / "other"), "f", "x"))
    assert names_in(outside) == []
    assert (tmp_path / "other" / "f").read_text() == "x"
    assert [record for record in caplog.records if "it is rebuilt from the log later" in record.message]


async def test_no_descriptor_is_left_open(write: Write, tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("nowhere")
    before = len(names_in(Path("/dev/fd")))
    for _ in range(3):
        await write(Replace(str(tmp_path), "state/h", "x"), checkpoint(tmp_path, str(uuid4()), keep=1))
    await eventually(
        lambda: len(names_in(Path("/dev/fd"))) <= before + 2
    )  # a worker thread, an event loop's pipe
