"""Two tenants on one server, each in an account of its own: the same names, and nothing in common."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import vagus
from tests.kit.system import System, system
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet.preset("pro")
NOTE = vagus.ToolCall(tool_name="fs.write", input={"path": "note", "content": "x"})
ROOM = 2
"""Sessions that the small tenant has room for."""
ACCOUNTS = """
accounts {{
  large {{ jetstream: enabled, users: [{{ user: large, password: large }}] }}
  small {{ jetstream: {{ max_streams: {streams} }}, users: [{{ user: small, password: small }}] }}
}}
"""


class SharedServer(EmbeddedServer):
    """A server with an account for each tenant."""

    streams = -1

    def _configuration(self) -> str:
        return super()._configuration() + ACCOUNTS.format(streams=self.streams)

    def url_of(self, tenant: str) -> str:
        """Where a tenant logs in."""
        return f"nats://{tenant}:{tenant}@127.0.0.1:{self.port}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SharedServer]:
    async with SharedServer(tmp_path / "nats", durability="fast") as running:
        yield running


async def used(whole: System) -> int:
    """Streams of the account."""
    account = await whole.bus.api("INFO")
    streams = account["streams"]
    assert isinstance(streams, int)
    return streams


async def test_tenants_know_nothing_of_each_other(server: SharedServer, tmp_path: Path) -> None:
    subjects = Subjects()
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
    async with (
        system(server.url_of("large"), subjects, tmp_path / "large") as large,
        system(server.url_of("small"), subjects, tmp_path / "small") as small,
    ):
        session = await large.client.create_session(owner="large", policy=POLICY, session_id="s")
        assert [result.status for result in (await session.tick("note", tool=NOTE)).tool_results] == ["ok"]
        assert await small.client.sessions() == []
        with pytest.raises(vagus.SessionNotFound):
            await small.client.session("s")
        other = await small.client.create_session(owner="small", policy=POLICY, session_id="s")
        await other.tick("hello")
        for whole, owner in ((large, "large"), (small, "small")):
            (found,) = await whole.client.sessions()
            assert found.manifest.owner == owner
            assert (await whole.client.verify("s")).ok
        assert (large.root / "sessions" / "s" / "note").exists()
        assert not (small.root / "sessions" / "s" / "note").exists()


async def test_a_tenant_whose_account_is_full_is_refused_and_hinders_nobody(
    server: SharedServer, tmp_path: Path
) -> None:
    subjects = Subjects()
    for name in ("large", "small", "again"):
        (tmp_path / name).mkdir()
    async with system(server.url_of("small"), subjects, tmp_path / "small") as small:
        server.streams = await used(small) + ROOM
    await server.stop()
    await server.start()
    async with (
        system(server.url_of("large"), subjects, tmp_path / "large") as large,
        system(server.url_of("small"), subjects, tmp_path / "again") as small,
    ):
        for number in range(ROOM):
            await small.client.create_session(owner="me", policy=POLICY, session_id=f"s{number}")
        with pytest.raises(vagus.VagusError, match="maximum number of streams"):
            await small.client.create_session(owner="me", policy=POLICY, session_id="too-many")
        session = await small.client.session("s0")
        assert (await session.tick("go on")).reason == "completed"
        await large.client.create_session(owner="me", policy=POLICY, session_id="any")
