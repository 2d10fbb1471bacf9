import pytest

from vagus.runtime.origin import Origin

WANTED = Origin(
    "S", "c", deliveries=2, stream_sequence=30, consumer_sequence=4, stored_ns=1700000000, pending=5
)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.S.c.2.30.4.1700000000.5",
        "$JS.ACK.hub.ACCOUNT.S.c.2.30.4.1700000000.5",
        "$JS.ACK.hub.ACCOUNT.S.c.2.30.4.1700000000.5.random",
    ],
)
def test_a_delivery_is_read_in_every_form(reply: str) -> None:
    assert Origin.of(reply) == WANTED


@pytest.mark.parametrize("reply", ["", "_INBOX.x.1", "$JS.FC.S.c.1"])
def test_what_is_no_delivery_is_none(reply: str) -> None:
    assert Origin.of(reply) is None
