"""The calendar: a session's schedules, which the server keeps as message schedules.

Only kernels write there: headers of such a message can name another session's subjects, and permissions do
not see headers. So whoever may command a session may schedule its ticks, and nobody else.
"""

from base64 import b64decode
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from vagus.contract import limits
from vagus.contract.clock import parse
from vagus.contract.commands import Schedule, Tick
from vagus.contract.errors import Malformed, Refused, Unavailable
from vagus.contract.messages import decode
from vagus.contract.schedules import (
    OBJECTIVE_CHARS,
    PATTERN_HEADER,
    TARGET_HEADER,
    Dropped,
    Scheduled,
    Timing,
)
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.listing import subjects_held
from vagus.runtime.removal import remove

_NO_MESSAGE: Final = 10037
_READ_BYTES: Final = 2 * limits.SCHEDULES * limits.SCHEDULED_BYTES


class Calendar:
    """Of one session. All methods may also raise `Unavailable` and `OutcomeUnknown`."""

    def __init__(self, session_id: str, bus: Bus, subjects: Subjects) -> None:
        self._session_id = session_id
        self._bus = bus
        self._subjects = subjects
        self._stream = subjects.named("SCHEDULES")

    async def add(self, command: Schedule) -> Scheduled:
        """Let a tick wait for its time; one of the same id is replaced. Idempotent.

        Raises:
            Malformed: The time is none, or too far away.
            Refused: The session has too many already, or the tick is too long.
        """
        body = command.schedule
        when = body.when.checked(clock.now_ns())
        tick = Tick(
            command_id=body.schedule_id,
            session_id=self._session_id,
            branch_id=command.branch_id,
            actor=command.actor,
            tick=body.tick,
        )
        call = body.tick.proposed_tool
        if call is not None and when.repeats:  # every call needs an id of its own; the kernel then makes one
            tick = replace(tick, tick=replace(body.tick, proposed_tool=replace(call, call_id="")))
        data = msgspec.json.encode(tick)
        if len(data) > limits.SCHEDULED_BYTES:
            raise Refused(
                f"the tick has {len(data)} bytes, over the limit of {limits.SCHEDULED_BYTES} for one that "
                "waits: put long input into a file of the workspace"
            )
        subject = self._subjects.schedule(self._session_id, body.schedule_id)
        if await self._stands(subject):
            await self._make_way(subject, command.command_id)
        await self._bus.store(
            subject,
            data,
            msg_id=command.command_id,
            headers={
                PATTERN_HEADER: when.pattern,
                TARGET_HEADER: self._subjects.due(self._session_id, body.schedule_id),
            },
        )
        return self._told(body.schedule_id, tick, when, clock.now_ns())

    async def drop(self, schedule_id: str) -> Dropped:
        """Let a schedule not fire any more; a tick of it that is in the inbox stays. Idempotent."""
        subject = self._subjects.schedule(self._session_id, schedule_id)
        dropped = await remove(self._bus, self._stream, subject)
        dropped += await remove(self._bus, self._stream, self._subjects.due(self._session_id, schedule_id))
        return Dropped(schedule_id=schedule_id, dropped=dropped > 0)

    async def schedules(self) -> list[Scheduled]:
        """Those that stand, the next one first."""
        wanted = {"multi_last": [self._subjects.schedule(self._session_id)], "max_bytes": _READ_BYTES}
        *found, end = await self._bus.collect(
            f"$JS.API.DIRECT.GET.{self._stream}",
            msgspec.json.encode(wanted),
            last=lambda reply: reply.status != 0,
            timeout_s=limits.REQUEST_TIMEOUT_S,
        )
        if end.status not in (204, 404):
            raise Unavailable(f"cannot read {self._stream}: {end.description} ({end.status})")
        schedules: list[Scheduled] = []
        for message in found:
            with suppress(Malformed):  # it was not written by a kernel
                schedules.append(self._read(message))
        return sorted(schedules, key=lambda scheduled: parse(scheduled.due))

    def _read(self, message: Message) -> Scheduled:
        headers = message.headers
        schedule_id = Subjects.last_token(headers["Nats-Subject"])
        when = Timing.of_pattern(headers.get(PATTERN_HEADER, ""))
        return self._told(schedule_id, decode(message.data, Tick), when, parse(headers["Nats-Time-Stamp"]))

    def _told(self, schedule_id: str, tick: Tick, when: Timing, since_ns: int) -> Scheduled:
        return Scheduled(
            schedule_id=schedule_id,
            session_id=self._session_id,
            branch_id=tick.branch_id,
            when=when,
            due=when.due(since_ns, clock.now_ns()),
            objective=tick.tick.objective[:OBJECTIVE_CHARS],
            actor=tick.actor,
        )

    async def _stands(self, subject: str) -> bool:
        """Whether there is such a schedule; raises `Refused` if there is none, and no room for one."""
        there = await subjects_held(self._bus, self._stream, self._subjects.schedule(self._session_id))
        if subject in there:
            return True
        if len(there) >= limits.SCHEDULES:
            raise Refused(
                f"session {self._session_id} has {len(there)} schedules, as many as it may: drop one first"
            )
        return False

    async def _make_way(self, subject: str, command_id: str) -> None:
        """Remove what the command replaces, unless it is what the command itself has stored before.

        nats-server 2.15 does not write down that a message was replaced: when it is killed, and the one that
        came after was dropped, the one before stands there again, and would fire.
        """
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return
            raise
        headers = b64decode(msgspec.convert(answer["message"], _Standing).hdrs)
        if f"\r\nNats-Msg-Id: {command_id}\r\n".encode() not in headers:
            await remove(self._bus, self._stream, subject)


class _Standing(msgspec.Struct):
    hdrs: str = ""
