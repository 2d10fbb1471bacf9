"""The client: one connection, through which sessions are made, found and answered for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import anyio

from vagus.contract import limits
from vagus.contract.approvals import ApprovalDecision, ApprovalTicket
from vagus.contract.commands import ArchiveSession, CreateSession, EraseSession, NewSession, RestoreSession
from vagus.contract.erasures import Erasure
from vagus.contract.ids import check_id
from vagus.contract.models import ModelRouting
from vagus.contract.policy import PolicySet
from vagus.contract.replies import LogPlace
from vagus.contract.sessions import SessionManifest, SessionSummary
from vagus.contract.state import BudgetState
from vagus.contract.status import Member, Status
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter
from vagus.contract.tools import ToolDefinition
from vagus.runtime import bus as buses
from vagus.runtime import clock
from vagus.runtime.access import ANYBODY
from vagus.runtime.bus import Bus
from vagus.runtime.drain import DRAIN_S
from vagus.runtime.graves import Graves
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.settings import Access
from vagus.runtime.subscription import Start, Subscription, subscribe
from vagus.sdk.backup import Backup, Backups, Tell, untold
from vagus.sdk.deadletters import DeadLetter, DeadLetters
from vagus.sdk.dispatch import Dispatch
from vagus.sdk.operations import Operations
from vagus.sdk.reading import check_session
from vagus.sdk.registry import Registry
from vagus.sdk.replies import Replies, open_replies
from vagus.sdk.session import Session
from vagus.sdk.subscriptions import Subscriptions, SubscriptionStatus
from vagus.sdk.tickets import Tickets
from vagus.sdk.verification import Verification

ERASE_S: Final = 60.0
"""How long an erasure is waited for: a running tool is ended first, and what was in hand is waited for."""
MOVE_S: Final = 600.0
"""How long moving a log is waited for: a million events take some minutes."""
DEFAULT_SERVER: Final = "nats://127.0.0.1:4222"
EVERYTHING: Final = Filter()


class Client:
    """A connection to Vagus; made by `connect`. Safe to use from many tasks at once."""

    def __init__(self, *, actor: str, bus: Bus, replies: Replies, subjects: Subjects) -> None:
        self.bus: Final = bus
        self.subjects: Final = subjects
        self._actor = actor
        self._dead_letters = DeadLetters(bus=bus, subjects=subjects)
        self._log = JetStreamLog(bus, subjects)
        self._tickets = Tickets(bus=bus, replies=replies, subjects=subjects)
        self._dispatch = Dispatch(
            bus=bus, log=self._log, on_end=self._tickets.name, replies=replies, subjects=subjects
        )
        self._backups = Backups(bus=bus, subjects=subjects)
        self._graves = Graves(bus, subjects)
        self._operations = Operations(bus=bus, subjects=subjects)
        self._registry = Registry(bus=bus, log=self._log, subjects=subjects)
        self._subscriptions = Subscriptions(bus=bus, subjects=subjects)

    @classmethod
    @asynccontextmanager
    async def over(cls, bus: Bus, subjects: Subjects, *, actor: str = "") -> AsyncIterator["Client"]:
        """A client on a connection that somebody else opened and closes."""
        async with open_replies(bus) as replies:
            yield cls(actor=actor, bus=bus, replies=replies, subjects=subjects)

    # Sessions ---------------------------------------------------------------------------------------------

    async def create_session(
        self,
        *,
        owner: str,
        policy: PolicySet,
        session_id: str | None = None,
        model_routing: ModelRouting | None = None,
        budget: BudgetState | None = None,
    ) -> Session:
        """Create a session, or return the one that has this id already.

        Args:
            owner: Whose it is.
            policy: What it may do.
            session_id: 1 to 64 of `A-Z a-z 0-9 _ -`; None makes one up.
            model_routing: Which model it asks; None: the kernel's default.
            budget: What its branches may spend at first.

        Raises:
            Conflict: A session of this id exists with another policy.
            InvalidId: The id is not one.
        """
        name = str(uuid4()) if session_id is None else check_id("session id", session_id)
        command = CreateSession(
            command_id=str(uuid4()),
            session_id=name,
            actor=self._actor,
            sent_at=clock.now(),
            create_session=NewSession(owner=owner, policy=policy, model_routing=model_routing, budget=budget),
        )
        await self._dispatch.ask(command, SessionManifest)
        return self._session(name)

    async def session(self, session_id: str) -> Session:
        """The session of this id; raises `SessionNotFound`."""
        await check_session(self._log, check_id("session id", session_id))
        return self._session(session_id)

    async def verify(self, session_id: str) -> Verification:
        """Check a session's whole log, also one that is gone: the registry remembers it."""
        return await self._session(check_id("session id", session_id)).verify()

    async def sessions(self) -> list[SessionSummary]:
        """All sessions, newest first; each at most a second behind its log."""
        return await self._registry.sessions()

    async def archive_session(self, session_id: str, *, timeout_s: float = MOVE_S) -> LogPlace:
        """Move a session's log to the archive, where it costs no memory. Idempotent.

        It is read there as before; the next command that writes brings it back.

        Raises:
            SessionNotFound: There is none of this id.
            Refused: It is not at rest: a tick runs, a ticket is pending, an input waits.
            Malformed: Its log is damaged.
        """
        return await self._move(ArchiveSession, session_id, timeout_s)

    async def restore_session(self, session_id: str, *, timeout_s: float = MOVE_S) -> LogPlace:
        """Bring a session's log back from the archive now. Idempotent; raises `SessionNotFound`."""
        return await self._move(RestoreSession, session_id, timeout_s)

    async def erase(
        self, session_id: str, *, reason: str = "", actor: str | None = None, timeout_s: float = ERASE_S
    ) -> Erasure:
        """Erase a session for ever, whatever it is doing: log, files, blobs, tickets, copies of its events.

        What is left is its tombstone, which this returns; the id is never used again. Idempotent: an erasure
        that was broken off goes on by itself, and by this. Needs an operator's permissions.

        Args:
            session_id: Of the session.
            reason: For the tombstone, which everybody may read.
            actor: Who orders it; None: the client's actor.
            timeout_s: How long it is waited for.

        Raises:
            SessionNotFound: There is none of this id, and never was.
            OutcomeUnknown: It is under way; asking again tells.
        """
        name = check_id("session id", session_id)
        if await self._graves.find(name) is None:
            if await self._registry.known(name) is None:
                await check_session(self._log, name)
            await self._graves.order(name, actor=actor or self._actor, reason=reason)
        command = EraseSession(
            command_id=str(uuid4()), session_id=name, actor=actor or self._actor, sent_at=clock.now()
        )
        return await self._dispatch.ask(command, Erasure, timeout_s=timeout_s)

    async def erasures(self) -> list[Erasure]:
        """The tombstones of all sessions that were erased, or are being."""
        return await self._graves.all()

    async def _move(
        self, kind: type[ArchiveSession] | type[RestoreSession], session_id: str, timeout_s: float
    ) -> LogPlace:
        command = kind(
            command_id=str(uuid4()),
            session_id=check_id("session id", session_id),
            actor=self._actor,
            sent_at=clock.now(),
        )
        return await self._dispatch.ask(command, LogPlace, timeout_s=timeout_s)

    # People -----------------------------------------------------------------------------------------------

    async def approvals(self, session_id: str | None = None) -> list[ApprovalTicket]:
        """Tickets that wait for an answer, oldest first; of one session, or of all."""
        return await self._tickets.pending(None if session_id is None else check_id("session id", session_id))

    async def approve(self, approval_id: str, *, actor: str, reason: str = "") -> ApprovalTicket:
        """Allow what a ticket asks for; the call then runs by itself, if the policy still allows it.

        Raises `ApprovalNotPending` if there is no such ticket or it has been answered. For an id that a tick
        might just have named this takes two seconds: until an approver has made the ticket, only the log of a
        session knows it, and the id does not tell of which.
        """
        return await self._tickets.answer(approval_id, ApprovalDecision.APPROVED, actor=actor, reason=reason)

    async def deny(self, approval_id: str, *, actor: str, reason: str = "") -> ApprovalTicket:
        """Refuse what a ticket asks for; the call ends as failed. Raises as `approve`."""
        return await self._tickets.answer(approval_id, ApprovalDecision.DENIED, actor=actor, reason=reason)

    # Events of all sessions -------------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self,
        filter: Filter = EVERYTHING,  # noqa: A002 -- the word for it
        *,
        durable: str | None = None,
        start: Start = "first",
        prefetch: int = limits.PREFETCH,
    ) -> AsyncIterator[Subscription]:
        """Events of all sessions that fit `filter`: those stored, then live, while the block lasts.

        Each comes at least once and is to be settled, by `ack` or `fail`. Of a session they come in order,
        the next one when all before are settled.

        Args:
            filter: By session, branch, kind and owner.
            durable: The name under which the server remembers what is done. Programs that subscribe with the
                same name share the work, a session being one's at a time. None: all events come here, and
                nothing is remembered.
            start: `first`: with the oldest event; `new`: with the next; at a time; after a `Cursor`. A
                durable subscription that exists goes on where it was.
            prefetch: How many events wait in this program, or are handed out, at most.

        Raises:
            SettingsError: The durable subscription exists with another filter.
            Unavailable: No answer, or there is no stream of all events: no relay has run yet.
            InvalidId: The durable name is not one.
        """
        async with subscribe(
            self.bus, self.subjects, filter, durable=durable, start=start, prefetch=prefetch
        ) as subscription:
            yield subscription

    async def subscriptions(self) -> list[SubscriptionStatus]:
        """The durable subscriptions by name, with what waited for them a second ago."""
        return await self._subscriptions.all()

    async def unsubscribe(self, durable: str) -> None:
        """Forget a durable subscription for good.

        Raises:
            NotFound: There is none.
            Refused: Somebody takes part in it.
        """
        await self._subscriptions.remove(durable)

    # Tools ------------------------------------------------------------------------------------------------

    async def tools(self) -> list[ToolDefinition]:
        """All registered tools, by name; a call of one waits until a runner of its pool is alive."""
        return await self._registry.tools()

    # Dead letters -----------------------------------------------------------------------------------------

    async def dead_letters(
        self, session_id: str | None = None, *, after: int = 0, limit: int = 1000
    ) -> list[DeadLetter]:
        """Messages that no process could handle, oldest first, without their bodies; of a session or of all.

        At most `limit`, with a greater id than `after`. The server forgets them after 14 days.
        """
        session = None if session_id is None else check_id("session id", session_id)
        return await self._dead_letters.all(session, after=after, limit=limit)

    async def dead_letter(self, letter_id: int) -> DeadLetter:
        """One of them, with its body; raises `NotFound`."""
        return await self._dead_letters.get(letter_id)

    async def retry(self, letter_id: int) -> DeadLetter:
        """Put the message of a dead letter on its queue again; the dead letter is then gone.

        What it asks for is still done at most once: whatever has happened is known by its id. Retry it when
        the reason is mended; else it comes back as another dead letter. An event that a durable subscription
        has given up goes to that subscription alone, at least once, behind later ones of its session.

        Raises:
            NotFound: There is none of this id.
            Refused: It was cut, or does not tell which queue it belongs to; or its subscription is gone, has
                no name or another filter.
        """
        return await self._dead_letters.retry(letter_id)

    async def drop(self, letter_id: int) -> None:
        """Remove a dead letter for good; raises `NotFound`."""
        await self._dead_letters.drop(letter_id)

    # Operation --------------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """The whole installation at this moment: servers, processes, queues, sessions.

        Takes five seconds at most; what could not be read by then is missing, and told as a problem.
        """
        return await self._operations.status()

    async def members(self) -> list[Member]:
        """The processes that live, by kind."""
        return await self._operations.members()

    async def drain(self, process: str, *, timeout_s: float = DRAIN_S) -> None:
        """Have a process (such as `kernel.k1`) finish its work and end; returns when it has let go of all.

        Whoever keeps it running, such as `vagus up`, starts it again.

        Raises:
            NotFound: No process of that name lives.
            Unavailable: It does not listen.
            OutcomeUnknown: It has not answered, or not ended in time.
        """
        await self._operations.drain(process, timeout_s)

    async def backup(self, folder: Path, *, tell: Tell = untold) -> Backup:
        """Copy all that is on the server into a folder, which is made or empty; processes go on meanwhile.

        `tell` is given a line for each stream. A backup that was broken off has no `backup.json`.

        Raises:
            Refused: The folder is not empty, or the server does not let us.
            Unavailable, OutcomeUnknown: The server broke off.
        """
        return await self._backups.take(anyio.Path(folder), tell)

    async def restore_backup(
        self, folder: Path, *, replicas: int | None = None, tell: Tell = untold
    ) -> Backup:
        """Put a backup back, with other `replicas` if given; before processes are started.

        Raises:
            NotFound, Malformed: The folder holds no complete backup; nothing was made.
            Conflict: The server has some of it already; nothing was made.
            Unavailable, OutcomeUnknown: The server broke off; empty it before trying again.
        """
        return await self._backups.put_back(anyio.Path(folder), replicas, tell)

    def _session(self, session_id: str) -> Session:
        return Session(
            session_id,
            actor=self._actor,
            dispatch=self._dispatch,
            log=self._log,
            registry=self._registry,
        )


@asynccontextmanager
async def connect(
    server: str = DEFAULT_SERVER,
    *,
    access: Access = ANYBODY,
    actor: str = "",
    name: str = "vagus-client",
    root_subject: str = "vagus",
    timeout_s: float = buses.CONNECT_TIMEOUT_S,
) -> AsyncIterator[Client]:
    """Connect to the NATS server (several: comma-separated) that the processes of Vagus use.

    After the first success the connection is restored for ever.

    Args:
        server: Its URL.
        access: Who we are for NATS, and whom we trust: credentials or an nkey, TLS.
        actor: Who speaks, as commands and the log name them.
        name: What the server's operator sees.
        root_subject: First token of all subjects; as the processes' `VAGUS_ROOT_SUBJECT`.
        timeout_s: For the first connection.

    Raises:
        Unavailable: No server there within `timeout_s`.
        InvalidId: The root subject is not one.
        SettingsError: A file that `access` names cannot be used.
    """
    subjects = Subjects(root=check_id("root subject", root_subject))
    async with (
        buses.connect(server, name=name, access=access, timeout_s=timeout_s) as bus,
        Client.over(bus, subjects, actor=actor) as client,
    ):
        yield client
