"""The tool `shell.exec`: one command in the workspace, with nothing of the runner's environment."""

import codecs
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from vagus.contract import limits
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.json import Json
from vagus.tools import Tool, ToolContext, tool
from vagus_toolrunner import group
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.output import Head

ANY: Final = "*"
"""In the list of allowed commands: all."""
SHOWN_CHARS: Final = 8 * limits.KIB
"""Of one piece of live output: as JSON six times as long at most, which is below limits.PROGRESS_BYTES."""


def shell_exec(*, allowed: Collection[str], path: str, reaper: Reaper) -> Tool[Any, Any]:
    """Make the tool for a runner.

    Args:
        allowed: Names of commands, compared exactly; empty allows nothing.
        path: PATH, in which commands are looked for and which they see.
        reaper: Kills what runs when the runner dies.
    """

    @tool(
        name="shell.exec",
        title="Run a command",
        category="shell",
        destructive=True,
        open_world=True,
        capabilities=("exec:cmd:{command}",),
    )
    async def execute(context: ToolContext, command: str, args: tuple[str, ...] = ()) -> dict[str, Json]:
        """Run a command in the session's workspace and wait for it. There is no shell: no pipes, no globbing.

        Args:
            context: Of the call.
            command: Its name, or a path to it.
            args: Its arguments, passed as they are.
        """
        if command not in allowed and ANY not in allowed:
            raise HarnessError(f"command not allowed: {command}")
        stdout, stderr = Head(), Head()
        begun = time.monotonic()
        try:
            status = await group.run(
                [command, *args],
                cwd=context.workspace,
                env={"PATH": path, "HOME": str(context.workspace), "LANG": "C.UTF-8"},
                on_stderr=_showing(stderr, "stderr", context),
                on_stdout=_showing(stdout, "stdout", context),
                reaper=reaper,
            )
        except (OSError, ValueError) as error:
            raise HarnessError(f"cannot run the command {command}: {error}") from error
        if status != 0:
            raise ToolFailure(f"command failed (exit={status}): {stderr.text()}", status)
        output: dict[str, Json] = {
            "stdout": stdout.text(),
            "stderr": stderr.text(),
            "duration_ms": round((time.monotonic() - begun) * 1000),
            "timed_out": False,  # else this is not reached: the runner ends the call
        }
        if stdout.cut or stderr.cut:
            output["truncated"] = True
        return output

    return execute


def _showing(head: Head, stream: str, context: ToolContext) -> Callable[[bytes], None]:
    """Keep what comes, and show it live."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(piece: bytes) -> None:
        text = decoder.decode(head.add(piece))
        for start in range(0, len(text), SHOWN_CHARS):
            context.emit({"stream": stream, "text": text[start : start + SHOWN_CHARS]})

    return take
