"""Stands in for the writer of a session's files."""

from anyio.lowlevel import checkpoint

from vagus_kernel.filewriter import FileWork


class FakeFiles:
    """Files that nobody reads."""

    async def submit(self, work: list[FileWork]) -> None:
        list(work)
        await checkpoint()

    async def written(self) -> None:
        await checkpoint()

    flushed = written
