"""docs/queries.md: its queries give what it says, and the views mean what they say."""

import secrets
from typing import Any

import pytest
from anyio.to_thread import run_sync

from tests.kit.postgres import PostgresServer
from tests.kit.sinks import Given, given
from tests.queries.outputs import DOCUMENT, answered, ask, load
from vagus_relay.sinks.configuration import PostgresSink
from vagus_relay.sinks.postgres import postgres
from vagus_relay.sinks.secret import Secret


@pytest.fixture
def schema() -> str:
    return "t" + secrets.token_hex(6)


async def asked(
    server: PostgresServer, schema: str, events: list[Given], query: str
) -> list[tuple[Any, ...]]:
    """What a query gives of these events."""
    async with postgres(PostgresSink(dsn=Secret(env="DSN"), schema=schema), {"DSN": server.dsn}) as sink:
        await sink.write(events)
    async with server.connection() as connection:
        await connection.execute(f"SET search_path TO {schema}")
        return [tuple(row) for row in await connection.fetch(query)]


def budget(session: str, sequence: int, cost: float, tokens: int, **more: Any) -> Given:
    left = {"cost_remaining_usd": cost, "tokens_remaining": tokens}
    return given(session, sequence, {"type": "BudgetUpdated", "budget": left, "reason": "r"}, **more)


def estimated(session: str, sequence: int, cost: float, tokens: int, **more: Any) -> Given:
    left = {"cost_remaining_usd": cost, "tokens_remaining": tokens}
    return given(
        session, sequence, {"type": "StateEstimated", "state": {"budget": left}, "mode": "execute"}, **more
    )


def manifest(session: str, owner: str) -> Given:
    data = {"manifest": {"owner": owner}}
    return given(session, 2, {"type": "Custom", "event_type": "vagus.manifest_set", "data": data})


async def test_the_queries_of_the_document_give_what_it_says(
    postgres_server: PostgresServer, schema: str
) -> None:
    await load(postgres_server, schema)
    document = DOCUMENT.read_text()
    found = await run_sync(lambda: answered(document, lambda query: ask(postgres_server, schema, query)))
    assert found == document


async def test_cost_is_what_budgets_shrank_by_and_no_extension_hides_it(
    postgres_server: PostgresServer, schema: str
) -> None:
    def extended(sequence: int) -> Given:
        data = {"extension": {"cost_usd": 2.0, "tokens": 1000}}
        return given("s", sequence, {"type": "Custom", "event_type": "vagus.budget_extended", "data": data})

    events = [
        manifest("s", "ada"),
        estimated("s", 3, 5.0, 100),
        budget("s", 4, 4.0, 90),
        extended(5),
        estimated("s", 6, 6.0, 1090, at="2026-11-24T00:00:00Z"),
        budget("s", 7, 5.5, 1080, at="2026-11-24T00:00:00Z"),
        budget("s", 8, 5.75, 1080, at="2026-11-24T00:00:00Z"),  # restored: nothing was spent
        estimated("s", 1, 5.5, 1080, branch="b"),
        budget("s", 2, 5.25, 1000, branch="b"),
    ]
    query = "SELECT day::text, cost_usd::float, budget_tokens FROM spending_by_owner_and_day ORDER BY 1"
    found = await asked(postgres_server, schema, events, query)
    assert found == [("2026-11-23", 1.25, 90), ("2026-11-24", 0.5, 10)]


def requested(sequence: int, approval: str, call: str, at: str = "2026-11-23T10:00:00Z") -> Given:
    kind = {"type": "ApprovalRequested", "approval_id": approval, "call_id": call, "tool_name": "pay"}
    return given("s", sequence, kind | {"arguments": {}, "risk": "high", "capability": "c"}, at=at)


def resolved(sequence: int, approval: str, decision: str) -> Given:
    return given("s", sequence, {"type": "ApprovalResolved", "approval_id": approval, "decision": decision})


async def test_only_tickets_that_can_be_answered_wait(postgres_server: PostgresServer, schema: str) -> None:
    events = [
        requested(1, "approved", "a"),
        requested(2, "left-of-a", "a"),
        resolved(3, "approved", "approved"),
        requested(4, "denied", "b"),
        requested(5, "withdrawn", "b"),
        resolved(6, "denied", "denied"),
        given("s", 7, {"type": "ToolCallFailed", "call_id": "b", "tool_name": "pay", "error": "denied"}),
    ]
    query = "SELECT approval_id, age = now() - asked_at FROM approvals_waiting"
    assert await asked(postgres_server, schema, events, query) == [("left-of-a", True)]


async def test_who_denied_a_call_is_told(postgres_server: PostgresServer, schema: str) -> None:
    events = [
        requested(1, "a", "a"),
        resolved(2, "a", "timeout"),
        requested(3, "b", "b"),
        resolved(4, "b", "denied"),
        requested(5, "c", "c"),
        resolved(6, "c", "approved"),
        given("s", 7, {"type": "PolicyEvaluated", "tool_name": "x", "decision": "deny", "rule_id": "r"}),
        given("s", 8, {"type": "PolicyEvaluated", "tool_name": "x", "decision": "allow"}),
    ]
    query = "SELECT sequence, denied_by, tool FROM denied_calls ORDER BY 1"
    found = await asked(postgres_server, schema, events, query)
    assert found == [(2, "nobody", "pay"), (4, "person", "pay"), (7, "policy", "x")]


async def test_a_sessions_mode_is_that_of_its_main_branch(
    postgres_server: PostgresServer, schema: str
) -> None:
    events = [
        manifest("s", "ada"),
        estimated("s", 3, 5, 5),
        given("s", 4, {"type": "ModeChanged", "from": "execute", "to": "recover", "reason": "r"}),
        estimated("s", 9, 5, 5, branch="b"),
        manifest("t", "ada"),
        estimated("t", 3, 5, 5),
        given("t", 4, {"type": "SessionClosed", "reason": "done"}),
        manifest("u", "grace"),
    ]
    query = "SELECT mode, sessions FROM sessions_by_mode ORDER BY 1"
    found = await asked(postgres_server, schema, events, query)
    assert found == [("closed", 1), ("new", 1), ("recover", 1)]
