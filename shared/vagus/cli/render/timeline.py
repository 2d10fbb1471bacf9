"""A session's events as they come: a timeline for people, plain lines, or the log's own lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.text import Text

from vagus.cli.output import print_line
from vagus.contract.events import ApprovalRequested, ApprovalResolved, EventRecord, StateEstimated


class Timeline(Protocol):
    """Where events are shown."""

    def add(self, record: EventRecord, line: bytes) -> None:
        """Show one more; `line` is the event as the log holds it."""
        ...


class Lines:
    """The log's own lines."""

    def add(self, record: EventRecord, line: bytes) -> None:
        """Print it as it is stored."""
        print_line(line)


class Plain:
    """A line of text for each event, for files and pipes; `brief` as for `Coloured`."""

    def __init__(self, *, brief: bool = False) -> None:
        self._brief = brief

    def add(self, record: EventRecord, line: bytes) -> None:
        """Print time, branch, sequence, kind and what there is to say."""
        from vagus.cli.render.describe import Weight, describe

        said = describe(record.kind)
        if self._brief and said.weight is Weight.QUIET:
            return
        words = " ".join(part for part in (said.title, said.detail) if part)
        text = f"{record.timestamp} {record.branch_id} {record.sequence} {record.kind.type} {words}".rstrip()
        print_line(text.encode(errors="replace"))


class Coloured:
    """A timeline for people; with `brief`, without the events that nobody waits for."""

    _BRANCH_STYLES: Final = ("green", "magenta", "blue", "yellow", "cyan")

    def __init__(self, *, brief: bool = False) -> None:
        from vagus.cli.render.console import console

        self.console: Final = console()
        self._brief = brief
        self._branches: dict[str, str] = {}

    def add(self, record: EventRecord, line: bytes) -> None:
        """Print it in one line, or in as many as its words need."""
        from rich.table import Table

        from vagus.cli.render.describe import Weight, describe

        said = describe(record.kind)
        if self._brief and said.weight is Weight.QUIET:
            return
        style = self._branches.setdefault(
            record.branch_id, self._BRANCH_STYLES[len(self._branches) % len(self._BRANCH_STYLES)]
        )
        words = Text.assemble(
            (said.title, said.weight.value or said.style),
            "  " if said.title and said.detail else "",
            (said.detail, said.style if said.wraps and not said.title else ""),
            style="dim" if said.weight is Weight.QUIET else "",
        )
        row = Table.grid(padding=(0, 1, 0, 0), expand=True)
        row.add_column(width=12, no_wrap=True)
        row.add_column(width=max(8, *map(len, self._branches)), no_wrap=True)
        row.add_column(width=5, justify="right", no_wrap=True)
        row.add_column(width=1)
        row.add_column(ratio=1, no_wrap=not said.wraps, overflow="fold" if said.wraps else "ellipsis")
        row.add_row(
            Text(record.timestamp[11:23].ljust(12, "0"), style="dim"),
            Text(record.branch_id, style=style),
            Text(str(record.sequence), style="dim"),
            Text(said.glyph, style=said.style),
            words,
        )
        self.console.print(row)


class Live:
    """The coloured timeline above a line that tells how things stand."""

    def __init__(self, session_id: str) -> None:
        from rich.live import Live as Screen

        self._session_id = session_id
        self._above = Coloured()
        self._events = 0
        self._waiting: set[str] = set()
        self._standing = ""
        self.screen: Final = Screen(
            self._footer(), console=self._above.console, auto_refresh=False, transient=True
        )

    def add(self, record: EventRecord, line: bytes) -> None:
        """Print it above, and bring the line up to date."""
        self._events += 1
        match record.kind:
            case StateEstimated(state=state, mode=mode):
                self._standing = f"{record.branch_id}: {mode}, progress {state.progress:g}"
            case ApprovalRequested(approval_id=approval):
                self._waiting.add(approval)
            case ApprovalResolved(approval_id=approval):
                self._waiting.discard(approval)
            case _:
                pass
        self._above.add(record, line)
        self.screen.update(self._footer(), refresh=True)

    def _footer(self) -> "Text":
        waiting = f"{len(self._waiting)} waiting for approval" if self._waiting else ""
        parts = [f"{self._events} events", self._standing, waiting]
        return Text.assemble(
            (" ● live ", "bold white on red"),
            (f" {self._session_id}  ", "bold"),
            ("  ·  ".join(part for part in parts if part), ""),
            ("  ·  Ctrl-C ends", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )


@contextmanager
def timeline(session_id: str, *, as_json: bool, live: bool) -> Iterator[Timeline]:
    """The one that fits: the log's lines, a live timeline, a coloured one at a terminal, else plain lines."""
    import sys

    if as_json:
        yield Lines()
    elif live:
        shown = Live(session_id)
        with shown.screen:
            yield shown
    elif sys.stdout.isatty():
        yield Coloured()
    else:
        yield Plain()
