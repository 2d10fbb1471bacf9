"""Instants as text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagus.contract.errors import Malformed
from vagus.runtime import clock


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500Z"),
        (1_000_001_000, "1970-01-01T00:00:01.000001Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999999999Z"),
    ],
)
def test_an_instant_is_written_with_the_fewest_digits_that_lose_nothing(ns: int, text: str) -> None:
    assert clock.format_ns(ns) == text
    assert clock.parse(text) == ns


@given(st.integers(min_value=0, max_value=4_000_000_000 * 10**9))
def test_every_instant_reads_back(ns: int) -> None:
    assert clock.parse(clock.format_ns(ns)) == ns


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31T10:30:00-01:30", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00:00.1234567899Z", "2026-01-31T12:00:00.123456789Z"),
    ],
)
def test_other_spellings_of_an_instant_are_read(text: str, same: str) -> None:
    assert clock.parse(text) == clock.parse(same)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-31", "2026-02-30T00:00:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00Z\n"]
)
def test_what_is_no_instant_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="not an RFC 3339 time"):
        clock.parse(text)


def test_now_is_now_and_plus_is_later() -> None:
    before = time.time_ns()
    now, later = clock.parse(clock.now()), clock.parse(clock.plus(60))
    after = time.time_ns()
    assert before <= now <= after
    assert before + 60 * 10**9 <= later <= after + 60 * 10**9
    assert before // 10**6 <= clock.now_ms() <= time.time_ns() // 10**6
