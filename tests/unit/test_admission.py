from pathlib import Path
from typing import Any

import msgspec
import pytest

from vagus.contract.clock import format_ns
from vagus.contract.errors import HarnessError, Malformed
from vagus.contract.grants import Grant, GrantLimits, call_hash
from vagus.contract.messages import ToolRequest
from vagus.contract.tools import ToolCall
from vagus.runtime.grants import GrantSigner, GrantVerifier, generate_key
from vagus_toolrunner import admission

NOW_NS = 1_800_000_000_000_000_000
CALL = ToolCall(call_id="c", tool_name="t", input={"a": [1, "x"]})


@pytest.fixture
def signer(tmp_path: Path) -> GrantSigner:
    generate_key(tmp_path / "seed")
    return GrantSigner.from_file(tmp_path / "seed")


@pytest.fixture
def verifier(signer: GrantSigner) -> GrantVerifier:
    return GrantVerifier([signer.public_key])


def grant(**changes: Any) -> Grant:
    good = Grant(
        session_id="s",
        branch_id="b",
        tool_run_id="r",
        call_hash=call_hash(CALL),
        capabilities=(),
        limits=GrantLimits(timeout_secs=20),
        issued_at=NOW_NS // 1_000_000,
        expires_at=NOW_NS // 1_000_000 + 60_000,
    )
    return msgspec.structs.replace(good, **changes)


def request(token: str, **changes: Any) -> ToolRequest:
    good = ToolRequest(
        effect_id="e",
        attempt=1,
        session_id="s",
        branch_id="b",
        workspace_root="/root/sessions/s",
        call=CALL,
        tool_run_id="r",
        deadline=format_ns(NOW_NS + 30_000_000_000),
        grant=token,
    )
    return msgspec.structs.replace(good, **changes)


def test_a_grant_for_exactly_this_call_is_accepted(signer: GrantSigner, verifier: GrantVerifier) -> None:
    assert admission.granted(request(signer.sign(grant())), verifier) == grant()


def test_other_call_ids_and_declared_capabilities_change_nothing(
    signer: GrantSigner, verifier: GrantVerifier
) -> None:
    call = msgspec.structs.replace(CALL, call_id="other", requested_capabilities=("x",))
    admission.granted(request(signer.sign(grant()), call=call), verifier)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"session_id": "other"}, "another session or branch"),
        ({"branch_id": "other"}, "another session or branch"),
        ({"tool_run_id": "other"}, "another run"),
        ({"call": msgspec.structs.replace(CALL, tool_name="other")}, "another tool or input"),
        ({"call": msgspec.structs.replace(CALL, input={"a": [1, "y"]})}, "another tool or input"),
        ({"call": msgspec.structs.replace(CALL, input={"a": [1, "x"], "b": 1})}, "another tool or input"),
        ({"call": msgspec.structs.replace(CALL, input=None)}, "another tool or input"),
    ],
)
def test_a_grant_for_anything_else_is_refused(
    signer: GrantSigner, verifier: GrantVerifier, changes: Any, why: str
) -> None:
    with pytest.raises(HarnessError, match=rf"^grant refused: it is for {why}"):
        admission.granted(request(signer.sign(grant()), **changes), verifier)


def test_what_is_not_signed_by_a_trusted_key_is_refused(
    signer: GrantSigner, verifier: GrantVerifier, tmp_path: Path
) -> None:
    generate_key(tmp_path / "forger")
    forged = GrantSigner.from_file(tmp_path / "forger").sign(grant())
    good = signer.sign(grant())
    payload, _, signature = good.partition(".")
    wider, _, _ = signer.sign(grant(capabilities=("*",))).partition(".")
    for token in (
        "",
        "x",
        forged,
        payload,
        f"{payload}.",
        f".{signature}",
        f"{wider}.{signature}",
        good + "A",
    ):
        with pytest.raises(HarnessError, match=r"^grant refused: "):
            admission.granted(request(token), verifier)


def test_an_input_too_deep_to_hash_is_refused(signer: GrantSigner, verifier: GrantVerifier) -> None:
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    call = msgspec.structs.replace(CALL, input=deep)
    with pytest.raises(HarnessError, match=r"^grant refused: "):
        admission.granted(request(signer.sign(grant()), call=call), verifier)


@pytest.mark.parametrize(
    ("of_tool", "of_grant", "of_deadline", "left"), [(10, 20, 30, 10), (40, 20, 30, 20), (40, 50, 30, 30)]
)
def test_the_shortest_of_the_three_times_holds(
    of_tool: float, of_grant: int, of_deadline: int, left: float
) -> None:
    granted = grant(limits=GrantLimits(timeout_secs=of_grant))
    asked = request("", deadline=format_ns(NOW_NS + of_deadline * 1_000_000_000))
    assert admission.time_left(asked, granted, of_tool, NOW_NS) == left


def test_nothing_starts_under_an_expired_grant_or_past_its_deadline() -> None:
    with pytest.raises(HarnessError, match="grant refused: it has expired"):
        admission.time_left(request(""), grant(expires_at=NOW_NS // 1_000_000), 10, NOW_NS)
    with pytest.raises(HarnessError, match="past its deadline"):
        admission.time_left(request("", deadline=format_ns(NOW_NS)), grant(), 10, NOW_NS)
    with pytest.raises(Malformed):
        admission.time_left(request("", deadline="soon"), grant(), 10, NOW_NS)


@pytest.mark.parametrize("named", ["/root/sessions/s", "/root/./sessions/s/", "/root/sessions/x/../s"])
def test_the_workspace_is_the_sessions_own(named: str) -> None:
    assert admission.workspace_of(request("", workspace_root=named), Path("/root")) == Path(
        "/root/sessions/s"
    )


@pytest.mark.parametrize("named", ["/root/sessions/other", "/root/sessions", "/", "", "sessions/s"])
def test_another_folder_than_the_sessions_is_refused(named: str) -> None:
    with pytest.raises(HarnessError, match="VAGUS_ROOT"):
        admission.workspace_of(request("", workspace_root=named), Path("/root"))
