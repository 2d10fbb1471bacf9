"""What one client does with one session: a pure function of a seed and the session's number."""

from collections.abc import Callable
from random import Random
from typing import Final, Literal

import msgspec

MAIN: Final = "main"
MOST_BRANCHES: Final = 3

Answer = Literal["approve", "deny", "leave", "cancel", "approve-twice"]


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick", omit_defaults=True):
    """A turn. Its id is unique."""

    id: str
    branch: str
    tool: str = ""
    """Empty: the model is asked."""
    seconds: float = 0.0
    """How long the tool takes."""
    asks: int = 0
    """How many people's approvals it needs."""
    answer: Answer = "leave"
    after_s: float | None = None
    """To begin later."""
    beside: bool = False
    """The client goes on, and does not wait for the end."""
    again: bool = False
    """It is sent once more when it has ended."""


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag="fork"):
    """A branch of another, at its head."""

    branch: str
    of: str


class Merge(msgspec.Struct, frozen=True, kw_only=True, tag="merge"):
    """A branch into main."""

    branch: str
    cancel: bool


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel", omit_defaults=True):
    """A tick, or whatever runs and waits on a branch."""

    branch: str
    tick: str | None = None


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag="signal"):
    """An event from outside."""

    branch: str
    number: int


class Extend(msgspec.Struct, frozen=True, kw_only=True, tag="extend"):
    """A greater budget."""

    branch: str


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag="restore"):
    """The state of the branch's first checkpoint."""

    branch: str


class Wake(msgspec.Struct, frozen=True, kw_only=True, tag="wake"):
    """A schedule that repeats; ended by `Rest`."""

    id: str
    every_s: float


class Rest(msgspec.Struct, frozen=True, kw_only=True, tag="rest"):
    """The end of a schedule."""

    id: str


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """The end of the session."""

    cancel: bool


class Archive(msgspec.Struct, frozen=True, kw_only=True, tag="archive"):
    """The log into the archive, if the session is at rest; what is written next brings it back."""

    beside: bool
    """The client goes on, and does not wait for the end: what it sends next meets the move."""


class Erase(msgspec.Struct, frozen=True, kw_only=True, tag="erase"):
    """The whole session, when everything has been answered."""


Step = Tick | Fork | Merge | Cancel | Signal | Extend | Restore | Wake | Rest | Close | Archive | Erase


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One session."""

    session: str
    poor: bool
    """It runs out of its budget."""
    scripted: bool
    """Its model asks for tools."""
    steps: tuple[Step, ...]


TOOLS: Final = ("", "chaos.put", "chaos.pay", "chaos.look", "chaos.fail", "chaos.crawl", "fs.read", "ask")
_TOOL_WEIGHTS: Final = (26, 20, 22, 8, 6, 4, 3, 11)
_ANSWERS: Final[tuple[Answer, ...]] = ("approve", "approve-twice", "deny", "cancel", "leave")
_ANSWER_WEIGHTS: Final = (60, 10, 18, 6, 6)


def script(seed: int, number: int) -> Script:
    """The one of this number."""
    random = Random(f"session {seed} {number}")  # noqa: S311 -- to be repeated, not to be secret
    session = f"c{seed}-{number}"
    writer = _Writer(random, session)
    for _ in range(random.randint(8, 28)):
        writer.step()
    writer.end()
    return Script(
        session=session,
        poor=random.random() < 0.05,
        scripted=random.random() < 0.15,
        steps=tuple(writer.steps),
    )


class _Writer:
    def __init__(self, random: Random, session: str) -> None:
        self._random = random
        self._session = session
        self._open = [MAIN]
        self._made = 0
        self._wakes: list[str] = []
        self.steps: list[Step] = []

    def step(self) -> None:
        """One or two more."""
        others: list[tuple[int, Callable[[], None]]] = [
            (80, self._tick),
            (6, self._fork),
            (4, self._merge),
            (4, self._cancelled),
            (5, self._signal),
            (2, self._extend),
            (2, self._restore),
            (1, self._wake),
            (6, self._archive),
        ]
        [chosen] = self._random.choices([do for _, do in others], [weight for weight, _ in others])
        chosen()

    def end(self) -> None:
        """What ends the session, if anything does."""
        self.steps += [Rest(id=name) for name in self._wakes]
        closed = self._random.random() < 0.5
        if closed:
            self.steps.append(Close(cancel=self._random.random() < 0.7))
        if self._random.random() < 0.2:
            self._archive()
        if self._random.random() < (0.12 if closed else 0.35):  # an erasure that closes passes one point more
            self.steps.append(Erase())

    def _tick(self) -> None:
        random = self._random
        [tool] = random.choices(TOOLS, _TOOL_WEIGHTS)
        asks = random.choice((1, 1, 2)) if tool == "ask" else 0
        [answer] = random.choices(_ANSWERS, _ANSWER_WEIGHTS)
        seconds = random.choice((0.0, 0.0, 0.0, 0.05, 0.3))
        if tool == "chaos.crawl":
            seconds = round(random.uniform(0.2, 3.0), 1)
        self.steps.append(
            Tick(
                id=self._name("t"),
                branch=random.choice(self._open),
                tool="chaos.pay" if asks else tool,
                seconds=seconds if tool else 0.0,
                asks=asks,
                answer=answer if asks else "leave",
                after_s=round(random.uniform(0.0, 3.0), 1) if random.random() < 0.08 else None,
                beside=random.random() < 0.2,
                again=random.random() < 0.05,
            )
        )

    def _cancelled(self) -> None:
        """A slow tick, and its end."""
        branch, name = self._random.choice(self._open), self._name("t")
        self.steps.append(Tick(id=name, branch=branch, tool="chaos.crawl", seconds=20.0, beside=True))
        self.steps.append(Cancel(branch=branch, tick=name if self._random.random() < 0.5 else None))

    def _fork(self) -> None:
        if len(self._open) > MOST_BRANCHES:
            return self._merge()
        name = self._name("b")
        self.steps.append(Fork(branch=name, of=self._random.choice(self._open)))
        self._open.append(name)

    def _merge(self) -> None:
        if len(self._open) == 1:
            return self._tick()
        branch = self._random.choice(self._open[1:])
        self.steps.append(Merge(branch=branch, cancel=self._random.random() < 0.5))
        if self._random.random() < 0.9:  # else somebody goes on as if nothing had happened
            self._open.remove(branch)

    def _signal(self) -> None:
        self.steps.append(Signal(branch=self._random.choice(self._open), number=len(self.steps)))

    def _extend(self) -> None:
        self.steps.append(Extend(branch=self._random.choice(self._open)))

    def _restore(self) -> None:
        self.steps.append(Restore(branch=self._random.choice(self._open)))

    def _archive(self) -> None:
        self.steps.append(Archive(beside=self._random.random() < 0.4))

    def _wake(self) -> None:
        name = self._name("w")
        self.steps.append(Wake(id=name, every_s=self._random.choice((1.0, 2.0))))
        self._wakes.append(name)

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{self._session}-{kind}{self._made}"
