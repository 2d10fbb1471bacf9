"""Every subject, stream name and bucket name: the only place with a dot in a string.

Ids are checked where they enter Vagus, so a token can be trusted here.
"""

import msgspec

from vagus.contract.limits import INBOX_CHARS
from vagus.contract.messages import Role


class Subjects(msgspec.Struct, frozen=True):
    """All names under one root token, so that tests and tenants share a server."""

    root: str = "vagus"

    # The log ----------------------------------------------------------------------------------------------

    def session_stream(self, session: str, generation: int = 0) -> str:
        """The stream that is a session's log; one that was restored has its number in its name."""
        return f"{self.root.upper()}_S_{session}" + (f"@{generation}" if generation else "")

    def session_of_stream(self, stream: str) -> str:
        """The session whose log `stream` is."""
        return stream.removeprefix(f"{self.root.upper()}_S_").partition("@")[0]

    def log(self, session: str, branch: str = "*") -> str:
        """Commits of a branch (by default of all)."""
        return f"{self.root}.session.{session}.{branch}"

    def all_logs(self) -> str:
        """Commits of all sessions, as the stream stores them."""
        return f"{self.root}.session.>"

    def feed(self, session: str = "*", branch: str = "*") -> str:
        """Stored commits, republished by the server to live readers."""
        return f"{self.root}.feed.{session}.{branch}"

    def all_feeds(self) -> str:
        """Where the server republishes to."""
        return f"{self.root}.feed.>"

    def archive(self, session: str = "*", copy: str = "*", part: int | str = "*") -> str:
        """A part of an archived log."""
        return f"{self.root}.archive.{session}.{copy}.{part}"

    def restore(self, session: str, generation: int | str, branch: str = "*") -> str:
        """Where an archived log is written to a stream that is not yet the session's."""
        return f"{self.root}.restore.{session}.{generation}.{branch}"

    def restored(self, session: str) -> str:
        """The server's transform of `restore`: commits of the branch."""
        return f"{self.root}.session.{session}.{{{{wildcard(1)}}}}"

    # The inbox --------------------------------------------------------------------------------------------

    def inbox(self, role: Role, session: str) -> str:
        """Where a session is spoken to."""
        return f"{self.root}.inbox.{role}.{session}"

    def all_inbox(self) -> str:
        """All that is said to sessions, before the server partitions it."""
        return f"{self.root}.inbox.*.*"

    def inbox_partition(self, partition: int | str, role: Role | str = "*", session: str = "*") -> str:
        """What is said to the sessions of one partition."""
        return f"{self.root}.inbox.{partition}.{role}.{session}"

    def inbox_transform(self, partitions: int) -> str:
        """The server's transform of `all_inbox` (partition by session id)."""
        return f"{self.root}.inbox.{{{{partition({partitions},2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"

    # Schedules --------------------------------------------------------------------------------------------

    def schedule(self, session: str = "*", schedule_id: str = "*") -> str:
        """A tick that waits for its time."""
        return f"{self.root}.schedule.{session}.{schedule_id}"

    def due(self, session: str = "*", schedule_id: str = "*") -> str:
        """Where the server stores it when that has come."""
        return f"{self.root}.due.{schedule_id}.{session}"

    def schedule_of(self, scheduler: str) -> tuple[str, str] | None:
        """Session and id of the schedule with this subject; None if it is none."""
        match scheduler.split("."):
            case [self.root, "schedule", session, schedule_id]:
                return session, schedule_id
        return None

    # Work queues ------------------------------------------------------------------------------------------

    def gate(self, session: str = "*") -> str:
        """Gate requests."""
        return f"{self.root}.gate.{session}"

    def tool(self, pool: str = "*", priority: str = "*", session: str = "*") -> str:
        """Tool requests."""
        return f"{self.root}.tool.{pool}.{priority}.{session}"

    def approval(self, session: str = "*") -> str:
        """Tickets to ask people for."""
        return f"{self.root}.approval.{session}"

    def answer(self, session: str = "*") -> str:
        """People's answers to tickets."""
        return f"{self.root}.answer.{session}"

    # Others -----------------------------------------------------------------------------------------------

    def published(self, subject: str) -> str | None:
        """Where a message of a work queue was published, given its subject there; None if it is of no queue.

        The server has put the partition into those of the inbox.
        """
        root, *tokens = subject.split(".")
        if root != self.root or not all(tokens) or set(subject) & set("*> "):
            return None
        match tokens:
            case ["inbox", *_, role, session] if len(tokens) in (3, 4) and role in set(Role):
                return self.inbox(Role(role), session)
            case ["gate" | "approval" | "answer", _] | ["tool", _, _, _]:
                return subject
        return None

    def event(self, session: str = "*", branch: str = "*", kind: str = "*") -> str:
        """The firehose: one event a message."""
        return f"{self.root}.event.{session}.{branch}.{kind}"

    def event_of(self, subject: str) -> tuple[str, str, str] | None:
        """Session, branch and kind of an event with this subject; None if it is none."""
        match subject.split("."):
            case [self.root, "event", session, branch, kind]:
                return session, branch, kind
        return None

    def dead(self, where: str = ">") -> str:
        """What could not be handled; `where` is the process kind and session."""
        return f"{self.root}.dead.{where}"

    def live(self, session: str, branch: str) -> str:
        """Ephemeral: text deltas, tool output as it is produced, progress."""
        return f"{self.root}.live.{session}.{branch}"

    def verdict(self, kernel: str = "*", session: str = "*") -> str:
        """Ephemeral: what a gate tells the kernel that has asked it."""
        return f"{self.root}.verdict.{kernel}.{session}"

    def report(self, kernel: str = "*", session: str = "*") -> str:
        """Ephemeral: what a runner hands over to the kernel that has asked it; answered by a `Receipt`."""
        return f"{self.root}.report.{kernel}.{session}"

    def cancel(self, tool_run_id: str = "*") -> str:
        """Ephemeral: cancel a tool run."""
        return f"{self.root}.control.cancel.{tool_run_id}"

    def drain(self, kind: str, instance: str) -> str:
        """Asks a process to finish its work and end."""
        return f"{self.root}.control.drain.{kind}.{instance}"

    def writes(self, bucket: str) -> str:
        """Every write to a bucket's keys, also one that the bucket refuses: a hint, not a fact."""
        return f"$KV.{self.named(bucket)}.>"

    def key(self, bucket: str, key: str) -> str:
        """The subject of a bucket's key, or of all keys that a filter fits."""
        return f"$KV.{self.named(bucket)}.{key}"

    @staticmethod
    def elected(stream: str, consumer: str) -> str:
        """The server's word that a consumer has a new leader: what was asked of the old one is lost."""
        return f"$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.{stream}.{consumer}"

    @staticmethod
    def stream_elected(stream: str = "*") -> str:
        """The server's word that a stream has a new leader: the former one may have died in the middle."""
        return f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{stream}"

    # Names without a subject of their own -----------------------------------------------------------------

    def named(self, name: str) -> str:
        """A stream or bucket, such as `VAGUS_INBOX` for `INBOX`."""
        return f"{self.root.upper()}_{name}"

    @staticmethod
    def is_inbox(subject: str) -> bool:
        """Whether a reply may be sent there: nobody gets a process to speak in its own name elsewhere."""
        short = len(subject) <= INBOX_CHARS
        return short and subject.startswith("_INBOX") and not set(subject) & set(" \t\r\n*>")

    @staticmethod
    def last_token(subject: str, back: int = 1) -> str:
        """The last token of a subject, or the one `back` from its end."""
        return subject.split(".")[-back]
