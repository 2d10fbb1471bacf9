"""Named points at which a test may end this process, as `kill -9` would. Inert unless armed."""

import os
import signal

from vagus.contract.errors import SettingsError

_armed: dict[str, int] = {}


def arm(spec: str) -> None:
    """Arm a point: `NAME`, or `NAME:COUNT` for its COUNT-th visit; the empty text disarms all."""
    _armed.clear()
    if not spec:
        return
    name, _, count = spec.partition(":")
    if count and not (count.isascii() and count.isdigit() and int(count)):
        raise SettingsError(f"VAGUS_FAULT={spec!r}: write NAME or NAME:COUNT with a count of at least 1")
    _armed[name] = int(count or 1)


def hit(name: str) -> None:
    """Pass the point; ends the process if this visit is the one that was asked for."""
    left = _armed.get(name)
    if left is None:
        return
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    _armed[name] = left - 1
