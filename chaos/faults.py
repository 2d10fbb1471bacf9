"""What is to happen to processes, servers, connections and clocks: a pure function of a seed."""

from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

from chaos.points import POINTS, RARE

ROLES: Final = {"kernel": 3, "gate": 2, "runner": 3, "approver": 2, "relay": 2}
"""How many processes of each there are."""
CLIENTS: Final = 3
"""Connections of clients."""

_PROCESS: Final = ("kill", "freeze", "drain")
_LINE: Final = ("cut", "lose-request", "lose-reply", "close", "stall")
_CLOCK: Final = ("clock-ahead", "clock-behind")
_SERVER: Final = ("kill-server", "freeze-server", "restart-server")
_CLUSTER: Final = ("kill-leader", "freeze-leader", "restart-leader", "kill-most-servers")
POINT: Final = "die-at"

_SECONDS: Final = {
    "freeze": (0.5, 9.0),  # a lease is 5 s
    "close": (0.5, 9.0),
    "stall": (0.5, 9.0),
    "kill-server": (0.0, 4.0),
    "restart-server": (0.0, 4.0),
    "freeze-server": (0.5, 8.0),
    "kill-leader": (1.0, 6.0),
    "restart-leader": (0.0, 4.0),
    "freeze-leader": (1.0, 14.0),  # missed after 4 to 9 s
    "kill-most-servers": (0.5, 5.0),
}
"""How long it may last; of what is dead, until it is started again."""
_SKEW_S: Final = (1.0, 20.0)
_SERVER_SHARE: Final = 6
"""One of so many faults strikes a server: these stop everybody."""
_POINT_SHARE: Final = 4
_LATER_VISIT: Final = 4


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of them."""

    kind: str
    """Such as `kill-kernel` or `die-at`; they are counted by it."""
    does: str
    role: str = ""
    """Of processes, `client` or `server`."""
    place: int = 0
    """Which of them, as if they stood in a row."""
    point: str = ""
    """`NAME:COUNT`"""
    seconds: float = 0.0
    """How long it lasts; of clocks, how far they are set."""

    def __str__(self) -> str:
        where = f"{self.role} {self.place}" if self.role else ""
        amount = f"{self.seconds:g} s" if self.seconds else ""
        return " ".join(part for part in (self.kind, self.point, where, amount) if part)


def kinds(servers: int) -> list[tuple[str, str]]:
    """All kinds but those of named points, as what happens and to whom."""
    found = [(does, role) for does in (*_PROCESS, *_LINE, *_CLOCK) for role in ROLES]
    found += [(does, "client") for does in _LINE]
    return found + [(does, "server") for does in (*_SERVER, *(_CLUSTER if servers > 1 else ()))]


def faults(seed: int, number: int, servers: int) -> list[Fault]:
    """So many faults: every kind and every named point at least once, if there is room for all."""
    random = Random(f"faults {seed}")  # noqa: S311 -- to be repeated, not to be secret
    known = kinds(servers)
    once = [_fault(random, does, role, servers) for does, role in known]
    once += [_point(random, role, point) for role, points in POINTS.items() for point in points]
    random.shuffle(once)
    if number < len(once):
        return _spread(once, number)
    more = [_any(random, known, servers) for _ in range(number - len(once))]
    everything = once + more
    random.shuffle(everything)
    return everything


def _spread(once: list[Fault], number: int) -> list[Fault]:
    """The first of each, by what happens: then there are as many different ones as can be."""
    first = list({fault.does: fault for fault in reversed(once)}.values())
    rest = [fault for fault in once if fault not in first]
    return (first + rest)[:number]


def _any(random: Random, known: list[tuple[str, str]], servers: int) -> Fault:
    if random.randrange(_POINT_SHARE) == 0:
        role = random.choice(sorted(POINTS))
        return _point(random, role, random.choice(POINTS[role]))
    on_servers = random.randrange(_SERVER_SHARE) == 0
    does, role = random.choice([kind for kind in known if (kind[1] == "server") == on_servers])
    return _fault(random, does, role, servers)


def _fault(random: Random, does: str, role: str, servers: int) -> Fault:
    places = {**ROLES, "client": CLIENTS, "server": servers}[role]
    low, high = _SKEW_S if does in _CLOCK else _SECONDS.get(does, (0.0, 0.0))
    kind = does if role == "server" else f"{does}-{role}"
    if does in (*_LINE, *_CLOCK):
        kind = does
    return Fault(
        kind=kind,
        does=does,
        role=role,
        place=random.randrange(places),
        seconds=round(random.uniform(low, high), 1),
    )


def _point(random: Random, role: str, name: str) -> Fault:
    visit = 1 if name in RARE else random.randint(1, _LATER_VISIT)
    place = random.randrange(ROLES[role])
    return Fault(kind=POINT, does=POINT, role=role, place=place, point=f"{name}:{visit}")


def points(planned: list[Fault]) -> Iterator[str]:
    """The named points that they visit, each once."""
    yield from dict.fromkeys(fault.point.partition(":")[0] for fault in planned if fault.point)
