"""docs/wire.md says what the code does: its examples are read by the code's own types."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest

from tests.kit import documents
from tests.kit.events import records
from tests.kit.fields import missing
from vagus.contract import commands, extensions, streams
from vagus.contract.approvals import Answer, ApprovalTicket, Resolution
from vagus.contract.archives import ArchivedPart, Placement
from vagus.contract.blobs import BlobRef
from vagus.contract.claims import Claim
from vagus.contract.codec import decode_record, seal, verify
from vagus.contract.erasures import Erasure
from vagus.contract.events import BranchCreated, EventKind, EventRecord, Message, catalogue
from vagus.contract.grants import Grant, call_hash
from vagus.contract.live import ToolProgress
from vagus.contract.messages import GateRequest, Receipt, Report, Role, ToolRequest, Verdict
from vagus.contract.policy import PolicyInForce
from vagus.contract.replies import Cancelled, Closed, LogPlace, PolicyVersion, Recorded
from vagus.contract.schedules import Dropped, Schedules
from vagus.contract.sessions import BranchInfo, BranchMergeResult, SessionManifest, SessionSummary, TickOutput
from vagus.contract.state import BudgetState
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Revived, Subscribed
from vagus.contract.tools import Priority, ToolboxEntry
from vagus.runtime.grants import GrantVerifier

WIRE = "docs/wire.md"
TEXT = documents.text(WIRE)
EXAMPLES = documents.blocks(WIRE, "json")
STRUCTS: dict[str, type[msgspec.Struct]] = {
    shape.__name__: shape
    for shape in (
        Answer, ApprovalTicket, ArchivedPart, BlobRef, BranchInfo, BranchMergeResult, BudgetState,
        Cancelled, Checkpoint, Claim, Closed, Dropped, Erasure, GateRequest, Grant, LogPlace, Placement,
        PolicyInForce, PolicyVersion, Receipt, Recorded, Report, Resolution, Revived, Schedules,
        SessionManifest, SessionSummary, Subscribed, ToolboxEntry, ToolProgress, ToolRequest, Verdict,
    )
}  # fmt: skip
READERS: dict[str, Callable[[bytes], object]] = {
    "Reply": lambda data: read_reply(data),
    "Command": commands.decode_command,
    "EventRecord": decode_record,
}


def read_reply(data: bytes) -> dict[str, object]:
    reply = msgspec.json.decode(data, type=commands.Reply)
    if reply.error is not None:
        return {"command_id": reply.command_id, "error": reply.error}
    return {"command_id": reply.command_id, "ok": msgspec.json.decode(reply.ok or b"", type=TickOutput)}


def read(title: str, data: bytes) -> object:
    if title in READERS:
        return READERS[title](data)
    return msgspec.json.decode(data, type=STRUCTS.get(title) or extensions.KINDS[title])


def values(block: documents.Block) -> list[bytes]:
    """A block holds one value, or one on each line."""
    if block.title == "EventRecord":
        return block.text.encode().splitlines()
    return [block.text.encode()]


@pytest.mark.parametrize("block", EXAMPLES, ids=[f"{n}-{block.title}" for n, block in enumerate(EXAMPLES)])
def test_every_example_is_read_whole_by_its_type(block: documents.Block) -> None:
    for value in values(block):
        back = msgspec.json.decode(msgspec.json.encode(read(block.title, value)))
        assert not list(missing(json.loads(value), back))


def test_every_message_has_an_example() -> None:
    shown = {block.title for block in EXAMPLES}
    assert shown == {*STRUCTS, *READERS, *extensions.KINDS}
    types = {json.loads(b.text)["type"] for b in EXAMPLES if b.title == "Command"}
    assert types == set(commands.BODY)


def structs(shape: object) -> Iterator[msgspec.inspect.StructType]:
    """All structs that a type is made of."""
    left, seen = [msgspec.inspect.type_info(shape)], set()
    while left:
        info = left.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                continue
            seen.add(info.cls)
            yield info
            left += [field.type for field in info.fields]
        for name in ("type", "item_type", "key_type", "value_type"):
            if isinstance(inner := getattr(info, name, None), msgspec.inspect.Type):
                left.append(inner)
        for name in ("types", "item_types"):
            left += getattr(info, name, None) or ()


@pytest.mark.parametrize(
    "shape",
    [*STRUCTS.values(), *extensions.KINDS.values(), *get_args(commands.Command), commands.Reply, TickOutput],
    ids=lambda shape: shape.__name__,
)
def test_every_field_of_every_message_is_shown(shape: type[msgspec.Struct]) -> None:
    for struct in structs(shape):
        for field in struct.fields:
            name = field.encode_name
            assert f'"{name}"' in TEXT or f"`{name}`" in TEXT, (
                f"{struct.cls.__name__}.{name} is not in {WIRE}"
            )


def test_every_field_of_an_event_is_shown() -> None:
    for name in EventRecord.__struct_fields__:
        assert f'"{name}":' in TEXT or f"`{name}`" in TEXT


def test_every_stream_consumer_and_bucket_is_named() -> None:
    subjects = Subjects()
    queues = (*streams.queues(subjects), streams.events(subjects))
    logs = [streams.session_log(subjects, "<session>"), streams.archive(subjects)]
    for stream in (*queues, *logs):
        assert f"`{stream.name}`" in TEXT
        for subject in stream.subjects:
            assert f"`{subject}`" in TEXT, subject
    for bucket in (
        *streams.buckets(subjects),
        streams.relayed(subjects),
        streams.BucketSpec(name=subjects.named(streams.BLOBS)),
    ):
        assert f"`{bucket.name}`" in TEXT, bucket.name
    shared = [
        streams.gate_consumer(subjects),
        streams.approval_consumer(subjects),
        streams.answer_consumer(subjects),
        streams.due_consumer(subjects),
    ]
    for consumer in shared:
        assert f"| `{consumer.name}` | `{consumer.stream}` | `{consumer.filters[0]}` |" in TEXT
    for priority, pooled in zip(Priority, streams.tool_consumers(subjects, "<pool>"), strict=True):
        name = pooled.name.replace(f"-{priority}", "-<priority>")
        subject = pooled.filters[0].replace(f".{priority}.", ".<priority>.")
        assert f"| `{name}` | `{pooled.stream}` | `{subject}` |" in TEXT
        assert f"`{priority}`" in TEXT
    for answers in (True, False):
        name = streams.inbox_consumer(subjects, 7, answers=answers).name.replace("7", "<partition>")
        assert f"| `{name}` | `VAGUS_INBOX` |" in TEXT


def test_every_subject_is_named() -> None:
    subjects = Subjects()
    named = [
        subjects.inbox(Role.COMMAND, "<session>").replace("command", "<role>"),
        subjects.inbox_partition("<partition>", "<role>", "<session>"),
        subjects.log("<session>", "<branch>"),
        subjects.feed("<session>", "<branch>"),
        subjects.gate("<session>"),
        subjects.tool("<pool>", "<priority>", "<session>"),
        subjects.approval("<session>"),
        subjects.answer("<session>"),
        subjects.cancel("<tool_run_id>"),
        subjects.drain("<kind>", "<instance>"),
        subjects.live("<session>", "<branch>"),
        subjects.dead("<process kind>.<session>"),
        subjects.event("<session>", "<branch>", "<Kind>"),
        subjects.schedule("<session>", "<id>"),
        subjects.due("<session>", "<id>"),
        subjects.archive("<session>", "<copy>", "<part>"),
    ]
    for subject in named:
        assert f"\n| `{subject}` |" in TEXT, subject
    for role in Role:
        assert f"\n| `{role}` |" in TEXT


def test_extension_events_are_those_of_the_code() -> None:
    section = TEXT.partition("### Extension events")[2].partition("\n## ")[0]
    for event_type, shape in extensions.KINDS.items():
        row = next(line for line in section.splitlines() if line.startswith(f"| `{event_type}` |"))
        for field in msgspec.structs.fields(shape):
            assert f"`{field.encode_name}`" in row + section
    for kind in vars(catalogue)["_EXTENSIONS"]:
        assert f"`{kind.__name__}`" in section


def run_verifier(log: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    (program,) = documents.blocks(WIRE, "python")
    assert program.title == "verify_chain"
    assert len(program.text.strip().splitlines()) <= 22
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(log)))
    with pytest.raises(SystemExit) as ended:
        exec(compile(program.text, WIRE, "exec"), {})
    return int(ended.value.code or 0)


def test_the_printed_program_verifies_the_printed_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = "".join(block.text for block in EXAMPLES if block.title == "EventRecord").encode()
    verify(log.splitlines(), "")
    assert run_verifier(log, monkeypatch) == 0


def test_the_printed_program_verifies_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    main = seal(records(said("one"), said("two")), "")
    at_one = seal(
        records(BranchCreated(new_branch_id="b", fork_point_seq=1, name="b"), branch="b"),
        main.records[0].digest or "",
    )
    at_none = seal(records(BranchCreated(new_branch_id="c", fork_point_seq=0, name="c"), branch="c"), "")
    assert run_verifier(main.payload + at_one.payload + at_none.payload, monkeypatch) == 0


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_printed_program_finds_a_changed_line(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        next(block.text for block in EXAMPLES if block.title == "EventRecord")
        .encode()
        .splitlines(keepends=True)
    )
    lines[place] = lines[place].replace(b"vagus-kernel", b"vagus-kernal")
    assert run_verifier(b"".join(lines), monkeypatch) == 1


def said(text: str) -> EventKind:
    return Message(role="assistant", content=text)


def test_the_printed_grant_is_valid_and_for_the_printed_call() -> None:
    def shown(title: str) -> list[Any]:
        return [read(title, block.text.encode()) for block in EXAMPLES if block.title == title]

    verdict, request, grant = shown("Verdict")[0], shown("ToolRequest")[0], shown("Grant")[0]
    (key,) = re.findall(r"public half is\s+`(\w+)`", TEXT)
    assert verdict.grant == request.grant
    assert GrantVerifier([key]).verify(verdict.grant) == grant
    assert grant.call_hash == call_hash(request.call)
