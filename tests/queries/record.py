"""Records the events that docs/queries.md asks of: `python -m tests.queries.record`.

A small working day runs against all services; what is on its logs is kept as it is in `events.ndjson`. The
outputs in the document are of these events: who records them anew writes the document anew.
"""

import json
import sys
import tempfile
from pathlib import Path

import anyio

import vagus

EVENTS = Path(__file__).parent / "events.ndjson"
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:read:/session/**", "fs:write:/session/**", "exec:cmd:ls", "exec:cmd:echo"),
    gate_capabilities=("fs:write:/session/outbox/**",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)


def answer(text: str, prompt: int, completion: int) -> dict[str, object]:
    """What the model says."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"directives": [{"type": "message", "role": "assistant", "content": text}], "usage": usage}


ANSWERS = {
    "report": [answer("A report in three parts.", 812, 164), answer("Shorter.", 1033, 71)],
    "invoices": [answer("Two invoices are due.", 640, 90)],
    "*": [answer("Yes.", 120, 12)] * 9,
}


def call(tool: str, **given: object) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name=tool, input=given)


async def day(client: vagus.Client) -> list[str]:
    """What happens; gives the sessions."""
    report = await client.create_session(session_id="report", owner="ada", policy=POLICY)
    await report.tick("write a report")
    await report.tick("make it shorter")
    for number in range(6):
        await report.tick("keep it", tool=call("fs.write", path=f"part{number}.txt", content="…" * 100))
        await report.tick("read it", tool=call("fs.read", path=f"part{number}.txt"))
    await report.tick("list", tool=call("shell.exec", command="ls"))
    await report.tick("remove", tool=call("shell.exec", command="rm", args=["-r", "/"]))
    await report.tick("send it", tool=call("fs.write", path="outbox/report.txt", content="done"))

    invoices = await client.create_session(session_id="invoices", owner="grace", policy=POLICY)
    await invoices.tick("which invoices are due?")
    await invoices.tick("look", tool=call("fs.read", path="missing.txt"))
    asked = await invoices.tick("pay", tool=call("fs.write", path="outbox/payment.txt", content="12 EUR"))
    await client.deny(asked.pending_approvals[0].approval_id, actor="grace", reason="paid already")

    old = await client.create_session(session_id="old", owner="ada", policy=POLICY)
    await old.tick("one last thing")
    await old.close("done")
    await client.create_session(session_id="idea", owner="grace", policy=POLICY)
    return ["report", "invoices", "old", "idea"]


async def record(folder: Path) -> None:
    """Run the day and keep its events."""
    answers = folder / "answers.json"
    answers.write_text(json.dumps(ANSWERS))
    lines: list[bytes] = []
    async with vagus.embedded(actor="ada", provider=f"scripted:{answers}") as client:
        for name in await day(client):
            session = await client.session(name)
            lines += [event.line async for event in session.history()]
    EVENTS.write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        anyio.run(record, Path(name))
    sys.exit()
