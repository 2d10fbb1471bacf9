import logging

import pytest

from tests.kit.warp import warped
from tests.kit.world import SESSION, Process, World

NEVER = 10**6


def test_a_log_that_has_lost_its_end_is_told_of_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    patch = warped(world.clock, NEVER)
    try:
        world.create()
        world.command("Tick", {"objective": "text"}, "t")
        first = Process(world)
        world.settle_all(first)
        first.drain()
        assert world.buckets["SNAPSHOTS"], "it was given back with a snapshot"
        kept = len(world.log._sessions[SESSION])
        world.log._sessions[SESSION].pop()
        world.command("Tick", {"objective": "text"}, "u")
        second = Process(world)
        with caplog.at_level(logging.ERROR):
            world.settle_all(second)
        told = [record.getMessage() for record in caplog.records if "has lost its end" in record.message]
        assert len(told) == 1
        assert f"its snapshot at commit {kept} " in told[0]
        assert world.replies["u"][0].ok is not None
        world._check_chain(world.events())
        second.kill()
    finally:
        patch.undo()
