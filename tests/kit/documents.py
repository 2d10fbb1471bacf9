"""The documents of the repository, read as data: their code blocks, and what they name."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)[ ]?([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of code: ```` ```<language> <title> ````."""

    language: str
    title: str
    text: str


def text(name: str) -> str:
    """A document, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[Block]:
    """The code blocks of a document in one language."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(text(name))]
    return [block for block in found if block.language == language]


def documents() -> list[str]:
    """Every Markdown file that we wrote, by its path from the root."""
    places = ("*.md", "docs/**/*.md", "services/*/README.md", "examples/**/*.md", "deploy/**/*.md")
    return sorted({str(path.relative_to(ROOT)) for place in places for path in ROOT.glob(place)})
