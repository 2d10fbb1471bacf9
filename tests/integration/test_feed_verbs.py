"""`vagus feed` and `vagus subscriptions`."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.broker import Broker
from tests.kit.command_line import run
from tests.kit.firehose import Firehose
from tests.kit.waiting import eventually
from vagus.contract.errors import NotFound, Refused
from vagus.contract.events import ErrorRaised
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Filter
from vagus.runtime.bus import Bus
from vagus.sdk.client import Client
from vagus.sdk.subscriptions import slowest


@pytest.fixture(autouse=True)
def environment(broker: Broker, subjects: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGUS_SERVER", broker.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)


@pytest.fixture
async def firehose(bus: Bus, subjects: Subjects) -> Firehose:
    made = Firehose(bus, subjects)
    await made.make()
    return made


@pytest.fixture
async def client(bus: Bus, subjects: Subjects) -> AsyncIterator[Client]:
    async with Client.over(bus, subjects) as client:
        yield client


async def printed(*arguments: str) -> list[str]:
    """The ids of the events that `vagus feed` prints."""
    ran = await run("feed", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line)["event_id"] for line in ran.out.splitlines()]


async def test_the_feed_prints_the_lines_that_fit(firehose: Firehose) -> None:
    for session in "ab":
        await firehose.put(session)
        await firehose.put(session, ErrorRaised(message="no"))
    assert await printed("--from", "first", "--limit", "2", "--kind", "ErrorRaised") == [
        "a-main-2",
        "b-main-2",
    ]
    assert await printed("--from", "2026-01-01T00:00:00Z", "--limit", "1", "-s", "b", "-b", "main") == [
        "b-main-1"
    ]


async def test_a_durable_feed_goes_on_where_it_was(firehose: Firehose) -> None:
    for _ in range(3):
        await firehose.put("a")
    assert await printed("--durable", "d", "--from", "first", "--limit", "2") == ["a-main-1", "a-main-2"]
    assert await printed("--durable", "d", "--limit", "1") == ["a-main-3"]


async def test_the_feed_ends_quietly_at_ctrl_c_and_when_nobody_reads_it(
    firehose: Firehose, tmp_path: Path
) -> None:
    await firehose.put("a")
    command = [sys.executable, "-c", "from vagus.cli import main; main()", "feed", "--from", "first"]
    for leave in (False, True):
        with (tmp_path / "errors").open("wb") as errors:
            process = subprocess.Popen(  # noqa: ASYNC220 - it is read for a moment only
                command, stdout=subprocess.PIPE, stderr=errors
            )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event_id"] == "a-main-1"
        if leave:
            process.stdout.close()
            await firehose.put("a")
        else:
            process.send_signal(signal.SIGINT)
            process.stdout.close()
        await eventually(lambda process=process: process.poll() is not None)
        assert (process.returncode, (tmp_path / "errors").read_text()) == (0, "")


@pytest.mark.parametrize(
    "wrong", [["--from", "yesterday"], ["--from", "first", "--limit", "0"], ["--kind"]], ids=str
)
async def test_a_wrong_feed_is_told_so(wrong: list[str]) -> None:
    ran = await run("feed", *wrong)
    assert (ran.code, ran.out) == (2, "")


async def test_subscriptions_are_listed_with_what_waits_for_them(firehose: Firehose, client: Client) -> None:
    assert (await run("subscriptions", "list")).out.strip() == "no durable subscriptions"
    await firehose.put("a")
    await firehose.put("b", ErrorRaised(message="no"))
    wanted = Filter(kinds=("UserMessage",), sessions=("a",), owner=None)
    async with client.subscribe(wanted, durable="d") as subscription:
        await (await anext(subscription)).fail("not now")
        (there,) = await client.subscriptions()
        assert (there.name, there.subscribers, there.filter) == ("d", 1, wanted)
        with pytest.raises(Refused, match="1 programs take part"):
            await client.unsubscribe("d")
    await firehose.put("a")
    ran = await run("subscriptions", "list", "--json")
    (told,) = ran.json
    assert (told["subscribers"], told["waiting"], told["open"], told["failing"]) == (0, 1, 1, 1)
    ran = await run("subscriptions", "list")
    assert "session a; kind UserMessage" in ran.out


async def test_a_deleted_subscription_is_forgotten(firehose: Firehose, client: Client) -> None:
    await firehose.put("a")
    assert await printed("--durable", "d", "--from", "first", "--limit", "1") == ["a-main-1"]
    ran = await run("subscriptions", "delete", "d")
    assert (ran.code, ran.out.strip()) == (0, "deleted: d")
    assert await client.subscriptions() == []
    with pytest.raises(NotFound):
        await client.unsubscribe("d")
    assert await printed("--durable", "d", "--from", "first", "--limit", "1") == ["a-main-1"]


def test_a_subscription_is_as_far_as_the_slowest_of_its_holders() -> None:
    def at(position: int, holder: str | None = None) -> Checkpoint:
        return Checkpoint(position=position, holder=holder)

    assert slowest([at(3, "x"), at(9, "x")]) == 9
    assert slowest([at(3, "x"), at(9, "x"), at(5, "y")]) == 5
    assert slowest([at(9, "x"), at(4)]) == 4
