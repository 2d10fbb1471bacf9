"""JetStream's answers, and the errors of ours that its refusals are."""

from typing import Final

import msgspec

from vagus.contract.errors import Busy, Conflict, OutcomeUnknown, Refused, Unavailable, VagusError

_LOST_RACE: Final = frozenset({10070, 10071, 10164})
"""Wrong last message id; wrong last sequence; the same on replicated streams."""
_NO_ROOM: Final = frozenset({10002, 10023, 10028, 10047})
"""Limits of the account or the server: resources, memory, storage."""
_NOT_NOW: Final = frozenset({10005, 10007, 10008, 10009, 10118, 10119})
"""Of a cluster: no peers to place a replica on, because some are away; not assigned, not available, not led;
a stream, a consumer is offline."""
_BEING_STORED: Final = 10158
"""The same message id was sent before and is on its way to the replicas; whether it arrives is open."""
_STORE_FAILED: Final = 10077
"""The stream is full, or the disk failed; the text tells which."""


class Stored(msgspec.Struct, frozen=True):
    """The server's word that a message is stored."""

    stream: str
    sequence: int
    duplicate: bool = False
    """The message id was stored before; `sequence` is where."""


class ApiError(Refused):
    """JetStream refused a request.

    Attributes:
        code: HTTP-like class, such as 404.
        err_code: JetStream's own number, such as 10059.
        description: The server's text.
    """

    def __init__(self, description: str, code: int = 0, err_code: int = 0) -> None:
        super().__init__(f"JetStream: {description} ({err_code})" if err_code else description)
        self.code = code
        self.err_code = err_code
        self.description = description


class _Fault(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Fault | None = None


class _ApiReply(msgspec.Struct):
    error: _Fault | None = None


_PUB_ACK: Final = msgspec.json.Decoder(_PubAck)
_API_REPLY: Final = msgspec.json.Decoder(_ApiReply)
_OBJECT: Final = msgspec.json.Decoder(dict[str, object])


def read_ack(subject: str, answer: bytes) -> Stored:
    """What became of a message that was to be stored; raises as `Bus.store`."""
    try:
        ack = _PUB_ACK.decode(answer)
    except msgspec.MsgspecError as error:
        raise OutcomeUnknown(f"{subject} is answered by something that is no stream") from error
    if ack.error is not None:
        raise _typed(ack.error)
    return Stored(ack.stream, ack.seq, ack.duplicate)


def read_answer(answer: bytes) -> dict[str, object]:
    """The JetStream API's answer to a request; raises as `Bus.api`."""
    fault = _API_REPLY.decode(answer).error
    if fault is not None:
        raise _typed(fault)
    return _OBJECT.decode(answer)


def _typed(fault: _Fault) -> VagusError:
    """The error of ours that a refusal by JetStream is."""
    text = f"{fault.description} ({fault.err_code})"
    if fault.err_code in _LOST_RACE:
        return Conflict(f"another writer was first: {text}")
    if fault.code == 429 or fault.err_code in _NO_ROOM:
        return Busy(f"there is no room: {text}")
    if fault.err_code == _STORE_FAILED:
        full = fault.description.startswith("maximum")
        return Busy(f"the stream is full: {text}") if full else Unavailable(f"storage failed: {text}")
    if fault.err_code == _BEING_STORED:
        return OutcomeUnknown(f"it was sent before and may yet be stored: {text}")
    if fault.code == 503 or fault.err_code in _NOT_NOW:
        return Unavailable(f"JetStream is not ready: {text}")
    return ApiError(fault.description, fault.code, fault.err_code)
