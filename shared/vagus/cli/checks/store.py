"""Is the store folder ours, and closed to others?"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vagus.cli.checks.finding import Finding, ill, well
from vagus.runtime.store import Store


def check_store(folder: Path) -> Iterator[Finding]:
    """Owner, mode and whether it can be written; and that nobody else can read the private key."""
    if not folder.exists():
        yield well("store", f"{folder} is not there; `vagus up` makes it")
        return
    store = Store(folder.absolute())
    yield from (_folder(part) for part in (store.folder, store.nats, store.root, store.logs) if part.exists())
    if store.seed.exists():
        yield _seed(store.seed)


def _folder(folder: Path) -> Finding:
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    name = f"store {folder.name}"
    if not stat.S_ISDIR(status.st_mode):
        return ill(name, f"{folder} is no folder", "name another with --store")
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return ill(name, f"{folder} belongs to user {status.st_uid}", f"chown -R {os.getuid()} {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return ill(name, f"{folder} cannot be written (mode {mode:04o})", f"chmod u+rwx {folder}")
    if mode & 0o022:
        return ill(name, f"{folder} can be written by others (mode {mode:04o})", f"chmod go-w {folder}")
    return well(name, f"{folder} is ours (mode {mode:04o})")


def _seed(seed: Path) -> Finding:
    mode = stat.S_IMODE(seed.stat().st_mode)
    if mode & 0o077:
        return ill("grant key", f"{seed} can be read by others (mode {mode:04o})", f"chmod 600 {seed}")
    if not os.access(seed, os.R_OK):
        return ill("grant key", f"{seed} cannot be read (mode {mode:04o})", f"chmod 600 {seed}")
    return well("grant key", f"{seed} is readable by us alone (mode {mode:04o})")
