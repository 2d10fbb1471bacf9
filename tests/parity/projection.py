"""Makes accounts comparable: ids become placeholders by first appearance, times and paths too."""

import json
import re
from dataclasses import replace
from typing import Any

from tests.parity.account import Account, Json, Output, Told
from tests.parity.trace import Trace

_ID = re.compile(
    r"<(?:uuid|new):[^>]+>|(?!00000000)[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_MANIFEST = re.compile(r"<manifest(?:-sha256:\d+)?>")


def canonical(value: Json) -> str:
    """JSON text that is the same for the same value: `1` and `1.0` differ, the order of members does not."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class Names:
    """Placeholders of one account."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def name(self, found: str) -> str:
        return self._known.setdefault(found, f"<id:{len(self._known) + 1}>")

    def of(self, value: Json) -> Json:
        match value:
            case str():
                if "<" not in value and "-" not in value:
                    return value
                text = _ID.sub(lambda found: self.name(found.group()), value)
                return _MANIFEST.sub("<manifest>", _TIME.sub("<ts>", text))
            case dict():
                return {
                    self.of(key): self.name(item) if key == "tool_run_id" else self.of(item)
                    for key, item in value.items()
                }
            case list() | tuple():
                return [self.of(item) for item in value]
        return value


def project(account: Account) -> Account:
    """The same account with placeholders; ids are numbered through events first, then outputs."""
    names = Names()
    projected = Account()
    for session, branches in account.events.items():
        for branch, told in branches.items():
            for event in told:
                kind = names.of(event.kind)
                projected.append(names.of(session), branch, Told(event.step, kind))
    for output in account.outputs:
        projected.outputs.append(
            Output(
                op=output.op,
                ok=names.of(output.ok),
                error=names.of(output.error),
                error_type=output.error_type,
                model_requests=names.of(output.model_requests),
                tool_requests=names.of(output.tool_requests),
                policy_decisions=names.of(output.policy_decisions),
            )
        )
    return projected


def golden(trace: Trace) -> Account:
    """What the original told, as far as it was recorded: events without their envelopes."""
    account = Account()
    for session, branches in trace.events.items():
        for branch, events in branches.items():
            for kind in _kinds(events):
                account.append(session, branch, Told(-1, kind))
    for output in trace.outputs:
        account.outputs.append(
            Output(
                op=output["op"],
                ok=_bare(output["op"], output.get("ok")),
                error=output.get("error") or output.get("panic"),
                model_requests=output.get("model_requests", []),
                tool_requests=output.get("tool_requests", []),
                policy_decisions=output.get("policy_decisions", []),
            )
        )
    return account


def recorded(account: Account, trace: Trace) -> Account:
    """As much of an account as was recorded of the original's."""
    known = Account()
    for session, branches in account.events.items():
        for branch, told in branches.items():
            for event in told:
                kind = {"types": {"type": event.kind["type"]}, "none": {}}.get(
                    trace.events_detail, event.kind
                )
                known.append(session, branch, Told(-1, kind))
    for output in account.outputs:
        if trace.requests_detail == "none":
            output = replace(output, model_requests=[], tool_requests=[], policy_decisions=[])
        known.outputs.append(replace(output, error_type=None))
    return known


def _kinds(events: Any) -> list[Json]:
    if isinstance(events, dict):
        return [{}] * events["count"]
    return [{"type": event[1]} if isinstance(event, list) else event["kind"] for event in events]


def _bare(op: str, ok: Any) -> Any:
    """Records that were read, without their envelopes."""
    if op == "read_events" and ok and isinstance(ok[0], dict):
        return [{"sequence": record["sequence"], "kind": record["kind"]} for record in ok]
    return ok
