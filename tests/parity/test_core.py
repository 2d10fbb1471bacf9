"""Every golden trace through the pure core, compared field by field with what is ruled."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.parity.applicability import NOT_PLAYED, REFUSED_SETTINGS
from tests.parity.comparison import mismatches
from tests.parity.core_world import CoreWorld
from tests.parity.deviations import declared
from tests.parity.ports import config
from tests.parity.projection import golden, project, recorded
from tests.parity.reference.tell import tell
from tests.parity.rulings import RULINGS
from tests.parity.trace import load, names
from vagus.contract.errors import SettingsError
from vagus.runtime.settings import read_settings
from vagus_kernel.settings import KernelSettings

Played: TypeAlias = Callable[[str], CoreWorld]

PLAYED = [name for name in names() if name not in NOT_PLAYED]


@pytest.mark.parametrize("name", PLAYED)
def test_the_core_tells_what_is_ruled(name: str, played: Played) -> None:
    trace = load(name)
    told = played(name).account
    assert mismatches(project(tell(trace, RULINGS)), project(told)) == []


@pytest.mark.parametrize("name", [name for name in PLAYED if name not in declared()])
def test_where_nothing_is_declared_the_core_tells_what_the_original_told(name: str, played: Played) -> None:
    trace = load(name)
    told = played(name).account
    assert mismatches(project(golden(trace)), project(recorded(told, trace))) == []


@pytest.mark.parametrize("name", sorted({*REFUSED_SETTINGS, *NOT_PLAYED}))
def test_settings_that_only_the_core_would_take_are_refused_by_the_kernel(name: str) -> None:
    asked = config(load(name))
    environ = {
        "VAGUS_CHECKPOINT_EVERY_TICKS": str(asked.checkpoint_every_ticks),
        "VAGUS_CIRCUIT_BREAKER_ERRORS": str(asked.circuit_breaker_errors),
        "VAGUS_LOOP_HARD_STOP": str(asked.loop_hard_stop),
        "VAGUS_LOOP_WARNING": str(asked.loop_warning),
        "VAGUS_LOOP_WINDOW": str(asked.loop_window),
    }
    with pytest.raises(SettingsError):
        read_settings(KernelSettings, environ).config()
