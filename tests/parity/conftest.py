from collections.abc import Callable

import pytest

from tests.parity.core_world import CoreWorld
from tests.parity.trace import load


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CoreWorld]:
    """A trace on the pure core, each played once."""
    worlds: dict[str, CoreWorld] = {}

    def play(name: str) -> CoreWorld:
        if name not in worlds:
            world = CoreWorld(load(name), tmp_path_factory.mktemp(name))
            world.play()
            worlds[name] = world
        return worlds[name]

    return play
