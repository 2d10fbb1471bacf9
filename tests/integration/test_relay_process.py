"""Real processes: what a session does stands in the firehose, for a reader that knows nothing of Vagus."""

from pathlib import Path

import vagus
from tests.kit.downstream import downstream
from tests.kit.up import up
from tests.kit.waiting import eventually
from vagus.contract.policy import PRESETS
from vagus.contract.subjects import Subjects

WRITE = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/a.txt", "content": "hi"})


async def test_what_sessions_do_is_told_in_the_firehose(tmp_path: Path) -> None:
    subjects = Subjects()
    async with up(tmp_path / "store", "--relays", "1") as terminal:
        running = await terminal.ready()
        assert "relay-1" in {process["name"] for process in running.processes}
        async with vagus.connect(running.server) as client, downstream(running.server, subjects) as reader:
            members = (await client.status()).members
            assert [member.kind for member in members if member.kind == "relay"] == ["relay"]
            session = await client.create_session(owner="me", policy=PRESETS["default"], session_id="s")
            await session.tick("write", tool=WRITE)
            await session.create_branch("side")

            async def complete() -> bool:
                return await reader.lines() == await reader.logged(["s"])

            await eventually(complete)
            (called,) = await reader.told(subjects.event("s", kind="ToolCallCompleted"))
            assert b'"tool_name":"fs.write"' in called.line
        terminal.ctrl_c()
        assert await terminal.stopped() == 0
