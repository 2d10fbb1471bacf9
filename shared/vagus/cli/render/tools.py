"""Tools, for people."""

from rich.text import Text

from vagus.cli.render.console import console
from vagus.cli.render.text import clean
from vagus.contract.tools import ToolDefinition


def listed(tools: list[ToolDefinition]) -> None:
    """All tools, a few lines each."""
    out = console()
    if not tools:
        out.print(Text("no tools: start a tool runner, as `vagus up` does", style="dim"))
    for tool in tools:
        out.print(Text.assemble((tool.name, "bold"), f" {_inputs(tool)}"))
        if tool.description:
            out.print(Text(f"  {clean(tool.description, 300)}"))
        out.print(Text(f"  {' · '.join(_facts(tool))}", style="dim"))


def _inputs(tool: ToolDefinition) -> str:
    """The fields of its input; those that may be left out carry a question mark."""
    fields = tool.input_schema.get("properties")
    required = tool.input_schema.get("required")
    if not isinstance(fields, dict):
        return ""
    needed = required if isinstance(required, list) else []
    return " ".join(clean(name) if name in needed else f"{clean(name)}?" for name in fields)


def _facts(tool: ToolDefinition) -> list[str]:
    """What it needs, what it promises, and where it runs."""
    said = tool.annotations
    promises = (
        ("read-only", said.read_only),
        ("idempotent", said.idempotent),
        ("destructive", said.destructive),
    )
    return [
        *(f"needs {clean(capability)}" for capability in tool.capabilities),
        *(promise for promise, given in promises if given),
        f"at most {tool.timeout_secs} s",
        f"pool {tool.pool}",
    ]
