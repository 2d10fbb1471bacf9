"""Compares two projected accounts of a trace, field by field."""

from collections.abc import Iterator
from itertools import zip_longest

from tests.parity.account import Account, Output, Told
from tests.parity.projection import canonical


def mismatches(expected: Account, told: Account) -> list[str]:
    """Every place where they differ; an empty list if they are equal."""
    return [*_logs(expected, told), *_outputs(expected, told)]


def _logs(expected: Account, told: Account) -> Iterator[str]:
    for session in expected.events | told.events:
        wanted, found = expected.events.get(session, {}), told.events.get(session, {})
        for branch in wanted | found:
            pairs = zip_longest(wanted.get(branch, []), found.get(branch, []))
            for sequence, (one, other) in enumerate(pairs, 1):
                if _shown(one) != _shown(other):
                    where = f"{session}/{branch} {sequence}"
                    yield f"{where}: expected {_shown(one)}, told {_shown(other)}"


def _shown(event: Told | None) -> str:
    if event is None:
        return "nothing"
    step = f" in step {event.step}" if event.step >= 0 else ""
    return canonical(event.kind) + step


def _outputs(expected: Account, told: Account) -> Iterator[str]:
    for step, (one, other) in enumerate(zip_longest(expected.outputs, told.outputs)):
        if one is None or other is None:
            yield f"output {step}: one of them has none"
            continue
        for field in ("op", "ok", "model_requests", "tool_requests", "policy_decisions"):
            wanted, found = canonical(getattr(one, field)), canonical(getattr(other, field))
            if wanted != found:
                yield f"output {step} {field}: expected {wanted}, told {found}"
        if _error(one, one) != _error(other, one):
            yield f"output {step} error: expected {_error(one, one)}, told {_error(other, one)}"


def _error(output: Output, expected: Output) -> str | None:
    """By its type where the original has no words for it, else by its text."""
    return output.error_type if expected.error_type is not None else output.error
