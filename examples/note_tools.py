"""Tools of your own: offered by a runner with `vagus up --tools examples/note_tools.py`.

A tool is a typed function. Its input schema comes from the annotations, its description from the docstring;
capabilities say what a call needs, and the policy gate fills them in from the call's input.
"""

from pathlib import Path

import anyio

import vagus


@vagus.tool(name="notes.count", read_only=True, category="notes", capabilities=("fs:read:{path}",))
def count(context: vagus.ToolContext, path: str) -> dict[str, int]:
    """Count the lines and words of a text file.

    Args:
        context: Of the call.
        path: Of the file, in the session's workspace.
    """
    try:
        text = inside(context.workspace, path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise vagus.ToolFailure(f"no such note: {path}", exit_status=2) from error
    return {"lines": len(text.splitlines()), "words": len(text.split())}


@vagus.tool(
    name="notes.collect",
    idempotent=True,
    mutates=("target",),
    capabilities=("fs:read:{paths}", "fs:write:{target}"),
    timeout_secs=60,
)
async def collect(context: vagus.ToolContext, paths: list[str], target: str) -> dict[str, object]:
    """Put several notes into one file, in the order given.

    Args:
        context: Of the call.
        paths: Of the notes.
        target: Where they go; replaced if it is there.
    """
    missing, parts = [], []
    for number, path in enumerate(paths, 1):
        file = anyio.Path(inside(context.workspace, path))
        if await file.is_file():
            parts.append(await file.read_text(encoding="utf-8"))
        else:
            missing.append(path)
        context.emit({"read": number, "of": len(paths)})
    if not parts:
        raise vagus.ToolFailure("none of the notes is there")
    await anyio.Path(inside(context.workspace, target)).write_text("".join(parts), encoding="utf-8")
    return {"target": target, "notes": len(parts), "missing": missing}


def inside(workspace: Path, path: str) -> Path:
    """The file that a path of the input means; a tool of yours must keep it in the workspace itself."""
    file = (workspace / path.lstrip("/")).resolve()
    if not file.is_relative_to(workspace.resolve()):
        raise vagus.HarnessError(f"path escapes workspace root: {path}")
    return file
