"""The command line, run in this process: in a thread of its own, as it has an event loop of its own."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from contextvars import Context
from typing import Any
from unittest.mock import patch

import msgspec
from anyio.to_thread import run_sync

from vagus.cli import main


class Ran(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as the one JSON document that it should be."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that it told as JSON."""
        return json.loads(self.err)["error"]


def vagus(*arguments: str) -> Ran:
    """Run `vagus` with these arguments."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    code: Any = None
    with patch.object(sys, "argv", ["vagus", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            Context().run(main)  # fixtures have noted in ours that a loop runs already
        except SystemExit as end:
            code = end.code
    return Ran(code, _text(out), _text(err))


async def run(*arguments: str) -> Ran:
    """Run `vagus` with these arguments while this event loop goes on."""
    return await run_sync(lambda: vagus(*arguments))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    data: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]  # it is a BytesIO
    return data.decode()
