"""What differs between two accounts of one trace, in lines that a reader can check against a ruling.

    + ModeChanged {"from": "explore", "reason": "…", "to": "recover"} before ToolCallFailed
    ~ ToolCallCompleted.duration_ms 0 -> 7
    - FileMutated {"content_hash": "…", "path": "artifacts/x"} before Custom ObservationExtracted

Left out is what follows from the rest: ids, sequences that only move because of others before them, and the
hash of a state that is shown.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

from tests.parity.account import Account, Json, Output, Told
from tests.parity.projection import canonical

_ID = re.compile(r"<id:\d+>")
_DERIVED = frozenset(
    [
        "events_emitted",
        "last_sequence",
        "state",
        "fork_sequence",
        "head_sequence",
        "source_head_sequence",
        "target_head_sequence",
    ]
)
"""Fields of outputs that follow from the events."""


def differences(before: Account, after: Account) -> dict[str, list[int]]:
    """Each difference with the steps it is met in, once for every time it is met."""
    found: dict[str, list[int]] = {}
    for step, text in sorted(_all(_settled(before), _settled(after)), key=lambda pair: pair[0]):
        found.setdefault(text, []).append(step)
    return found


def _all(before: Account, after: Account) -> Iterator[tuple[int, str]]:
    for session in before.events | after.events:
        ours, theirs = before.events.get(session, {}), after.events.get(session, {})
        for branch in ours | theirs:
            where = "" if branch == "main" else f" on {branch}"
            yield from _events(ours.get(branch, []), theirs.get(branch, []), where)
    for step, (old, new) in enumerate(zip(before.outputs, after.outputs, strict=True)):
        for text in _outputs(old, new):
            yield step, text


# Ids and sequences -----------------------------------------------------------------------------------------


def _settled(account: Account) -> Account:
    """Ids as `<id>` where they are met first and `<id again>` later, sequences as what they name."""
    seen: set[str] = set()

    def name(found: re.Match[str]) -> str:
        fresh = found.group() not in seen
        seen.add(found.group())
        return "<id>" if fresh else "<id again>"

    settled = Account(outputs=account.outputs)
    for session, branches in account.events.items():
        for branch, told in branches.items():
            for position, event in enumerate(told):
                kind = _without_sequences(event.kind, position, session, account)
                settled.append(_ID.sub("<id>", session), branch, Told(event.step, _renamed(kind, name)))
    return settled


def _renamed(value: Json, name: object) -> Json:
    match value:
        case str():
            return _ID.sub(name, value)  # type: ignore[call-overload]
        case dict():
            return {key: _renamed(item, name) for key, item in value.items()}
        case list():
            return [_renamed(item, name) for item in value]
    return value


def _without_sequences(kind: Json, position: int, session: str, account: Account) -> Json:
    match kind:
        case {"type": "CheckpointCreated", "event_sequence": sequence}:
            rest = {name: value for name, value in kind.items() if name != "state_hash"}
            return {**rest, "event_sequence": sequence - position - 1}
        case {"type": "BranchMerged", "merge_seq": sequence, "source_branch_id": source}:
            return {**kind, "merge_seq": _at(account, session, source, sequence)}
        case {"type": "BranchCreated", "fork_point_seq": _}:
            return {name: value for name, value in kind.items() if name != "fork_point_seq"}
    return kind


def _at(account: Account, session: str, branch: str, sequence: int) -> str:
    told = account.events[session][branch]
    return f"{label(told[sequence - 1].kind)} of step {told[sequence - 1].step}" if sequence else "nothing"


# Events ----------------------------------------------------------------------------------------------------


def label(kind: Json) -> str:
    """An event's type, and which of its type it is."""
    detail = kind.get("phase") or kind.get("event_type")
    return f"{kind['type']} {detail}" if detail else str(kind["type"])


def _events(before: Sequence[Told], after: Sequence[Told], where: str) -> Iterator[tuple[int, str]]:
    for step in sorted({event.step for event in (*before, *after)}):
        old = [event.kind for event in before if event.step == step]
        new = [event.kind for event in after if event.step == step]
        for text in _aligned(old, new, where):
            yield step, text


def _aligned(old: Sequence[Json], new: Sequence[Json], where: str) -> Iterator[str]:
    if old == new:
        return
    matcher = SequenceMatcher(
        None, [label(kind) for kind in old], [label(kind) for kind in new], autojunk=False
    )
    for operation, i, j, k, m in matcher.get_opcodes():
        if operation == "equal":
            for one, other in zip(old[i:j], new[k:m], strict=True):
                yield from (f"~ {label(one)}{text}{where}" for text in _fields(one, other, ""))
            continue
        for kind in old[i:j]:
            yield f"- {_whole(kind)}{where}"
        at = f" before {label(new[m])}" if m < len(new) else " at the end"
        for kind in new[k:m]:
            yield f"+ {_whole(kind)}{at}{where}"


def _whole(kind: Json) -> str:
    rest = {name: value for name, value in kind.items() if name not in ("type", "phase", "event_type")}
    return f"{label(kind)} {canonical(rest)}" if rest else label(kind)


def _fields(old: Json, new: Json, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old | new):
            yield from _fields(old.get(name), new.get(name), f"{path}.{name}")
    elif canonical(old) != canonical(new):
        yield f"{path} {canonical(old)} -> {canonical(new)}"


# Outputs ---------------------------------------------------------------------------------------------------


def _outputs(old: Output, new: Output) -> Iterator[str]:
    yield from (f"~ output{text}" for text in _fields(_result(old), _result(new), ""))
    for one, other in zip_longest(old.model_requests, new.model_requests):
        yield from _requests(one, other)
    yield from _listed("tool request", old.tool_requests, new.tool_requests)
    yield from _listed("policy decision", old.policy_decisions, new.policy_decisions)


def _result(output: Output) -> Json:
    error = output.error_type or output.error
    if output.op == "read_events" or (error is None and output.ok is None):
        return {}  # what is read is what was told
    if error is not None:
        return {"error": _ID.sub("<id>", error)}
    return {"ok": _shortened(output.ok)}


def _shortened(ok: Json) -> Json:
    match ok:
        case dict():
            return {name: _shortened(value) for name, value in ok.items() if name not in _DERIVED}
        case list():
            return [_shortened(item) for item in ok]
        case str():
            return _ID.sub("<id>", ok)
    return ok


def _requests(old: Json, new: Json) -> Iterator[str]:
    if old is None or new is None:
        yield f"{'+' if old is None else '-'} model request {canonical((new or old)['objective'])}"
        return
    before, after = (request.get("conversation_history", []) for request in (old, new))
    turns = [[(turn["role"], turn["content"]) for turn in history] for history in (before, after)]
    for operation, i, j, k, m in SequenceMatcher(None, turns[0], turns[1], autojunk=False).get_opcodes():
        if operation == "equal":
            continue
        for role, content in turns[0][i:j]:
            is_objective = j == len(turns[0]) and (role, content) == ("user", old["objective"])
            shown = "the objective" if is_objective else f"{role} {canonical(content)}"
            yield f"- turn of the conversation: {shown}"
        for role, content in turns[1][k:m]:
            yield f"+ turn of the conversation: {role} {canonical(content)}"
    rest = [{name: v for name, v in r.items() if name != "conversation_history"} for r in (old, new)]
    yield from (f"~ model request{text}" for text in _fields(_shortened(rest[0]), _shortened(rest[1]), ""))


def _listed(what: str, old: Sequence[Json], new: Sequence[Json]) -> Iterator[str]:
    shown = [[_ID.sub("<id>", canonical(item)) for item in items] for items in (old, new)]
    for operation, i, j, k, m in SequenceMatcher(None, shown[0], shown[1], autojunk=False).get_opcodes():
        if operation != "equal":
            yield from (f"- {what} {text}" for text in shown[0][i:j])
            yield from (f"+ {what} {text}" for text in shown[1][k:m])
