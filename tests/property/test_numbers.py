import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from vagus.contract.numbers import add, multiply, shortest, single

SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


def digits(value: float) -> str:
    return repr(value).partition("e")[0].replace(".", "").replace("-", "").strip("0")


@given(SINGLES)
def test_the_shortest_decimal_reads_back_as_the_same_single(value: float):
    assert struct.pack("<f", shortest(value)) == struct.pack("<f", value)
    assert len(digits(shortest(value))) <= 9


@given(SINGLES)
def test_no_decimal_with_fewer_digits_reads_back(value: float):
    length = len(digits(shortest(value)))
    assert all(single(float(f"{value:.{fewer}g}")) != value for fewer in range(1, length))


@given(DOUBLES)
def test_what_is_held_in_single_precision_stays_as_it_is(value: float):
    held = shortest(value)
    assert math.copysign(1, held) == math.copysign(1, value)
    assert shortest(held) == held
    assert single(held) == single(value)


@given(SINGLES, SINGLES)
def test_sums_and_products_are_rounded_once(left: float, right: float):
    assert single(add(left, right)) == single(left + right)
    assert single(multiply(left, right)) == single(left * right)
