"""A rush of new sessions: each is made once, whoever else asks for it at the same time."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet.preset("pro")
CALLS = 100


@pytest.fixture
async def whole(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[System]:
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 60)
    async with system(broker.url, subjects, tmp_path) as running:
        yield running


async def create_all(whole: System, names: list[str]) -> None:
    """All at once, while a second kernel takes its share of the sessions."""

    async def create(name: str) -> None:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id=name)
        assert session.id == name

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(create, name)
        await whole.start("kernel", "second")


async def check(whole: System, name: str) -> None:
    """It was created once, and works."""
    session = await whole.client.session(name)
    events = await session.read_events()
    assert [event.kind.type for event in events].count("SessionCreated") == 1
    assert (await session.tick("hello", timeout_s=60)).reason == "completed"
    assert (await session.verify()).ok


async def test_a_hundred_sessions_are_created_at_once(whole: System) -> None:
    names = [f"s{number}" for number in range(CALLS)]
    await create_all(whole, names)
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(check, whole, name)

    async def listed() -> bool:
        return {summary.manifest.session_id for summary in await whole.client.sessions()} == set(names)

    await eventually(listed)


async def test_one_session_is_created_a_hundred_times_at_once(whole: System) -> None:
    await create_all(whole, ["s"] * CALLS)
    await check(whole, "s")


async def test_of_two_policies_for_one_new_session_one_is_refused(whole: System) -> None:
    outcomes: list[str] = []

    async def create(number: int) -> None:
        policy = vagus.PolicySet.preset("pro" if number % 2 else "default")
        try:
            await whole.client.create_session(owner="me", policy=policy, session_id="s")
        except vagus.Conflict:
            outcomes.append("refused")
        else:
            outcomes.append("created")

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(create, number)
    assert sorted(outcomes) == ["created"] * 10 + ["refused"] * 10
    await check(whole, "s")
