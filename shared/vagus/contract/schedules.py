"""Schedules: ticks that begin later, once or again and again.

What waits is a message that the server itself stores anew when it is due (a message schedule of NATS). Its
subject names the session and the schedule; its body is the tick.
"""

from typing import Final, Self

import msgspec

from vagus.contract import limits
from vagus.contract.clock import SECOND_NS, format_ns, parse
from vagus.contract.cron import parse_cron
from vagus.contract.errors import Malformed
from vagus.contract.ids import Id
from vagus.contract.sessions import TickInput

PATTERN_HEADER: Final = "Nats-Schedule"
TARGET_HEADER: Final = "Nats-Schedule-Target"
SCHEDULER_HEADER: Final = "Nats-Scheduler"
"""On what is due, by the server: the subject of its schedule."""
NEXT_HEADER: Final = "Nats-Schedule-Next"
"""On what is due, by the server: when the schedule fires next; `NEVER` if it was for once."""
NEVER: Final = "purge"
FIRED_HEADER: Final = "Vagus-Schedule"
"""On a tick in the inbox: the schedule that it comes from."""

OBJECTIVE_CHARS: Final = 200
"""Of an objective, where schedules are listed."""


class Timing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a schedule fires: exactly one of these."""

    at: str | None = None
    """Once; RFC 3339. At once if that is past."""
    cron: str | None = None
    """Five fields, in UTC; see `vagus.contract.cron`."""
    every_s: float | None = None
    """Every so many seconds, at least one."""

    @property
    def repeats(self) -> bool:
        """Whether it fires more than once."""
        return self.at is None

    def checked(self, now_ns: int) -> Self:
        """Itself in its one spelling; raises `Malformed` that says what is wrong."""
        match self:
            case Timing(at=str(at), cron=None, every_s=None):
                ns = parse(at)
                _check_delay("a tick", (ns - now_ns) / SECOND_NS)
                return type(self)(at=format_ns(max(ns, 0)))
            case Timing(at=None, cron=str(text), every_s=None):
                cron = parse_cron(text)
                cron.after(now_ns)
                return type(self)(cron=cron.text)
            case Timing(at=None, cron=None, every_s=float() | int() as seconds):
                if not seconds >= limits.SCHEDULE_EVERY_S:
                    raise Malformed(f"every {seconds} s is too often: at least {limits.SCHEDULE_EVERY_S:g} s")
                _check_delay("a repetition", seconds)
                return type(self)(every_s=round(seconds, 3))
            case _:
                raise Malformed("a schedule says exactly one of at, cron and every_s")

    @property
    def pattern(self) -> str:
        """As the server wants to be told; of one that was checked."""
        if self.at is not None:
            return f"@at {self.at}"
        if self.cron is not None:
            return f"0 {self.cron}"
        return f"@every {round((self.every_s or 0) * 1000)}ms"

    @classmethod
    def of_pattern(cls, pattern: str) -> Self:
        """What the server was told so; raises `Malformed` if it was not by us."""
        kind, _, rest = pattern.partition(" ")
        if kind == "@at":
            return cls(at=rest)
        if kind == "@every" and rest.endswith("ms") and rest[:-2].isdigit():
            return cls(every_s=int(rest[:-2]) / 1000)
        if kind == "0":
            return cls(cron=rest)
        raise Malformed(f"not a schedule of ours: {pattern[:80]!r}")

    def due(self, since_ns: int, now_ns: int) -> str:
        """When a schedule that stands since then fires next.

        The server counts an interval from whole seconds, and anew after it was down: for `every_s` the answer
        may then be off, by less than the interval.
        """
        if self.at is not None:
            return self.at
        if self.cron is not None:
            return format_ns(parse_cron(self.cron).after(now_ns))
        step_ns = round((self.every_s or 1) * SECOND_NS)
        begin_ns = (since_ns + SECOND_NS // 2) // SECOND_NS * SECOND_NS
        return format_ns(begin_ns + max(1, -(-(now_ns - begin_ns) // step_ns)) * step_ns)


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The body of Schedule."""

    schedule_id: Id
    """One that exists is replaced. Of a single tick also its command id."""
    when: Timing
    tick: TickInput


class DropSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The body of Unschedule."""

    schedule_id: Id


class ScheduleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ListSchedules: nothing yet."""


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that stands."""

    schedule_id: str
    """The command id of its tick, if it is for once; each tick of one that repeats has an id of its own."""
    session_id: str
    branch_id: str
    when: Timing
    due: str
    """When it fires next: RFC 3339, UTC."""
    objective: str
    """As far as `OBJECTIVE_CHARS` go."""
    actor: str


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to ListSchedules: the next one first."""

    schedules: tuple[Scheduled, ...]


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to Unschedule."""

    schedule_id: str
    dropped: bool
    """False: there was none; it may have fired."""


def firing_id(schedule_id: str, following: str) -> str:
    """The command id of one firing: the same for every message of it.

    Of a schedule that repeats, a firing is told from the others by when the `following` one is due: the
    server writes that on it, and writes the same when it makes the firing anew after a crash.
    """
    return schedule_id if following == NEVER else f"{schedule_id}.{following}"


def _check_delay(what: str, seconds: float) -> None:
    if not seconds <= limits.SCHEDULE_AHEAD_S:
        days = limits.SCHEDULE_AHEAD_S / 86_400
        raise Malformed(f"{what} in {seconds:g} s is too far away: at most {days:g} days")
