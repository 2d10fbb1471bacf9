"""A report that a tool runner hands over straight, and keeps until it is told that the log has it."""

import msgspec

from vagus.contract.messages import Receipt, Report, decode
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, Message


class Handover:
    """One report that is the runner's until it is taken, and that of the inbox if it is refused.

    Answering is sent at most once and not confirmed: when it is lost, the report comes by the inbox as well.
    """

    def __init__(self, bus: Bus, message: Message) -> None:
        self._bus = bus
        self._data = message.data
        self._reply = message.reply
        self._answered = False

    def report(self) -> Report:
        """What it says; raises `Malformed`."""
        return decode(self._data, Report)

    def take(self) -> None:
        """What follows from it is on the log, or nothing does."""
        self._answer(taken=True)

    def refuse(self) -> None:
        """It is not handled here; nothing if it has been."""
        self._answer(taken=False)

    def _answer(self, *, taken: bool) -> None:
        # Nobody gets the kernel to speak elsewhere than in an inbox in its own name.
        if not self._answered and Subjects.is_inbox(self._reply):
            self._answered = True
            self._bus.send(self._reply, msgspec.json.encode(Receipt(taken=taken)))
