"""What a call needs: the capabilities that its caller declares, and those that its tool derives.

A template is text with `{field}` in it. `{path}`, and every field of a template of the `fs:` family, is a
path in the workspace and becomes `/session/…`; other fields are put in as they are. A list gives one
capability for each of its items. What the input does not say (a missing field, null, an object) stands for
anything, `*`: allowed only by a pattern as wide as that, and held back by any that touches it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from operator import add
from typing import Final

from vagus.contract.json import Json
from vagus.contract.paths import workspace_parts

WORKSPACE: Final = "/session/"
MAX_CAPABILITIES: Final = 256
"""Of one call; each costs a comparison with every pattern of the policies."""
MAX_CHARACTERS: Final = 32 * 1024
"""Of all capabilities of one call together: the verdict, which repeats them, must fit one message."""

_FS: Final = re.compile(r"(fs:[^:]*:)(/[\s\S]*)")
_FIELD: Final = re.compile(r"\{([^{}]+)\}")
_ANY: Final = "*"
_ANY_PATH: Final = WORKSPACE + "**"


class TooMany(ValueError):
    """The call needs more capabilities, or longer ones, than a gate looks at."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The capabilities of one call."""

    capabilities: tuple[str, ...]
    """Declared ones first, without duplicates."""
    wide: frozenset[str]
    """Derived ones that stand for more than one thing: `exec:cmd:*`, `fs:read:/session/**`."""


class Template:
    """One capability template, taken apart once."""

    def __init__(self, text: str) -> None:
        names = _FIELD.findall(text)
        self._literals = _FIELD.split(text)[::2]
        self._fields = [(name, name == "path" or text.startswith("fs:")) for name in names]

    def fill(self, arguments: Mapping[str, Json]) -> Iterator[str]:
        """The capabilities that it gives for a call's input."""
        choices = [_choices(arguments.get(name), is_path=is_path) for name, is_path in self._fields]
        first, *others = self._literals
        for chosen in product(*choices):
            yield first + "".join(map(add, chosen, others))


def needs(declared: Sequence[str], templates: Sequence[Template], arguments: Json) -> Needs:
    """What a call needs; `TooMany` beyond the limits."""
    given = arguments if isinstance(arguments, dict) else {}
    asked = list(islice(map(_canonical, declared), MAX_CAPABILITIES + 1))
    every = chain.from_iterable(template.fill(given) for template in templates)
    derived = list(islice(every, MAX_CAPABILITIES + 1))
    if len(asked) + len(derived) > MAX_CAPABILITIES:
        raise TooMany(f"more than {MAX_CAPABILITIES} capabilities")
    if sum(map(len, chain(asked, derived))) > MAX_CHARACTERS:
        raise TooMany(f"capabilities of more than {MAX_CHARACTERS} characters")
    return Needs(
        capabilities=tuple(dict.fromkeys(chain(asked, derived))),
        wide=frozenset(capability for capability in derived if capability.endswith("*")),
    )


def covers_some(pattern: str, wide: str) -> bool:
    """Whether `pattern` covers some of what a wide capability stands for."""
    stem, prefix = pattern.rstrip("*"), wide.rstrip("*")
    return stem.startswith(prefix) or (pattern.endswith("*") and prefix.startswith(stem))


def workspace_path(path: str) -> str:
    """`path` in the workspace as capabilities name it.

    A path with `..` in it, or that is no path, keeps a `..` segment, which no pattern ever matches: where
    there are links, what `..` means is the file system's to say, and the text alone cannot vouch for it.
    """
    parts = workspace_parts(path)
    if parts is not None and ".." not in path.split("/"):
        return WORKSPACE + "/".join(parts)
    raw = path.lstrip("/")
    return WORKSPACE + (raw if ".." in raw.split("/") else f"../{raw}")


def _canonical(capability: str) -> str:
    """A declared `fs:` capability with its absolute path normalised; every other as it is."""
    if "//" not in capability and "/." not in capability:
        return capability
    found = _FS.match(capability)
    if found is None or ".." in found[2].split("/"):
        return capability
    family, path = found.groups()
    kept = [name for name in path.split("/") if name not in ("", ".")]
    return f"{family}/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _choices(value: Json, *, is_path: bool) -> list[str]:
    if isinstance(value, list):
        return [_text(item, is_path=is_path) for item in value]
    return [_text(value, is_path=is_path)]


def _text(value: Json, *, is_path: bool) -> str:
    match value:
        case str():
            return workspace_path(value) if is_path else value
        case bool() if not is_path:
            return "true" if value else "false"
        case int() | float() if not is_path:
            return str(value)
        case _:
            return _ANY_PATH if is_path else _ANY
