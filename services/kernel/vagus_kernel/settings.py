"""What the kernel process may be told."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from vagus.contract import limits
from vagus.contract.errors import SettingsError
from vagus.runtime.settings import ProcessSettings, doc
from vagus_kernel.evolve import LOOP_MEMORY
from vagus_kernel.state import Config


@lru_cache(maxsize=8)
def _below(root: Path, name: str) -> str:
    """An absolute folder; asked for with every commit."""
    return str(root.absolute() / name)


class KernelSettings(ProcessSettings, frozen=True, kw_only=True):
    """The kernel's settings."""

    provider: Annotated[
        str, doc("model provider of sessions whose routing names none: baseline, or scripted:FILE")
    ] = "baseline"
    provider_timeout_s: Annotated[float, doc("seconds one model call may take", ge=0.1, le=3600)] = 120.0
    checkpoint_every_ticks: Annotated[int, doc("ticks between checkpoints", ge=1, le=1_000_000)] = 1
    checkpoint_keep: Annotated[int, doc("checkpoint folders kept a session", ge=1, le=1_000_000)] = 10
    circuit_breaker_errors: Annotated[int, doc("error streak that trips the breaker", ge=1, le=1000)] = 3
    enforce_budget: Annotated[bool, doc("whether spent budgets end ticks and refuse calls")] = True
    loop_detection: Annotated[bool, doc("whether repeated calls are warned of and stopped")] = True
    loop_warning: Annotated[int, doc("repetitions that are warned of", ge=2, le=LOOP_MEMORY)] = 3
    loop_hard_stop: Annotated[int, doc("repetitions that are stopped", ge=2, le=LOOP_MEMORY)] = 5
    loop_window: Annotated[int, doc("latest calls that are looked at", ge=2, le=LOOP_MEMORY)] = 20
    approval_timeout_s: Annotated[float, doc("seconds until a ticket times out", ge=1, le=31_536_000)] = (
        limits.APPROVAL_TIMEOUT_S
    )
    effect_retry: Annotated[float, doc("seconds without an answer until an effect is repeated", ge=1)] = (
        limits.EFFECT_RETRY_S
    )
    session_inflight: Annotated[
        int, doc("tool requests of one session on the queue at a time", ge=1, le=1000)
    ] = limits.TOOL_CALLS_INFLIGHT
    turn_timeout_s: Annotated[float, doc("seconds a turn may take, its tools included", ge=1, le=604_800)] = (
        24 * 3600.0
    )
    idle_s: Annotated[float, doc("seconds after which an idle session leaves memory", ge=1, le=86_400)] = (
        300.0
    )
    erase_settle_s: Annotated[
        float, doc("seconds after which an erased session is looked for once more", ge=0.1, le=600)
    ] = limits.ERASE_SETTLE_S
    archive_after: Annotated[
        float, doc("seconds without a change after which a session's log is archived; 0: never", ge=0)
    ] = 0.0
    middlewares: Annotated[
        str, doc("turn middlewares, outermost first: MODULE:NAME, separated by commas")
    ] = ""

    def workspace(self, session_id: str) -> str:
        """The folder of a session's workspace."""
        return f"{_below(self.root, 'sessions')}/{session_id}"

    def lake(self, session_id: str) -> str:
        """The folder of a session's latest state."""
        return f"{_below(self.root, '.lake')}/{session_id}"

    def config(self) -> Config:
        """The core's part; raises `SettingsError` where settings contradict each other."""
        if not self.loop_warning <= self.loop_hard_stop <= self.loop_window:
            raise SettingsError(
                f"VAGUS_LOOP_WARNING={self.loop_warning}, VAGUS_LOOP_HARD_STOP={self.loop_hard_stop}, "
                f"VAGUS_LOOP_WINDOW={self.loop_window}: they must not fall in this order"
            )
        return Config(
            circuit_breaker_errors=self.circuit_breaker_errors,
            checkpoint_every_ticks=self.checkpoint_every_ticks,
            enforce_budget=self.enforce_budget,
            loop_detection=self.loop_detection,
            loop_warning=self.loop_warning,
            loop_hard_stop=self.loop_hard_stop,
            loop_window=self.loop_window,
        )
