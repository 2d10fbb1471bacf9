"""What is shown while it happens, on `live` subjects: sent at most once, stored nowhere, part of no log."""

import msgspec

from vagus.contract.json import Json


class ToolProgress(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_progress"):
    """A running tool shows something."""

    tool_run_id: str
    tool_name: str
    data: Json
    """What the tool says; of shell.exec `{"stream": "stdout" | "stderr", "text": …}`."""
