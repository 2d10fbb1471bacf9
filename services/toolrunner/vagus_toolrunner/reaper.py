"""Kills the process groups of a runner that has died, however it died.

A program of its own, started by the runner with a pipe to its standard input: `+ID` and `-ID` lines say which
groups live. The pipe ends with the runner, and then what still lives is killed. (A parent-death signal would
reach only the command itself, not what the command has started.) It imports nothing of Vagus and little else:
it starts in a few milliseconds.
"""

import os
import signal
import sys


def main() -> None:
    """Follow standard input to its end, then kill."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue  # it has ended by itself


if __name__ == "__main__":
    main()
