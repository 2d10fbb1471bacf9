"""The tools of a trace: scripted ones, all of them known, or the built-in ones where the trace has those."""

from collections.abc import Mapping
from pathlib import Path

from tests.parity.trace import Trace
from vagus.contract.errors import HarnessError
from vagus.contract.hashing import sha256_hex
from vagus.contract.json import Json
from vagus.contract.tools import FileMutation, Success, ToolDefinition, ToolExecutionReport
from vagus.tools import ToolContext
from vagus_kernel.effects import RunTool
from vagus_policygate.evaluate import KnownTool
from vagus_toolrunner.files import FILE_TOOLS
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.shell import shell_exec


class Workshop:
    """What gate and runner know of tools; `workspaces` is where the built-in ones work."""

    def __init__(self, trace: Trace, workspaces: Path) -> None:
        self._workspaces = workspaces
        self._built_in = {}
        if trace.baseline:
            tools = (*FILE_TOOLS, shell_exec(allowed=(), path="", reaper=Reaper()))
            self._built_in = {tool.definition.name: tool for tool in tools}
        self.definitions: Mapping[str, ToolDefinition] = (
            {name: tool.definition for name, tool in self._built_in.items()}
            if trace.baseline
            else {name: ToolDefinition(name=name, input_schema={}) for name in _named(trace.steps)}
        )
        self.known = {name: KnownTool(definition) for name, definition in self.definitions.items()}

    def run(self, session: str, effect: RunTool) -> ToolExecutionReport | str:
        """Run a built-in tool; the harness's error as text."""
        tool, given = self._built_in[effect.call.tool_name], effect.call.input
        workspace = self._workspaces / session
        workspace.mkdir(exist_ok=True)
        assert isinstance(given, dict)
        try:
            output: Json = tool(ToolContext(workspace=workspace), **given)
        except HarnessError as error:
            return error.message.replace(str(self._workspaces), "<path>/root/sessions")
        mutated = tuple(
            FileMutation(path=path, content_hash=sha256_hex((workspace / path).read_bytes()))
            for path in tool.paths(given)
        )
        return ToolExecutionReport(
            tool_run_id=effect.tool_run_id,
            call_id=effect.call.call_id,
            tool_name=effect.call.tool_name,
            exit_status=0,
            duration_ms=0,
            outcome=Success(output=output),
            mutated=mutated,
        )


def _named(value: object) -> set[str]:
    """Every tool that is called somewhere in these steps."""
    match value:
        case dict():
            own = {value["tool_name"]} if "tool_name" in value else set()
            return own.union(*map(_named, value.values()))
        case list() | tuple():
            return set().union(*map(_named, value))
    return set()
