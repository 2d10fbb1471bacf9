"""Logs in the archive: read as any other, and what is wrong with one is found."""

import json
import zlib
from pathlib import Path

import blake3
import pytest

from chaos.checker.log import CannotCheck, Message
from chaos.checker.names import ARCHIVE, ARCHIVED
from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording

planted = Plants()
COPY = "c0ffee"


def shelve(recording: Recording, session: str = "poor", *, size: int = 3) -> list[Message]:
    """Move a log to the archive, so many commits a part; returns the parts."""
    names = recording.names
    log = recording.kept.pop(names.log(session))
    parts = [
        Message(
            number + 1,
            f"{recording.root}.archive.{session}.{COPY}.{number}",
            {},
            zlib.compress(json.dumps({"number": number, "commits": list(map(kept, commits))}).encode()),
        )
        for number, commits in enumerate(log[start : start + size] for start in range(0, len(log), size))
    ]
    digest = blake3.blake3(b"".join(part.data for part in parts)).hexdigest()
    place = {
        "generation": 0,
        "claimed": 0,
        "archived": True,
        "copy": COPY,
        "stream_sequence": log[-1].sequence,
        "digest": f"blake3:{digest}",
    }
    recording.kept[names.stream(ARCHIVE)] = parts
    note(recording, session, place)
    return parts


def note(recording: Recording, session: str, place: dict[str, object]) -> None:
    names = recording.names
    subject = f"$KV.{names.stream(ARCHIVED)}.{session}"
    recording.kept[names.bucket(ARCHIVED)] = [Message(1, subject, {}, json.dumps(place).encode())]


def kept(commit: Message) -> dict[str, object]:
    return {
        "stream_sequence": commit.sequence,
        "branch_id": commit.subject.rpartition(".")[2],
        "stored_at": "2026-11-23T10:00:00.000Z",
        "headers": dict(commit.headers),
        "payload": commit.data.decode(),
    }


async def test_an_archived_log_is_without_violations(recording: Recording, tmp_path: Path) -> None:
    counts = (await recording.checked(tmp_path)).counts
    assert len(shelve(recording)) > 1
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts == counts


async def test_a_restored_log_is_without_violations(recording: Recording, tmp_path: Path) -> None:
    log = recording.kept.pop(recording.names.log("poor"))
    recording.kept[recording.names.log("poor", 2)] = log
    note(recording, "poor", {"generation": 2, "claimed": 2})
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []


@planted(Rule.STREAM, "which is not there")
def a_restored_log_is_gone(recording: Recording) -> None:
    note(recording, "poor", {"generation": 1, "claimed": 1})


@planted(Rule.STREAM, "cannot be read")
def a_part_is_damaged(recording: Recording) -> None:
    parts = shelve(recording)
    parts[0] = parts[0]._replace(data=parts[0].data[:-9])


@planted(Rule.STREAM, "the archive ends with commit")
def the_last_part_is_gone(recording: Recording) -> None:
    shelve(recording).pop()


@planted(Rule.STREAM, "the archive is not what was archived")
def a_part_is_another(recording: Recording) -> None:
    parts = shelve(recording)
    parts[0] = parts[0]._replace(data=zlib.compress(zlib.decompress(parts[0].data) + b" "))


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_what_is_wrong_with_an_archive_is_found(
    plant: Plant, recording: Recording, tmp_path: Path
) -> None:
    plant.put(recording)
    found = (await recording.checked(tmp_path)).violations  # and what follows from it
    assert [violation for violation in found if violation.rule is plant.rule and plant.text in violation.text]


async def test_a_place_that_cannot_be_read_is_told(recording: Recording, tmp_path: Path) -> None:
    note(recording, "poor", {"generation": "one"})
    with pytest.raises(CannotCheck, match="cannot read"):
        await recording.checked(tmp_path)
