"""The file tools: `fs.read` and `fs.write`, contained in the session's workspace.

What they cannot do they refuse as harness errors: nothing has taken effect then, as in the original, whose
wording their texts keep.
"""

from typing import Final

from vagus.contract import limits
from vagus.contract.errors import HarnessError
from vagus.contract.json import Json
from vagus.tools import ToolContext, tool
from vagus_toolrunner.workspace import Workspace


@tool(
    name="fs.read",
    title="Read a file",
    category="fs",
    read_only=True,
    capabilities=("fs:read:{path}",),
)
def fs_read(context: ToolContext, path: str) -> dict[str, Json]:
    """Read a UTF-8 text file of the session's workspace.

    Args:
        context: Of the call.
        path: Of the file; a leading slash means the workspace's root.
    """
    try:
        content = Workspace(context.workspace).read(path, limits.FILE_READ_BYTES)
        return {"path": path, "content": content.decode("utf-8")}
    except UnicodeDecodeError as error:
        raise HarnessError(f"{_failed('reading', context, path)}: it is not UTF-8 text") from error
    except FileNotFoundError as error:
        raise HarnessError(_failed("reading", context, path)) from error
    except OSError as error:
        raise HarnessError(f"{_failed('reading', context, path)}: {error.strerror}") from error


@tool(
    name="fs.write",
    title="Write a file",
    category="fs",
    destructive=True,
    idempotent=True,
    mutates=("path",),
    capabilities=("fs:write:{path}",),
)
def fs_write(context: ToolContext, path: str, content: str) -> dict[str, Json]:
    """Write a text file in the session's workspace, replacing it if it exists; folders are made.

    Args:
        context: Of the call.
        path: Of the file; a leading slash means the workspace's root.
        content: The whole new content.
    """
    try:
        data = content.encode("utf-8")
        Workspace(context.workspace).write(path, data)
    except UnicodeEncodeError as error:
        raise HarnessError(f"{_failed('writing', context, path)}: the content is not Unicode text") from error
    except OSError as error:
        raise HarnessError(f"{_failed('writing', context, path)}: {error.strerror}") from error
    return {"path": path, "bytes": len(data)}


def _failed(doing: str, context: ToolContext, path: str) -> str:
    return f'runtime error: failed {doing} file "{context.workspace}/{path.lstrip("/")}"'


FILE_TOOLS: Final = (fs_read, fs_write)
