"""Dead letters, for people."""

from rich.text import Text

from vagus.cli.render.console import console, pairs, table
from vagus.cli.render.text import block, clean
from vagus.sdk.deadletters import DeadLetter


def listed(letters: list[DeadLetter]) -> None:
    """All of them, a line each."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(str(letter.id), style="bold"),
            letter.died_at[:19].replace("T", " "),
            clean(letter.kind, 16),
            clean(letter.session_id or "", 24),
            clean(_where(letter) or "?", 60),
            clean(letter.reason, 120),
        )
        for letter in letters
    ]
    columns = ("ID", "DIED (UTC)", "BY", "SESSION", "GOES TO", "REASON")
    console().print(table(*columns, rows=rows, empty="no dead letters"))


def shown(letter: DeadLetter) -> None:
    """One, with its body."""
    out = console()
    size = f"{letter.size} bytes" + (", of which the beginning is left" if letter.cut else "")
    out.print(
        pairs(
            ("dead letter", Text(str(letter.id), style="bold")),
            ("reason", clean(letter.reason)),
            ("by", clean(letter.kind)),
            ("goes to", clean(_where(letter) or "cannot be told: it cannot be sent again")),
            ("was", f"{clean(letter.origin)}, delivered {letter.deliveries} times"),
            ("died", letter.died_at),
            ("size", size),
            *((clean(name), clean(value)) for name, value in letter.headers.items()),
        )
    )
    out.print()
    out.print(Text(block((letter.data or b"").decode(errors="replace"))))


def retried(letters: list[DeadLetter]) -> None:
    """Sent again."""
    for letter in letters:
        console().print(
            Text.assemble(("sent again", "green"), f": {letter.id} to {clean(_where(letter) or '')}")
        )


def _where(letter: DeadLetter) -> str | None:
    """Where it goes when it is sent again."""
    return letter.subject or (letter.subscription and f"subscription {letter.subscription}")


def dropped(letters: list[int]) -> None:
    """Gone."""
    for letter in letters:
        console().print(f"dropped: {letter}")
