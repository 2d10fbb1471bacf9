"""Removes everything of one root subject from a server."""

from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.settings import Access
from vagus.runtime.transfer import names


async def sweep(url: str, subjects: Subjects, access: Access) -> None:
    """Delete all streams and buckets under the root of `subjects`; raises `VagusError`."""
    async with connect(url, name="vagus-demo", access=access) as bus:
        for name in await names(bus, subjects):
            await bus.api(f"STREAM.DELETE.{name}")
