import msgspec
import pytest

from vagus.contract import limits
from vagus.contract.errors import ToolFailure
from vagus_toolrunner.output import DEPTH, ERROR_CHARS, Head, encoded, shortened


def nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_head_keeps_the_first_bytes_and_counts_the_rest() -> None:
    head = Head(5)
    assert [head.add(piece) for piece in (b"abc", b"", b"defg", b"hi")] == [b"abc", b"", b"de", b""]
    assert (head.text(), head.total, head.cut) == ("abcde", 9, True)
    assert not Head(5).cut


def test_a_value_is_encoded_once_and_measured() -> None:
    assert encoded({"a": [1, None, "ä"]}) == '{"a":[1,null,"ä"]}'.encode()
    assert len(encoded("x" * (limits.OUTPUT_BYTES - 2))) == limits.OUTPUT_BYTES
    with pytest.raises(ToolFailure, match=rf"^output too large: {limits.OUTPUT_BYTES + 1} bytes"):
        encoded("x" * (limits.OUTPUT_BYTES - 1))


class Point(msgspec.Struct):
    x: int


def test_what_msgspec_writes_as_json_is_a_value() -> None:
    assert encoded(Point(1)) == b'{"x":1}'
    assert encoded({1: (1, 2)}) == b'{"1":[1,2]}'


@pytest.mark.parametrize("value", [object(), "\ud800", {(1, 2): 3}, nested(5000), {"x": print}])
def test_what_is_no_json_value_is_a_failure(value: object) -> None:
    with pytest.raises(ToolFailure, match=r"not JSON|too deep"):
        encoded(value)


def test_nesting_is_bounded() -> None:
    assert encoded(nested(DEPTH))
    assert encoded(["[" * 1000])
    assert encoded([[]] * 1000)
    with pytest.raises(ToolFailure, match="too deep"):
        encoded(nested(DEPTH + 1))


def test_an_error_s_text_is_bounded_and_writable() -> None:
    assert shortened("plain ä") == "plain ä"
    assert shortened("a\ud800b") == "a?b"
    long = shortened("x" * (ERROR_CHARS + 1))
    assert long.startswith("x" * ERROR_CHARS + "… (")
    assert len(long) < ERROR_CHARS + 50
