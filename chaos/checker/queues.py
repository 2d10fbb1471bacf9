"""What is left on the queues, and what was given up."""

import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import anyio

from chaos.checker.log import Source
from chaos.checker.names import DEAD, QUEUES, Names
from chaos.checker.report import Findings, Rule

LOOK_S: Final = 0.2


async def drained(source: Source, names: Names, findings: Findings, wait_s: float) -> None:
    """Wait until the work queues are empty, at most so long; what is left then is stuck."""
    left = {names.stream(name): 0 for name in QUEUES}
    deadline = anyio.current_time() + wait_s
    while True:
        left = {stream: await source.size(stream) for stream in left}
        if not any(left.values()) or anyio.current_time() >= deadline:
            break
        await anyio.sleep(LOOK_S)
    for stream, number in left.items():
        if number:
            findings.say(Rule.QUEUE, f"{stream} still holds {number} messages after {wait_s:g} s")


async def dead(source: Source, names: Names, findings: Findings, expected: Sequence[str]) -> None:
    """Complain of each dead letter, but of those whose reason matches one of these expressions."""
    patterns = [re.compile(pattern) for pattern in expected]
    async with aclosing(source.messages(names.stream(DEAD))) as letters:
        async for letter in letters:
            findings.counts.dead_letters += 1
            reason = letter.headers.get("Vagus-Reason", "no reason")
            if not any(pattern.search(reason) for pattern in patterns):
                origin = letter.headers.get("Vagus-Subject", letter.subject)
                tries = letter.headers.get("Vagus-Deliveries", "?")
                text = f"{letter.subject}: {reason} (from {origin}, delivered {tries} times)"
                findings.say(Rule.DEAD, text, letter.subject.rpartition(".")[2])
