"""Policies on the command line: a shipped one by its name, or a JSON file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vagus.contract.policy import PolicySet

Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="POLICY",
        help="`default`, `anonymous`, `free`, `pro`, `enterprise`, a JSON file, or `-` for stdin.",
    ),
]


def read_policy(source: str) -> "PolicySet":
    """The policy that `source` names; raises `Malformed` that says what is wrong with it."""
    from vagus.contract.errors import Malformed
    from vagus.contract.messages import decode
    from vagus.contract.policy import PRESETS, PolicySet

    if source in PRESETS:
        return PRESETS[source]
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise Malformed(
            f"no policy {source!r}: it is none of {', '.join(PRESETS)}, and no file ({error.strerror})"
        ) from error
    return decode(data, PolicySet)
