"""Ticks that clients were told are stored, and the replies that they got, as the clients wrote them down."""

from pathlib import Path
from typing import Any, Final

import msgspec

from chaos.checker.log import CannotCheck
from chaos.checker.names import MAIN


class Error(msgspec.Struct, frozen=True):
    """Why a command was refused."""

    type: str
    message: str = ""


class Reply(msgspec.Struct, frozen=True):
    """As it came: one of both is there."""

    ok: dict[str, Any] | None = None
    error: Error | None = None


class _Line(msgspec.Struct, frozen=True):
    session_id: str
    command_id: str
    branch_id: str = MAIN
    reply: Reply | None = None


class Accepted(msgspec.Struct):
    """One tick."""

    branch_id: str
    replies: list[Reply] = []


Book = dict[str, dict[str, Accepted]]
"""By session and command id."""

_LINES: Final = msgspec.json.Decoder(_Line)


def read(file: Path) -> Book:
    """Read a file of lines `{session_id, branch_id, command_id, reply?}`.

    A command may have several lines, such as one when it was stored and one when the reply came.
    """
    book: Book = {}
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    _enter(book, _LINES.decode(line))
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise CannotCheck(f"{file}:{number}: {error}") from error
    except OSError as error:
        raise CannotCheck(f"cannot read {file}: {error.strerror}") from error
    return book


def _enter(book: Book, line: _Line) -> None:
    session = book.setdefault(line.session_id, {})
    entry = session.setdefault(line.command_id, Accepted(line.branch_id))
    if line.reply is not None:
        entry.replies.append(line.reply)
