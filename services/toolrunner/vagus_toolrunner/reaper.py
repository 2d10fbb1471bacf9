"""Kills what commands have started: their process groups, and what has left those.

As a program it does so when its runner has died, however that died: the runner starts it with a pipe to its
standard input, on which `+MARK GROUP` (0: not known yet) and `-MARK` lines say what lives. The pipe ends with
the runner, and then that is killed. (A parent-death signal would reach only the command itself, not what the
command has started.) It imports nothing of Vagus and little else: it starts in a few milliseconds.
"""

import os
import signal
import sys
import time

MARK = "VAGUS_GROUP"
"""In the environment of a command, and so in that of its descendants; its value is the group's alone."""
LOOKS = 40
LOOK_S = 0.005
"""Between two looks for strays: a process that is killed needs a moment to be gone."""


def kill_strays(marks: list[str]) -> None:
    """Kill what has left the groups with these marks, until a look finds nothing: mostly a few milliseconds.

    Only where /proc tells environments. What empties its own as well gets away.
    """
    wanted = [f"{MARK}={mark}".encode() for mark in marks]
    for _ in range(LOOKS):
        strays = [pid for pid, environment in _environments() if any(mark in environment for mark in wanted)]
        if not strays:
            return
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended by itself, or is another user's by now
        time.sleep(LOOK_S)


def _environments() -> list[tuple[int, bytes]]:
    """Of all processes that we may look into; that of one that has ended is empty."""
    found: list[tuple[int, bytes]] = []
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib takes longer to import than all the rest
    except OSError:
        return found
    for name in names:
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/environ", "rb", 0) as file:  # noqa: PTH123
                    found.append((int(name), file.read()))
            except OSError:
                continue
    return found


def main() -> None:
    """Follow standard input to its end, then kill."""
    groups: dict[str, int] = {}
    for line in sys.stdin:
        mark, _, group = line[1:].strip().partition(" ")
        if line[0] == "+":
            groups[mark] = int(group)
        else:
            groups.pop(mark, None)
    for known in filter(None, groups.values()):
        try:
            os.killpg(known, signal.SIGKILL)
        except OSError:
            continue  # it has ended by itself
    if groups:
        kill_strays(list(groups))


if __name__ == "__main__":
    main()
