"""What clients were told, line by line, as the checker wants to read it."""

from collections import Counter
from pathlib import Path

import msgspec

import vagus


class _Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    ok: vagus.TickOutput | None = None
    error: dict[str, str] | None = None


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    session_id: str
    branch_id: str
    command_id: str
    reply: _Reply | None = None


class Book:
    """Ticks whose storing was acknowledged, and the answers to all."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self.told: Counter[str] = Counter()
        """Answers by their kind: an output's reason, an error's type."""
        self.commands: Counter[str] = Counter()
        """What became of all that are no ticks."""
        self.odd: list[str] = []
        """Errors that no client should be told."""

    def accepted(self, session: str, branch: str, command: str) -> None:
        """A tick is stored; its end is to be seen on the log."""
        self._write(_Line(session, branch, command))

    def ended(self, session: str, branch: str, command: str, output: vagus.TickOutput) -> None:
        """A tick was answered."""
        self.told[output.reason] += 1
        self._write(_Line(session, branch, command, _Reply(ok=output)))

    def refused(self, session: str, branch: str, command: str, error: vagus.VagusError) -> None:
        """A tick was answered with an error."""
        self.told[error.type] += 1
        told = {"type": error.type, "message": error.message}
        self._write(_Line(session, branch, command, _Reply(error=told)))

    def troubled(self, error: vagus.VagusError) -> None:
        """A client had no answer, and asks again."""
        self.told[f"{error.type}, asked again"] += 1

    def wonder(self, what: str, error: vagus.VagusError) -> None:
        """Nothing justifies this."""
        self.odd.append(f"{what}: {error.type}: {error.message}")

    def close(self) -> None:
        """Everything is in the file."""
        self._file.close()

    def _write(self, line: _Line) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
