"""What all event kinds have in common, and the kind of those that this version cannot read."""

from typing import Annotated, Final

import msgspec

from vagus.contract.numbers import shortest

U8 = Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, msgspec.Meta(ge=0)]
"""The decoder's bounds are signed, so that the upper one is not checked."""
I32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]

UNTYPED: Final = "Unknown"
"""The type of an event whose JSON has none."""


class Kind(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What happened. Each kind is a subclass named as on the wire; absent optional fields are not written.

    Free-form fields hold plain JSON values: structs and tuples there would read back as something else.
    """

    @property
    def type(self) -> str:
        """The name on the wire."""
        return self.__class__.__name__


class Unknown:
    """An event kind that this version cannot read, kept as it was written.

    Either its type is not known here, or its fields are not those of its type. It is never disguised as
    another kind, and it is written back byte for byte.
    """

    __slots__ = ("raw",)

    raw: bytes
    """The JSON text on one line."""

    def __init__(self, raw: bytes) -> None:
        # JSON strings hold no bare newline, so any that is here is only white space.
        self.raw = raw.replace(b"\n", b" ")

    @property
    def type(self) -> str:
        """The name on the wire, `Unknown` if there is none."""
        try:
            return msgspec.json.decode(self.raw, type=_Typed).type
        except msgspec.MsgspecError:
            return UNTYPED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Unknown({self.raw!r})"


class _Typed(msgspec.Struct, frozen=True):
    type: str


def hold_single(kind: Kind, field: str) -> None:
    """Bring a field of single precision to its shortest decimal, as the original would print it again."""
    value: float | None = getattr(kind, field)
    if value is not None:
        msgspec.structs.force_setattr(kind, field, shortest(value))
