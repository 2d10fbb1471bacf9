"""Hypothesis strategies made from the contract's own types."""

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from vagus.contract.events import BY_TYPE, Actor, EventKind, EventRecord, Kind, Unknown

JSON: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def of(shape: inspect.Type) -> st.SearchStrategy[object]:
    """Values of a type as msgspec sees it."""
    match shape:
        case inspect.StructType():
            return st.builds(shape.cls, **fields(shape.cls))
        case inspect.UnionType():
            return st.one_of([of(member) for member in shape.types])
        case inspect.EnumType():
            return st.sampled_from(list(shape.cls))
        case inspect.IntType():
            return st.integers(shape.ge if shape.ge is not None else -(2**63), shape.le or 2**63 - 1)
        case inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False, width=32)
        case inspect.VarTupleType():
            return st.lists(of(shape.item_type), max_size=3).map(tuple)
        case inspect.ListType():
            return st.lists(of(shape.item_type), max_size=3)
        case inspect.DictType():
            return st.dictionaries(st.text(), JSON, max_size=3)
        case inspect.StrType():
            return st.text()
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case _:
            return JSON


def fields(cls: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[object]]:
    """Values of a struct's fields."""
    shape = inspect.type_info(cls)
    assert isinstance(shape, inspect.StructType)
    return {field.name: of(field.type) for field in shape.fields}


KNOWN: st.SearchStrategy[Kind] = st.one_of([st.builds(cls, **fields(cls)) for cls in BY_TYPE.values()])
"""Every known kind."""

UNKNOWN: st.SearchStrategy[EventKind] = st.builds(
    lambda name, members: Unknown(msgspec.json.encode({**members, "type": f"Future{name}"})),
    st.text(),
    st.dictionaries(st.text(), JSON, max_size=4),
)
"""Kinds of versions to come."""


def records(kinds: st.SearchStrategy[EventKind]) -> st.SearchStrategy[EventRecord]:
    """Records of such kinds."""
    optional = st.none() | st.text()
    return st.builds(
        EventRecord,
        event_id=st.text(),
        session_id=st.text(),
        agent_id=st.text(),
        branch_id=st.text(),
        sequence=st.integers(0, 2**64 - 1),
        timestamp=st.text(),
        actor=of(inspect.type_info(Actor)),
        causation_id=optional,
        correlation_id=optional,
        trace_id=optional,
        span_id=optional,
        digest=optional,
        kind=kinds,
    )
