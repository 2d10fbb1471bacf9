"""Removes everything of one root subject from a server."""

import msgspec

from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.settings import Access


class _Names(msgspec.Struct):
    streams: list[str] | None = None


async def sweep(url: str, subjects: Subjects, access: Access) -> None:
    """Delete all streams and buckets under the root of `subjects`; raises `VagusError`."""
    own = subjects.named("")
    async with connect(url, name="vagus-demo", access=access) as bus:
        for name in await _streams(bus):
            if name.removeprefix("KV_").removeprefix("OBJ_").startswith(own):
                await bus.api(f"STREAM.DELETE.{name}")


async def _streams(bus: Bus) -> list[str]:
    names: list[str] = []
    while True:
        answer = await bus.api("STREAM.NAMES", {"offset": len(names)})
        page = msgspec.convert(answer, _Names).streams
        if not page:
            return names
        names += page
