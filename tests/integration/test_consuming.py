"""The Python programs of docs/consuming.md do what it says, with nats-py alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from tests.kit import documents
from tests.kit.firehose import Firehose
from vagus.contract.codec import encode_record
from vagus.contract.events import ErrorRaised
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer

PROGRAMS = {block.title: block.text for block in documents.blocks("docs/consuming.md", "python")}
VAGUS = Subjects()


class Program:
    """One that runs, and what it prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        with anyio.fail_after(30):
            return (await run_sync(self._process.stdout.readline, abandon_on_cancel=True)).rstrip("\n")


@pytest.fixture
def url(own_broker: EmbeddedServer) -> str:
    return own_broker.url


@contextmanager
def running(name: str, folder: Path, url: str) -> Iterator[Program]:
    """A program of the document, while the block lasts; it never ends by itself."""
    file = folder / name
    file.write_text(PROGRAMS[name])
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(file)],
            cwd=folder,
            env=os.environ | {"NATS_URL": url},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Program(process)
            assert process.poll() is None, (folder / "errors").read_text()
        finally:
            process.kill()
            process.communicate()


async def test_the_consumer_prints_what_fits_once_and_in_order(
    own_bus: Bus, url: str, tmp_path: Path
) -> None:
    firehose = Firehose(own_bus, VAGUS)
    await firehose.make()
    for session in "aab":
        await firehose.put(session)
        await firehose.put(session, ErrorRaised(message="no"))
    with running("events.py", tmp_path, url) as program:
        assert [await program.line() for _ in range(3)] == ["a main 1 1", "a main 3 3", "b main 1 1"]
        again = await firehose.put("a")
        await own_bus.store(VAGUS.event("a", "main", "UserMessage"), encode_record(again))
        await firehose.put("b")
        assert [await program.line() for _ in range(2)] == ["a main 5 5", "b main 3 3"]


async def test_the_reader_of_the_feed_finds_what_it_missed(own_bus: Bus, url: str, tmp_path: Path) -> None:
    firehose = Firehose(own_bus, VAGUS)
    await firehose.make()
    lines = [encode_record(await firehose.put("a")) for _ in range(8)]

    async def commit(first: int, last: int) -> None:
        body = b"".join(line + b"\n" for line in lines[first - 1 : last])
        headers = {"Vagus-First": str(first), "Vagus-Last": str(last)}
        await own_bus.publish(VAGUS.feed("a", "main"), body, headers=headers)

    with running("feed.py", tmp_path, url) as program:
        heard: list[str] = []
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                heard.append(await program.line())

            group.start_soon(listen)
            while not heard:  # it is not there yet
                await commit(2, 2)
                await anyio.sleep(0.05)
        await commit(3, 4)
        await commit(6, 6)  # the one before is lost
        await commit(5, 6)
        await commit(7, 8)
        heard += [await program.line() for _ in range(6)]
    assert heard == [line.decode() for line in lines[1:]]


@pytest.mark.parametrize(
    "block", documents.blocks("docs/consuming.md", "python"), ids=lambda block: block.title
)
def test_every_piece_of_python_is_python(block: documents.Block) -> None:
    text = block.text if block.title else f"async def _():\n {block.text.replace(chr(10), chr(10) + ' ')}"
    compile(text, "docs/consuming.md", "exec")
