"""The gate, the model and the tools behind the original's ports."""

import hashlib
import posixpath
from collections.abc import Mapping
from typing import Any, Final

from tests.parity.reference.runtime import Runtime
from tests.parity.script import DECLARED, Script, error_text
from tests.parity.trace import Object
from vagus.contract.policy import PolicyDecision, PolicySet, evaluate

DERIVED: Final = {"fs.read": "fs:read:", "fs.write": "fs:write:", "shell.exec": "exec:cmd:"}
REQUIRED: Final = {
    "fs.read": "fs:read:/session/**",
    "fs.write": "fs:write:/session/artifacts/**",
    "shell.exec": "exec:cmd:*",
}
"""What the original's own tools always needed, whatever their input."""


class Ports:
    """What a runtime asks."""

    def __init__(self, runtime: Runtime, script: Script) -> None:
        self._runtime = runtime
        self._script = script

    def answer(self, session: str, branch: str, objective: str) -> tuple[Object | None, str, float]:
        """The completion, or an error; and how many milliseconds it takes."""
        if self._runtime.trace.baseline:
            return _baseline(objective), "", 0
        said = self._script.answer(session, branch)
        wait = said.get("sleep_ms") or 0
        if "error" in said:
            return None, error_text(said["error"]), wait
        return said["completion"], "", wait

    def judge(self, policy: PolicySet, call: Object) -> tuple[PolicyDecision, str]:
        """The gate's decision, and why the call is refused for other reasons than capabilities."""
        asked = list(call["requested_capabilities"])
        if self._runtime.trace.baseline and self._runtime.rules("W39"):
            tool, given = call["tool_name"], call["input"]
            if tool not in DERIVED:
                return PolicyDecision(), f"tool not found: {tool}"
            if tool == "fs.write" and "content" not in given:
                return PolicyDecision(), "invalid input: 'content' is a required property"
            subject = given["command"] if tool == "shell.exec" else f"/session/{given['path'].lstrip('/')}"
            asked.append(DERIVED[tool] + subject)
        return evaluate(policy, asked), ""

    def run(self, session: str, policy: PolicySet, call: Object) -> tuple[Object | None, str | None]:
        """A tool's report, or the harness's error."""
        if self._runtime.trace.baseline:
            return self._built_in(session, policy, call)
        return self._script.run(session, call)

    def _built_in(self, session: str, policy: PolicySet, call: Object) -> tuple[Object | None, str | None]:
        tool, given = call["tool_name"], call["input"]
        if tool not in REQUIRED:
            return None, f"runtime error: unknown tool: {tool}"
        if not self._runtime.rules("W39"):
            decision = evaluate(policy, [REQUIRED[tool], *call["requested_capabilities"]])
            if decision.denied:
                return None, f"runtime error: capabilities denied for tool {tool}"
            if decision.requires_approval:
                return None, f"approval required: tool execution requires approval: {tool}"
        if tool == "fs.write" and "content" not in given:
            return None, "runtime error: fs.write requires input.content"
        path, files = given["path"], self._runtime.files
        if tool == "fs.write" and posixpath.normpath(path).startswith(".."):
            return None, f"runtime error: path escapes workspace root: {path}"
        if tool == "fs.write":
            files.write(session, path, given["content"])
            return _report(call, {"bytes": len(given["content"].encode()), "path": path}), None
        text = None if ".." in path else files.read(session, path)
        if text is None:
            full = f"<path>/root/sessions/{session}/{path.lstrip('/')}"
            return None, f'runtime error: failed reading file "{full}"'
        return _report(call, {"content": text, "path": path}), None

    def mutation(self, session: str, call: Object, outcome: Object) -> dict[str, Any] | None:
        """FileMutated, if the tool's run gives one; IsADirectoryError, if its path is one."""
        output = outcome.get("output")
        path = output.get("path") if isinstance(output, Mapping) else None
        if not isinstance(path, str):
            return None
        if self._runtime.rules("W34") and call["tool_name"] not in DECLARED:
            return None
        try:
            text = self._runtime.files.read(session, path)
        except IsADirectoryError:
            if self._runtime.rules("W35"):
                return None
            raise
        digest = "deleted" if text is None else hashlib.sha256(text.encode()).hexdigest()
        return {"path": path, "content_hash": digest}


def _report(call: Object, output: Object) -> dict[str, Any]:
    return {
        "tool_run_id": f"<new:{call['call_id']}>",
        "exit_status": 0,
        "duration_ms": 0,
        "outcome": {"status": "success", "output": output},
    }


def _baseline(objective: str) -> dict[str, Any]:
    return {
        "model": "baseline-deterministic",
        "directives": [
            {"type": "message", "role": "assistant", "content": f"working on: {objective}"},
            {"type": "text_delta", "delta": " done", "index": 0},
        ],
        "stop_reason": "completed",
        "usage": {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 20},
        "final_answer": f"objective received: {objective}",
    }
