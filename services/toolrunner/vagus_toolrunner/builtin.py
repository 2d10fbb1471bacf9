"""The tools that come with Vagus."""

from typing import Any

from vagus.tools import Tool
from vagus_toolrunner.files import FILE_TOOLS
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.settings import RunnerSettings
from vagus_toolrunner.shell import shell_exec


def workspace_tools(settings: RunnerSettings, reaper: Reaper) -> tuple[Tool[Any, Any], ...]:
    """What works in a session's workspace; nothing, if the runner has none."""
    if not settings.workspace_tools:
        return ()
    shell = shell_exec(
        allowed=frozenset(settings.allowed_commands), path=settings.command_path, reaper=reaper
    )
    return (*FILE_TOOLS, shell)
