"""A session from Python. Run it as it is: it starts a Vagus of its own in a temporary store.

python examples/session.py                            # its own server and processes
python examples/session.py nats://127.0.0.1:4222      # those of `vagus up --tools examples/note_tools.py`
"""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio

import vagus

HERE = Path(__file__).parent
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:read:/session/**", "fs:write:/session/artifacts/**"),
    gate_capabilities=("fs:write:/session/outbox/**",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)


@asynccontextmanager
async def client_of(server: str | None) -> AsyncIterator[vagus.Client]:
    """A client of a running Vagus, or of one that ends with us."""
    if server is not None:
        async with vagus.connect(server, actor="ada") as client:
            yield client
        return
    tools, answers = HERE / "note_tools.py", HERE / "answers.json"
    async with vagus.embedded(actor="ada", provider=f"scripted:{answers}", tools=[str(tools)]) as client:
        yield client


def write(path: str, content: str) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": content})


async def main(server: str | None) -> None:
    async with client_of(server) as client:
        session = await client.create_session(owner="ada", policy=POLICY)

        # A call that the client proposes: no model is asked.
        kept = await session.tick("keep a note", tool=write("artifacts/note.txt", "one log for one session"))
        print("note:", kept.tool_results[0].status)

        # Ticks until the model has answered.
        answer = await session.run("how long is the note?")
        print("answer:", answer.text)

        # What the policy does not allow ends as failed, and the log says why.
        denied = await session.tick("look around", tool=write("../elsewhere.txt", "x"))
        print("outside:", denied.tool_results[0].error)

        # A call that needs a person's word waits; the tick does not.
        asked = await session.tick("send it", tool=write("outbox/letter.txt", "hello"))
        print("letter:", asked.reason)
        ticket = asked.pending_approvals[0]
        await client.approve(ticket.approval_id, actor="grace", reason="it is fine")
        await completed(session, ticket.call_id)
        print("letter: approved, and written")

        # Another way, from before the letter; then back.
        await session.create_branch("draft", fork_sequence=kept.last_sequence)
        await session.tick(
            "try other words", branch="draft", tool=write("artifacts/note.txt", "a line, a day")
        )
        merged = await session.merge_branch("draft")
        print("merged:", merged.source_branch, "into", merged.target_branch)

        checked = await session.verify()
        print(f"log: {'whole' if checked.ok else checked.problems}, {len(checked.branches)} branches")


async def completed(session: vagus.Session, call_id: str) -> None:
    """Wait for a call's end, from the log: replayed, then live."""
    with anyio.fail_after(30):
        async with aclosing(session.events()) as events:
            async for event in events:
                if event.type == "ToolCallCompleted" and getattr(event.kind, "call_id", None) == call_id:
                    return


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else None)
