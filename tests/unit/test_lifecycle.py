"""Stopping in two phases."""

import os
import signal

import anyio
import anyio.lowlevel
import pytest

from tests.kit.waiting import eventually
from vagus.runtime.lifecycle import stop_on_signals


def signal_us(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_ends_intake_and_lets_work_finish(number: signal.Signals) -> None:
    finished = False
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            stop.grace_s = 60
            signal_us(number)
            await stop.draining.wait()
            await anyio.sleep(0.01)
            finished = True
    assert finished
    assert not stop.cut_short


async def test_the_second_signal_ends_the_work() -> None:
    last_words = False
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            stop.grace_s = 60
            signal_us(signal.SIGTERM)
            await stop.draining.wait()
            signal_us(signal.SIGTERM)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.move_on_after(1, shield=True):
                    await anyio.lowlevel.checkpoint()
                    last_words = True
    assert last_words
    assert stop.cut_short


async def test_the_end_of_the_grace_ends_the_work() -> None:
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            stop.grace_s = 0.05
            signal_us(signal.SIGTERM)
            await anyio.sleep_forever()
    assert stop.cut_short


async def test_before_there_is_work_the_first_signal_ends_at_once() -> None:
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            signal_us(signal.SIGTERM)
            await anyio.sleep_forever()
    assert not stop.cut_short


async def test_work_that_ends_by_itself_needs_no_signal() -> None:
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            pass
    assert not stop.draining.is_set()
    assert not stop.cut_short


async def test_signals_in_any_number_end_it_once() -> None:
    with anyio.fail_after(5):
        async with stop_on_signals() as stop:
            stop.grace_s = 60
            for _ in range(20):
                signal_us(signal.SIGTERM)
            await eventually(lambda: stop.cut_short)
    assert stop.cut_short


async def test_an_error_of_the_work_comes_out() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with stop_on_signals():
            raise ValueError("a bug")
    assert raised.group_contains(ValueError, match="a bug")
