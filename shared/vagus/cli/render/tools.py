"""Tools, for people."""

from rich.text import Text

from vagus.cli.render.console import console, table
from vagus.cli.render.text import clean
from vagus.contract.tools import ToolDefinition


def listed(tools: list[ToolDefinition]) -> None:
    """All tools."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(tool.name, style="bold"),
            _inputs(tool),
            "\n".join(tool.capabilities),
            _promises(tool),
            f"{tool.timeout_secs} s",
            tool.pool,
            clean(tool.description, 80),
        )
        for tool in tools
    ]
    columns = ("TOOL", "INPUT", "NEEDS", "PROMISES", "TIMEOUT", "POOL", "")
    console().print(table(*columns, rows=rows, empty="no tools: start a tool runner (vagus up does)"))


def _inputs(tool: ToolDefinition) -> str:
    fields = tool.input_schema.get("properties")
    required = tool.input_schema.get("required")
    needed = required if isinstance(required, list) else []
    return (
        ", ".join(name if name in needed else f"{name}?" for name in fields)
        if isinstance(fields, dict)
        else ""
    )


def _promises(tool: ToolDefinition) -> str:
    said = tool.annotations
    return ", ".join(
        name
        for name, true in (
            ("read-only", said.read_only),
            ("idempotent", said.idempotent),
            ("destructive", said.destructive),
        )
        if true
    )
