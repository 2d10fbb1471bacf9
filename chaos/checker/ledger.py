"""What the tools themselves wrote down of their runs, outside of NATS, against what the logs say of these."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from chaos.checker.log import CannotCheck
from chaos.checker.report import Findings, Notes, Rule
from chaos.checker.tools import Call

_RAN: Final = ("ok", "error")
"""How a call ended whose tool ran to its end; one that was cut short, or refused, may not have begun."""


class _Line(msgspec.Struct, frozen=True):
    tool_run_id: str
    tool: str
    phase: Literal["start", "end"]
    at: float
    idempotent: bool
    grant: bool
    session_id: str = ""


class Run(msgspec.Struct):
    """What a tool told of one tool run."""

    tool: str
    idempotent: bool
    grant: bool
    """It was asked to run by a runner, which wants a grant."""
    session: str = ""
    """Empty where the tool does not say."""
    starts: int = 0
    ends: int = 0


_LINES: Final = msgspec.json.Decoder(_Line)


class Ledger:
    """All runs. `tools` are those that keep it; what others did it cannot tell."""

    def __init__(self, runs: dict[str, Run], tools: Iterable[str] = ()) -> None:
        self._runs = runs
        self._tools = {*tools, *(run.tool for run in runs.values())}

    def __len__(self) -> int:
        return len(self._runs)

    def check(self, notes: Notes, calls: Iterable[Call], *, unfinished: bool) -> None:
        """Compare the calls of a session with their runs, and strike these out.

        `unfinished`: the system was at work while both were read, the logs after the ledger.
        """
        for call in calls:
            run = self._runs.pop(call.run_id, None)
            if call.kind.tool_name in self._tools or run is not None:
                self._compare(notes, call, run, unfinished=unfinished)

    def rest(self, findings: Findings, erased: Container[str]) -> None:
        """Of what is left no log knows; of erased sessions there is none."""
        for run_id, run in self._runs.items():
            if run.session not in erased:
                text = f"{run.tool} ran as {run_id}, and no log knows of a call of that id"
                findings.say(Rule.GRANT, text)
            elif run.starts > 1 and not run.idempotent:
                text = f"{run.tool} ({run_id}) is not idempotent and ran {run.starts} times"
                findings.say(Rule.LEDGER, text, run.session)

    def _compare(self, notes: Notes, call: Call, run: Run | None, *, unfinished: bool) -> None:
        run = run or Run(call.kind.tool_name, idempotent=False, grant=True)
        name, where = f"{run.tool} ({call.run_id})", call.ended or call.requested
        if run.tool != call.kind.tool_name:
            notes.say(Rule.LEDGER, f"{name} ran for a call of {call.kind.tool_name}", where)
        if run.starts and not (call.granted and run.grant):
            notes.say(Rule.GRANT, f"{name} ran, and was not granted", where)
        if run.starts > 1 and not run.idempotent:
            notes.say(Rule.LEDGER, f"{name} is not idempotent and ran {run.starts} times", where)
        if call.status in _RAN and not run.ends and not unfinished:
            told = "began and did not end" if run.starts else "did not run"
            notes.say(Rule.LEDGER, f"{name} {told}, and the log says that it ended: {call.status}", where)


def read(file: Path, tools: Iterable[str] = ()) -> Ledger:
    """Read a file of lines `{tool_run_id, tool, phase, at, idempotent, grant, session_id?}`."""
    runs: dict[str, Run] = {}
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    _enter(runs, _LINES.decode(line))
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise CannotCheck(f"{file}:{number}: {error}") from error
    except OSError as error:
        raise CannotCheck(f"cannot read {file}: {error.strerror}") from error
    return Ledger(runs, tools)


def _enter(runs: dict[str, Run], line: _Line) -> None:
    run = runs.setdefault(line.tool_run_id, Run(line.tool, line.idempotent, line.grant, line.session_id))
    run.grant = run.grant and line.grant
    if line.phase == "start":
        run.starts += 1
    else:
        run.ends += 1
