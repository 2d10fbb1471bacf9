"""A tool that leaves a line in a file for every time that it runs."""

import os
import time
from pathlib import Path

import vagus

LEDGER = "TEST_LEDGER"
"""Names the file."""


@vagus.tool(timeout_secs=120)
def mark(context: vagus.ToolContext, label: str = "", until: str = "") -> str:
    """Run until there is a file of that name, if one is given."""
    with Path(os.environ[LEDGER]).open("a") as ledger:
        ledger.write(f"{context.session_id} {context.tool_run_id}\n")
    while until and not Path(until).exists() and not context.cancelled:
        time.sleep(0.02)
    return label
