"""Real processes: what a session does stands in the firehose, for a reader that knows nothing of Vagus."""

from pathlib import Path

import vagus
from tests.kit.downstream import downstream
from tests.kit.up import ENVIRON
from tests.kit.waiting import eventually
from vagus.contract.policy import PRESETS
from vagus.contract.subjects import Subjects
from vagus.runtime.supervisor import Plan, supervise

WRITE = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/a.txt", "content": "hi"})


async def test_what_sessions_do_is_told_in_the_firehose(tmp_path: Path) -> None:
    subjects = Subjects()
    plan = Plan(store=tmp_path / "store", environ=ENVIRON, durability="fast", relays=1)
    async with (
        supervise(plan, tell=print) as supervisor,
        vagus.connect(supervisor.url) as client,
        downstream(supervisor.url, subjects) as reader,
    ):
        assert [member.kind for member in (await client.status()).members if member.kind == "relay"] == [
            "relay"
        ]
        session = await client.create_session(owner="me", policy=PRESETS["default"], session_id="s")
        await session.tick("write", tool=WRITE)
        await session.create_branch("side")

        async def complete() -> bool:
            return await reader.lines() == await reader.logged(["s"])

        await eventually(complete)
        (called,) = await reader.told(subjects.event("s", kind="ToolCallCompleted"))
        assert b'"tool_name":"fs.write"' in called.line
