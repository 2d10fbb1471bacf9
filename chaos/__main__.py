"""`python -m chaos --help`."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import anyio

from chaos.checker.report import lines as check_lines
from chaos.report import Asked, lines
from chaos.run import Options, run

PROVEN, NOT_PROVEN = 0, 1
MINUTES: Final = 120.0


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    given = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    asked = Asked(seed=seed, ticks=given.ticks, faults=given.faults, servers=given.servers)
    folder = Path(tempfile.mkdtemp(prefix=f"vagus-chaos-{seed}-", dir=given.folder))
    print(f"{asked.command}\nin {folder}", flush=True)
    options = Options(asked=asked, folder=folder, minutes=given.minutes)
    tell = (lambda _: None) if given.quiet else _tell
    outcome = anyio.run(run, options, tell, backend_options={"use_uvloop": sys.platform != "win32"})
    if outcome.check is not None:
        print("\n".join(("", *check_lines(outcome.check))))
    print("\n".join(("", *lines(outcome))))
    if outcome.ok and not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"store, logs and plan: {folder}")
    return PROVEN if outcome.ok else NOT_PROVEN


def _tell(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Let clients work while processes, servers, connections and clocks fail; then check.",
        epilog="exit code: 0 everything asked for was done and nothing is wrong, 1 otherwise",
    )
    parser.add_argument("--seed", type=int, help="of the plan; by default a new one, which is printed")
    parser.add_argument("--ticks", type=int, default=10_000, help="that have ended (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=320, help="that strike (default: %(default)s)")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="(default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="the run is given up after (default: %(default)g)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=os.environ.get("TMPDIR"),
        metavar="FOLDER",
        help="where the run's own folder is made (default: that of temporary files)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run in which all is well")
    parser.add_argument("--quiet", action="store_true", help="do not tell of each fault")
    return parser


if __name__ == "__main__":
    sys.exit(main())
