"""`python -m chaos.checker` against a real server."""

import json
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

from chaos.checker.report import Report, Rule
from tests.kit.broker import Broker
from tests.kit.documents import ROOT
from tests.kit.recording import Recording
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.provision import ensure


async def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    ended = await anyio.run_process(
        [sys.executable, "-m", "chaos.checker", *arguments], cwd=ROOT, check=False
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


def written(file: Path, lines: list[dict[str, object]]) -> str:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


async def test_a_clean_server_is_told_of_as_such(broker: Broker, recorded: Recording, tmp_path: Path) -> None:
    accepted = written(tmp_path / "accepted", recorded.accepted)
    ledger = written(tmp_path / "ledger", recorded.ledger)
    given = ("--server", broker.url, "--root", recorded.root, "--accepted", accepted, "--ledger", ledger)
    code, text, errors = await run(*given)
    assert (code, errors) == (0, "")
    assert "✓ no violations, checked in " in text
    code, document, _ = await run(*given, "--json")
    report = msgspec.json.decode(document, type=Report)
    assert code == 0
    assert report.ok
    assert report.counts == (await recorded.checked(tmp_path)).counts


async def test_an_altered_log_is_found_on_a_server(
    broker: Broker, bus: Bus, subjects: Subjects, recording: Recording
) -> None:
    await ensure(bus, subjects, partitions=2)
    await JetStreamLog(bus, subjects).create("work")
    for message in recording.log("work"):
        branch = message.subject.rpartition(".")[2]
        data = message.data.replace(b'"sha":"1f2e"', b'"sha":"1f2f"')
        headers = {name: value for name, value in message.headers.items() if name.startswith("Vagus-")}
        await bus.store(
            subjects.log("work", branch), data, msg_id=message.headers["Nats-Msg-Id"], headers=headers
        )
    given = ("--server", broker.url, "--root", subjects.root)
    code, document, _ = await run(*given, "--json")
    [violation] = msgspec.json.decode(document, type=Report).violations
    assert code == 1
    assert violation.rule is Rule.DIGEST
    code, text, _ = await run(*given)
    assert code == 1
    assert f"✗ digest    work/main {violation.sequence}: the line is not as it was written" in text
    assert "✗ 1 violation: 1 digest, checked in " in text


async def test_a_queue_that_runs_empty_is_waited_for(
    broker: Broker, bus: Bus, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure(bus, subjects, partitions=2)
    stored = await bus.store(subjects.gate("s"), b"{}")
    given = ("--server", broker.url, "--root", subjects.root)
    code, text, _ = await run(*given, "--drain", "0.1")
    assert code == 1
    assert "_GATE still holds 1 messages after 0.1 s" in text
    assert (await run(*given, "--unfinished"))[0] == 0
    outcome: list[tuple[int, str, str]] = []

    async def check() -> None:
        outcome.append(await run(*given, "--drain", "60"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check)
        await bus.api(f"STREAM.MSG.DELETE.{subjects.named('GATE')}", {"seq": stored.sequence})
    assert outcome[0][0] == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--server", "nats://127.0.0.1:1"), "cannot check: no connection to nats://127.0.0.1:1"),
        (("--server", "{url}", "--root", "nobody"), "cannot check: no Vagus of the root nobody is here"),
        (("--server", "{url}", "--accepted", "nowhere"), "cannot check: "),
        (("--server", "{url}", "--expect-dead", "("), "not a regular expression"),
        ((), "the following arguments are required: --server"),
    ],
)
async def test_what_cannot_be_checked_is_neither_right_nor_wrong(
    arguments: tuple[str, ...], problem: str, broker: Broker
) -> None:
    code, text, errors = await run(*(argument.format(url=broker.url) for argument in arguments))
    assert (code, text) == (2, "")
    assert problem in errors


async def test_the_help_says_what_is_proven() -> None:
    code, text, _ = await run("--help")
    assert code == 0
    assert all(rule.value in text for rule in Rule)
