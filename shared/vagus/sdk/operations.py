"""What operators do: see which processes live, and have them end in good order."""

import msgspec

from vagus.contract.status import Member
from vagus.contract.streams import MEMBERS
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.drain import drain, process_of


class Operations:
    """Of one installation."""

    def __init__(self, *, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._members = Bucket(bus, subjects.named(MEMBERS))
        self._subjects = subjects

    async def members(self) -> list[Member]:
        """All processes that live, by kind and name."""
        now_ns = clock.now_ns()
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in await self._members.entries():
            found.setdefault(process_of(entry.key), []).append(entry)
        made = [_member(kind, instance, found[kind, instance], now_ns) for kind, instance in found]
        return sorted(made, key=lambda member: (_KINDS.get(member.kind, len(_KINDS)), member.name))

    async def drain(self, process: str, timeout_s: float) -> None:
        """As `Client.drain`."""
        await drain(self._bus, self._subjects, process, timeout_s=timeout_s)


_KINDS = {kind: place for place, kind in enumerate(("kernel", "policygate", "runner", "approver"))}
"""In the order in which a call meets them."""


class _Lease(msgspec.Struct):
    since_ns: int | None = None


def _member(kind: str, instance: str, leases: list[Entry], now_ns: int) -> Member:
    try:
        since_ns = msgspec.json.decode(leases[0].value, type=_Lease).since_ns
    except msgspec.MsgspecError:
        since_ns = None
    return Member(
        name=f"{kind}.{instance}",
        kind=kind,
        instance=instance,
        since="" if since_ns is None else clock.format_ns(since_ns),
        alive_s=None if since_ns is None else round(max(0, now_ns - since_ns) / 1e9, 3),
        pools=tuple(sorted(lease.key.split(".")[1] for lease in leases)) if kind == "runner" else (),
    )
