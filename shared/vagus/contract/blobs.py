"""Large values, by what stands in their place."""

import msgspec


class BlobRef(msgspec.Struct, frozen=True, kw_only=True, rename={"blob": "$blob"}):
    """What stands in a message in the blob's place: `{"$blob":"blake3:<hex>","size":n,"media_type":"…"}`."""

    blob: str
    size: int
    media_type: str
