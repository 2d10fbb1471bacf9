"""What the refusals of a cluster mean: whether asking again can help, and whether it may have happened."""

import msgspec
import pytest

from vagus.contract.errors import Conflict, OutcomeUnknown, Unavailable, VagusError
from vagus.runtime.answers import read_ack, read_answer


def refusal(code: int, err_code: int) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "err_code": err_code, "description": "why"}})


@pytest.mark.parametrize(
    ("code", "err_code", "error"),
    [
        (400, 10071, Conflict),
        (400, 10164, Conflict),
        (409, 10158, OutcomeUnknown),
        (400, 10005, Unavailable),
        (503, 10008, Unavailable),
        (500, 10009, Unavailable),
        (500, 10118, Unavailable),
        (500, 10119, Unavailable),
    ],
)
def test_a_cluster_says_no(code: int, err_code: int, error: type[VagusError]) -> None:
    with pytest.raises(error):
        read_ack("subject", refusal(code, err_code))
    with pytest.raises(error):
        read_answer(refusal(code, err_code))
