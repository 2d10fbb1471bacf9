"""Names on the server."""

from typing import Final

import msgspec

QUEUES: Final = ("INBOX", "GATE", "TOOLS", "APPROVALS")
"""The work queues: empty when nothing is left to do."""
DEAD: Final = "DEAD"
TICKETS: Final = "TICKETS"
TOOLBOX: Final = "TOOLBOX"
ARCHIVE: Final = "ARCHIVE"
ARCHIVED: Final = "ARCHIVED"
MAIN: Final = "main"


class Names(msgspec.Struct, frozen=True):
    """All names under one root token."""

    root: str = "vagus"

    def stream(self, name: str) -> str:
        """A stream, such as `VAGUS_INBOX`."""
        return f"{self.root.upper()}_{name}"

    def bucket(self, name: str) -> str:
        """The stream of a key-value bucket, such as `KV_VAGUS_TICKETS`."""
        return f"KV_{self.stream(name)}"

    def log(self, session: str, generation: int = 0) -> str:
        """The stream of a session's log; one that was restored has its number in its name."""
        return self.stream(f"S_{session}") + (f"@{generation}" if generation else "")

    def session_of(self, stream: str) -> str | None:
        """The session whose log a stream is; None if it is none."""
        prefix = self.log("")
        return stream.removeprefix(prefix).partition("@")[0] if stream.startswith(prefix) else None

    def parts(self, session: str, copy: str) -> str:
        """The subjects of an archived log."""
        return f"{self.root}.archive.{session}.{copy}.*"

    def commit(self, session: str, branch: str) -> str:
        """The subject of a branch's commits."""
        return f"{self.root}.session.{session}.{branch}"

    def key(self, bucket: str, subject: str) -> str:
        """The key that a subject of a bucket's stream stands for."""
        return subject.removeprefix(f"$KV.{self.stream(bucket)}.")
