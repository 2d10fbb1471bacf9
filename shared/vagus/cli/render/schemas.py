"""Schemas, for people."""

from collections.abc import Sequence

import msgspec
from rich.text import Text

from vagus.cli.render.console import console
from vagus.contract.json import Json
from vagus.contract.schemas import Entry


def listed(entries: Sequence[Entry]) -> None:
    """One a line, by what they are of."""
    out = console()
    group = ""
    for entry in entries:
        if entry.group != group:
            group = entry.group
            out.print(Text(f"{group}s", style="dim"))
        out.print(Text.assemble("  ", (entry.name, "bold"), f"  {entry.description}"))


def yaml(value: Json) -> str:
    """A document as YAML, in the order in which it was made."""
    import yaml as library

    plain: Json = msgspec.json.decode(msgspec.json.encode(value))  # no object twice: YAML would link them
    text: str = library.safe_dump(plain, allow_unicode=True, sort_keys=False, width=110)
    return text
