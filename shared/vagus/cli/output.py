"""What goes to stdout and stderr: for people, or as JSON for programs."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


def show(value: T, *, as_json: bool, render: Callable[[T], None]) -> None:
    """Print a verb's result: one JSON document, or what `render` makes of it for people."""
    if as_json:
        print_json(value)
    else:
        render(value)


def print_json(value: object) -> None:
    """One JSON document on a line of its own."""
    print_line(msgspec.json.encode(value))


def print_line(line: bytes) -> None:
    """Bytes and a newline, at once: whoever reads us follows."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def hush() -> None:
    """Say nothing more on stdout, not even what waits to be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(kind: str, message: str) -> None:
    """Tell of an error on stderr, as JSON if the command line asks for that."""
    if "--json" in sys.argv:
        text = msgspec.json.encode({"error": {"type": kind, "message": message}}).decode()
    else:
        text = f"error: {' '.join(message.splitlines())}"
    print(text, file=sys.stderr)  # noqa: T201 -- this is the place for it


def note(message: str) -> None:
    """Tell something that is no result: stderr, so that results can be piped."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 -- this is the place for it
