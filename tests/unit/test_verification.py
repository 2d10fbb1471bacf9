from collections.abc import Callable

import msgspec
import pytest

from tests.kit.events import records
from vagus.contract.codec import seal
from vagus.contract.events import BranchCreated, BranchMerged, ErrorRaised, EventKind
from vagus.contract.sessions import SessionSummary
from vagus.runtime.eventlog import Commit
from vagus.sdk.verification import Verification, Verifier

LOST = "the store has lost it, or cannot read it"
SUMMARY = {
    "manifest": {
        "session_id": "s",
        "owner": "me",
        "created_at": "2026-04-05T12:26:01Z",
        "workspace_root": "/s",
        "model_routing": {"primary_model": "m", "fallback_models": []},
        "policy": {
            "allow_capabilities": [],
            "gate_capabilities": [],
            "max_tool_runtime_secs": 1,
            "max_events_per_turn": 1,
        },
    },
    "mode": "explore",
    "tick_count": 1,
    "pending_approvals": 0,
    "policy_version": 1,
    "closed": False,
    "updated_at": "2026-04-05T12:26:01Z",
    "stream_sequence": 5,
}


def error(text: str) -> ErrorRaised:
    return ErrorRaised(message=text)


class Log:
    """Commits, sealed as a kernel does."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.digests: dict[str, list[str]] = {}

    def commit(self, *kinds: EventKind, branch: str = "main", after: str | None = None) -> None:
        known = self.digests.setdefault(branch, [])
        previous = after if after is not None else (known[-1] if known else "")
        sealed = seal(records(*kinds, first=len(known) + 1, branch=branch), previous)
        self.commits.append(
            Commit(
                session_id="s",
                branch_id=branch,
                stream_sequence=len(self.commits) + 1,
                first=len(known) + 1,
                last=len(known) + len(kinds),
                payload=sealed.payload,
                stored_at="2026-04-05T12:26:01Z",
            )
        )
        known += [str(record.digest) for record in sealed.records]

    def verified(
        self,
        change: Callable[[int, Commit], Commit | None] = lambda place, commit: commit,
        known: SessionSummary | None = None,
    ) -> Verification:
        verifier = Verifier("s")
        for place, commit in enumerate(self.commits):
            changed = change(place, commit)
            if changed is not None:
                verifier.take(changed)
        return verifier.result(len(self.commits), known)


@pytest.fixture
def log() -> Log:
    """Main with two commits, a fork of its second event, a fork at 0, and a merge."""
    made = Log()
    made.commit(error("a"), error("b"))
    made.commit(error("c"))
    fork = BranchCreated(new_branch_id="b", fork_point_seq=2, name="b", from_branch="main")
    made.commit(fork, error("d"), branch="b", after=made.digests["main"][1])
    root = BranchCreated(new_branch_id="z", fork_point_seq=0, name="z", from_branch="main")
    made.commit(root, branch="z")
    made.commit(BranchMerged(source_branch_id="b", merge_seq=2))
    return made


def changed(commit: Commit, payload: bytes) -> Commit:
    return Commit(
        **{**{name: getattr(commit, name) for name in commit.__struct_fields__}, "payload": payload}
    )


def test_a_whole_log_is_verified_with_its_forks(log: Log) -> None:
    found = log.verified()
    assert found.ok
    assert found.problems == ()
    assert (found.commits, found.events) == (5, 7)
    assert [(branch.branch_id, branch.events) for branch in found.branches] == [
        ("b", 2),
        ("main", 4),
        ("z", 1),
    ]
    assert found.branches[1].digest == log.digests["main"][-1]


@pytest.mark.parametrize("place", range(5))
def test_one_changed_byte_is_found(log: Log, place: int) -> None:
    def change(at: int, commit: Commit) -> Commit:
        return (
            changed(commit, commit.payload.replace(b"2026-04-05", b"2026-04-06")) if at == place else commit
        )

    found = log.verified(change)
    assert not found.ok
    assert "is not as it was written" in found.problems[0]
    assert f"commit {place + 1}" in found.problems[0]


@pytest.mark.parametrize("place", [1, 2, 4])
def test_a_commit_that_is_missing_or_doubled_is_found(log: Log, place: int) -> None:
    log.commit(error("e"))
    log.commit(error("e"), branch="z")
    missing = log.verified(lambda at, commit: None if at == place else commit)
    assert not missing.ok
    assert f"commit {place + 1}" in missing.problems[0]
    log.commits.insert(place, log.commits[place])
    assert not log.verified().ok


def test_events_of_another_session_branch_or_agent_are_found(log: Log) -> None:
    for old, new, said in (
        (b'"session_id":"s"', b'"session_id":"t"', "says it belongs to t/main"),
        (b'"branch_id":"main"', b'"branch_id":"b"', "says it belongs to s/b"),
        (b"aaaaaaaa-", b"bbbbbbbb-", "is another agent's"),
    ):
        found = log.verified(
            lambda at, commit, old=old, new=new: (
                changed(commit, commit.payload.replace(old, new)) if at == 1 else commit
            )  # type: ignore[misc]
        )
        assert any(said in problem for problem in found.problems)


def test_a_merged_branch_that_goes_on_is_found(log: Log) -> None:
    log.commit(error("after the merge"), branch="b")
    assert any("merged before it" in problem for problem in log.verified().problems)


def test_a_branch_that_begins_with_something_else_is_found(log: Log) -> None:
    log.commit(error("x"), branch="stray")
    assert any("is no BranchCreated" in problem for problem in log.verified().problems)


def test_headers_that_lie_are_found(log: Log) -> None:
    def lie(at: int, commit: Commit) -> Commit:
        fields = {name: getattr(commit, name) for name in commit.__struct_fields__}
        return Commit(**{**fields, "last": 9}) if at == 1 else commit

    assert "does not hold the sequences" in log.verified(lie).problems[0]


def test_a_line_that_is_no_event_is_found(log: Log) -> None:
    found = log.verified(lambda at, commit: changed(commit, b"[]\n") if at == 1 else commit)
    assert found.problems[0].startswith("event 3 of main (commit 2) cannot be read")
    assert found.first_bad is not None
    assert (found.first_bad.branch_id, found.first_bad.sequence, found.first_bad.commit) == ("main", 3, 2)


def test_an_end_that_is_missing_is_found_by_what_the_registry_knows(log: Log) -> None:
    def known(**heads: int) -> SessionSummary:
        nothing = {"parent_branch": None, "fork_sequence": 0, "merged_into": None}
        branches = [nothing | {"branch_id": name, "head_sequence": head} for name, head in heads.items()]
        return msgspec.convert(SUMMARY | {"branches": branches}, SessionSummary)

    assert log.verified(known=known(main=4, b=2, z=1)).ok
    found = log.verified(known=known(main=6, b=2, z=2))
    assert found.problems == (
        f"event 5 of main (commit 6 or later) is missing, and those up to 6: {LOST}",
        f"event 2 of z (commit 6 or later) is missing: {LOST}",
    )


def test_what_follows_a_lost_commit_is_still_checked(log: Log) -> None:
    log.commit(error("e"))
    log.commit(error("f"))

    def lose(at: int, commit: Commit) -> Commit | None:
        if at == 1:
            return None
        return changed(commit, commit.payload.replace(b'"e"', b'"E"')) if at == 5 else commit

    found = log.verified(lose)
    assert found.problems[0] == f"event 3 of main (commit 2) is missing: {LOST}"
    assert "event 5 of main (commit 6) is not as it was written" in found.problems[1]


def test_problems_are_bounded() -> None:
    broken = Log()
    for _ in range(50):
        broken.commit(error("x"), after="nonsense")
    assert len(broken.verified().problems) == 20
