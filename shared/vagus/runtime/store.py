"""The folder that `vagus up` keeps everything in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from vagus.contract.errors import SettingsError

try:
    import fcntl
except ImportError:  # Windows: two supervisors on one store are then told apart by the port only
    fcntl = None  # type: ignore[assignment]


class Store(msgspec.Struct, frozen=True):
    """Where what lies."""

    folder: Path

    @property
    def nats(self) -> Path:
        """The server's files: every log and every queue."""
        return self.folder / "nats"

    @property
    def root(self) -> Path:
        """The sessions' workspaces (`VAGUS_ROOT`)."""
        return self.folder / "root"

    @property
    def logs(self) -> Path:
        """What the processes say, a file each."""
        return self.folder / "logs"

    @property
    def seed(self) -> Path:
        """The policy gate's private key."""
        return self.folder / "keys" / "grant.seed"

    @property
    def lock(self) -> Path:
        """Held while processes run on this store; names who holds it."""
        return self.folder / "lock"

    def make(self) -> None:
        """Make the folders; only their owner may look inside."""
        for folder in (self.folder, self.nats, self.root, self.logs, self.seed.parent):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"cannot make {folder}: {error.strerror}") from error


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Hold the store for us alone; raises `SettingsError` if somebody else does."""
    descriptor = os.open(store.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(descriptor, 32).decode(errors="replace").strip()
                raise SettingsError(
                    f"the store {store.folder} is in use by process {holder or 'unknown'}: "
                    "stop that one, or name another with --store"
                ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
