from collections.abc import Iterator

import pytest

from tests.kit.warp import warped
from tests.kit.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world with a clock of its own; no input of it is given up for its deliveries."""
    made = World()
    patch = warped(made.clock, 10**6)
    yield made
    patch.undo()
