"""Paths in a session's workspace, read alike by the gate that checks them and the runner that opens them."""


def workspace_parts(path: str) -> tuple[str, ...] | None:
    """The names from the workspace's root down to what `path` means; empty for the root itself.

    POSIX, and decided by the text alone: a leading slash means the workspace's root, empty names and `.` say
    nothing, `..` takes back the name before it. None if it leads out of the workspace or is no path at all
    (NUL, lone surrogate).
    """
    parts: list[str] = []
    for name in path.split("/"):
        if name == "..":
            if not parts:
                return None
            parts.pop()
        elif name not in ("", "."):
            parts.append(name)
    try:
        return None if b"\0" in path.encode() else tuple(parts)
    except UnicodeEncodeError:
        return None
