"""Key-value buckets: what their keys stand for now."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import msgspec

from chaos.checker.log import CannotCheck, Source
from chaos.checker.names import Names

_T = TypeVar("_T")


async def entries(
    source: Source, names: Names, bucket: str, shape: type[_T]
) -> AsyncGenerator[tuple[str, _T], None]:
    """Keys and values; raises `CannotCheck` where a value is none of this shape."""
    async with aclosing(source.messages(names.bucket(bucket), latest=True)) as found:
        async for entry in found:
            if "KV-Operation" in entry.headers:  # it was deleted
                continue
            key = names.key(bucket, entry.subject)
            try:
                value = msgspec.json.decode(entry.data, type=shape)
            except msgspec.MsgspecError as error:
                raise CannotCheck(f"cannot read {key}: {error}") from error
            yield key, value
