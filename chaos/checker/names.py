"""Names on the server."""

import binascii
from base64 import urlsafe_b64decode
from typing import Final

import msgspec

QUEUES: Final = ("INBOX", "GATE", "TOOLS", "APPROVALS")
"""The work queues: empty when nothing is left to do."""
DEAD: Final = "DEAD"
TICKETS: Final = "TICKETS"
TOOLBOX: Final = "TOOLBOX"
ARCHIVE: Final = "ARCHIVE"
ARCHIVED: Final = "ARCHIVED"
ERASED: Final = "ERASED"
EVENTS: Final = "EVENTS"
"""The firehose."""
RELAYED: Final = "RELAYED"
BLOBS: Final = "BLOBS"
MAIN: Final = "main"

_IN_SUBJECTS: Final = {
    **dict.fromkeys(("inbox", "gate", "tool", "approval", "answer", "dead", "due"), -1),
    **dict.fromkeys(("event", "schedule", "archive"), 0),
}
"""Which token of a subject is the session, of those after the second one; by that."""
_IN_KEYS: Final = {
    **dict.fromkeys(("SESSIONS", "POLICIES", TICKETS, RELAYED, "SNAPSHOTS", ARCHIVED), 0),
    "SUBSCRIPTIONS": 2,
}
"""Which token of a key is the session, by the bucket; of claims none, which stay when a session is erased."""


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

    def owns(self, stream: str) -> bool:
        """Whether a stream is one of ours, that of a bucket included."""
        return stream.removeprefix("KV_").removeprefix("OBJ_").startswith(self.stream(""))

    def parts(self, session: str, copy: str) -> str:
        """The subjects of an archived log."""
        return f"{self.root}.archive.{session}.{copy}.*"

    def commit(self, session: str, branch: str) -> str:
        """The subject of a branch's commits."""
        return f"{self.root}.session.{session}.{branch}"

    def events(self, session: str) -> str:
        """The subjects of a session's events in the firehose."""
        return f"{self.root}.event.{session}.>"

    def event(self, session: str, branch: str, kind: str) -> str:
        """The subject of one event there."""
        return f"{self.root}.event.{session}.{branch}.{kind}"

    def named_in(self, subject: str) -> str | None:
        """The session that a subject names, of a message or of what a bucket holds; None if it names none."""
        space, _, rest = subject.partition(".")
        name, _, rest = rest.partition(".")
        tokens, bucket = rest.split("."), name.removeprefix(self.stream(""))
        if space == self.root and name in _IN_SUBJECTS:
            return tokens[_IN_SUBJECTS[name]]
        if space == "$KV" and bucket in _IN_KEYS:
            return tokens[_IN_KEYS[bucket]] if len(tokens) > _IN_KEYS[bucket] else None
        if space == "$O" and bucket == BLOBS and tokens[0] == "M":
            return _blob(tokens[-1]).partition("/")[0]
        return None

    def key(self, bucket: str, subject: str) -> str:
        """The key that a subject of a bucket's stream stands for."""
        return subject.removeprefix(f"$KV.{self.stream(bucket)}.")


def _blob(encoded: str) -> str:
    """The name of a blob, as it stands in its subject."""
    try:
        return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode(errors="replace")
    except binascii.Error:
        return ""
