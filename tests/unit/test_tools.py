import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import jsonschema
import msgspec
import pytest

from tests.kit.waiting import eventually
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.tools import ToolDefinition
from vagus.tools import Tool, ToolContext, tool

HERE = ToolContext(workspace=Path())


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Tree(msgspec.Struct):
    children: "list[Tree]" = []


@tool
async def add(left: int, right: int = 2) -> int:
    """Add two numbers.

    Nothing more.

    Args:
        left: The first number,
            said in two lines.
        right (int): The second.

    Returns:
        left: not a parameter's description.
    """
    return left + right


@tool(name="geo.move", read_only=True, idempotent=True, timeout_secs=7, pool="geo", tags=("a",), title="Move")
def move(context: ToolContext, point: Point, names: list[str] = ["a"]) -> Point:  # noqa: B006
    return Point(point.x + 1, len(names))


def test_the_schema_comes_from_annotations_defaults_and_docstring() -> None:
    assert add.definition.name == "add"
    assert add.definition.description == "Add two numbers.\n\nNothing more."
    assert add.definition.input_schema == {
        "type": "object",
        "properties": {
            "left": {"type": "integer", "description": "The first number, said in two lines."},
            "right": {"type": "integer", "description": "The second.", "default": 2},
        },
        "required": ["left"],
        "additionalProperties": False,
    }
    assert add.definition.output_schema == {"type": "integer"}


def test_a_context_is_no_part_of_the_input_and_structs_are_definitions() -> None:
    schema = move.definition.input_schema
    assert schema["required"] == ["point"]
    assert set(schema["properties"]) == {"point", "names"}  # type: ignore[call-overload]
    assert set(schema["$defs"]) == {"Point"}  # type: ignore[call-overload]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"point": {"x": 1}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"point": {"x": "1"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"point": {"x": 1}, "other": 2}, schema)


def test_a_type_that_contains_itself_keeps_its_name_in_the_schema() -> None:
    @tool
    def count(tree: Tree) -> Tree:
        return tree

    jsonschema.validate({"tree": {"children": [{"children": []}]}}, count.definition.input_schema)
    assert count.definition.output_schema is not None
    jsonschema.Draft202012Validator.check_schema(count.definition.output_schema)


def test_an_annotation_s_own_description_wins_over_the_docstring() -> None:
    @tool
    def look(at: Annotated[str, msgspec.Meta(description="own", max_length=3)], plain: int) -> None:
        """Look.

        Args:
            at: From the docstring.
            plain: A number.
        """

    properties: Any = look.definition.input_schema["properties"]
    assert properties["at"] == {"type": "string", "maxLength": 3, "description": "own"}
    assert properties["plain"] == {"type": "integer", "description": "A number."}


def test_a_definition_is_what_its_json_is() -> None:
    @tool
    def pick(names: tuple[str, ...] = ("a",), sizes: list[float] = []) -> tuple[int, ...]:  # noqa: B006
        return ()

    assert msgspec.json.decode(msgspec.json.encode(pick.definition), type=ToolDefinition) == pick.definition


async def test_object_stands_for_any_json_value() -> None:
    @tool
    async def same(value: object, more: dict[str, object] = {}) -> object:  # noqa: B006
        return [value, more]

    schema = same.definition.input_schema
    values: list[object] = [None, False, 1.5, "x", [1], {"a": [{}]}]
    for value in values:
        jsonschema.validate({"value": value, "more": {"x": value}}, schema)
    assert await same.invoke({"value": [1], "more": {"x": None}}, HERE) == [[1], {"x": None}]


def test_settings_of_the_decorator_become_the_definition() -> None:
    definition = move.definition
    assert (definition.name, definition.pool, definition.timeout_secs) == ("geo.move", "geo", 7)
    assert definition.annotations.read_only
    assert definition.annotations.repeatable
    assert (definition.tags, definition.title) == (("a",), "Move")


def test_a_tool_is_still_its_function() -> None:
    assert move(HERE, Point(1), ["a", "b"]) == Point(2, 2)
    assert repr(move) == "<tool geo.move>"
    assert move.__wrapped__.__name__ == "move"


async def test_an_asynchronous_tool_runs_on_the_input_of_a_call() -> None:
    assert await add.invoke({"left": 1}, HERE) == 3
    assert await add(1, 1) == 2


async def test_a_synchronous_tool_runs_in_a_thread_of_its_own() -> None:
    @tool
    def where() -> str:
        return threading.current_thread().name

    assert await where.invoke({}, HERE) == "tool where"


async def test_a_mutable_default_is_not_shared_between_calls() -> None:
    @tool
    async def gather(into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(1)
        return into

    assert await gather.invoke({}, HERE) == [1]
    assert await gather.invoke({}, HERE) == [1]


@pytest.mark.parametrize("given", [{}, {"left": "1"}, {"left": 1, "other": 2}, None, [], "x", {"left": 1.5}])
async def test_an_input_that_does_not_fit_is_a_harness_error(given: object) -> None:
    with pytest.raises(HarnessError, match="invalid input: "):
        await add.invoke(given, HERE)


@pytest.mark.parametrize("error", [ToolFailure("no", 7), HarnessError("cannot"), ValueError("bad")])
async def test_errors_come_through_a_thread_as_they_are(error: Exception) -> None:
    @tool
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await fail.invoke({}, HERE)
    assert raised.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration("x")])
async def test_what_would_end_the_event_loop_becomes_a_failure(error: BaseException) -> None:
    @tool
    def leave() -> None:
        raise error

    with pytest.raises(ToolFailure, match=type(error).__name__):
        await leave.invoke({}, HERE)


async def test_a_thread_that_is_given_up_is_told_and_can_be_waited_for() -> None:
    context = ToolContext(workspace=Path())
    seen = threading.Event()

    @tool
    def linger(context: ToolContext) -> None:
        while not context.cancelled:
            time.sleep(0.001)
        seen.wait(5)

    with anyio.move_on_after(0.05) as scope:
        await linger.invoke({}, context)
    assert scope.cancelled_caught
    assert context.thread is not None
    assert not context.thread.done()
    seen.set()
    await eventually(lambda: context.thread is not None and context.thread.done())


async def test_the_context_tells_of_the_call_and_takes_progress_and_changes() -> None:
    told: list[object] = []
    context = ToolContext(workspace=Path("w"), session_id="s", tool_run_id="r", emit=told.append)

    @tool
    def work(context: ToolContext) -> str:
        context.emit({"done": 1})
        context.mutated("a")
        context.mutated("b")
        context.mutated("a")
        return f"{context.session_id} {context.branch_id} {context.tool_run_id}"

    assert await work.invoke({}, context) == "s main r"
    assert told == [{"done": 1}]
    assert context.changed == ("a", "b")
    HERE.emit("nobody looks")


@tool(mutates=("path", "others"))
async def touch(path: str | None = None, others: list[str] = []) -> None:  # noqa: B006
    pass


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"path": "a"}, ("a",)),
        ({"path": "/a", "others": ["b", "c"]}, ("/a", "b", "c")),
        ({"path": None, "others": [1, {}]}, ()),
        ({}, ()),
        (None, ()),
        ([], ()),
    ],
)
def test_the_declared_paths_are_read_from_the_input(given: object, paths: tuple[str, ...]) -> None:
    assert touch.paths(given) == paths


def _no_annotation(x) -> None: ...  # type: ignore[no-untyped-def]
def _variadic(*x: int) -> None: ...
def _keywords(**x: int) -> None: ...
def _positional(x: int, /) -> None: ...
def _late_context(x: int, context: ToolContext) -> None: ...
def _no_json(x: threading.Event) -> None: ...
def _unresolvable(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "function",
    [_no_annotation, _variadic, _keywords, _positional, _late_context, _no_json, _unresolvable],
)
def test_a_function_that_cannot_be_a_tool_is_refused_where_it_is_decorated(function: Any) -> None:
    with pytest.raises(TypeError, match=f"{function.__name__} cannot be a tool: "):
        tool(function)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a..b"},
        {"name": "x" * 129},
        {"pool": "a.b"},
        {"timeout_secs": 0},
        {"timeout_secs": 86_401},
        {"mutates": ("nothing",)},
        {"capabilities": ("fs:read:{nothing}",)},
    ],
)
def test_settings_that_are_not_valid_are_refused_where_they_are_written(settings: Any) -> None:
    def fine(path: str) -> None: ...

    with pytest.raises(ValueError, match=r"nothing|not valid"):
        tool(**settings)(fine)


def test_what_says_nothing_of_the_output_gives_no_output_schema() -> None:
    @dataclass
    class Local:
        x: int

    def nothing() -> None: ...
    def anything() -> object:
        return 1

    def unknown() -> threading.Event:
        return threading.Event()

    def local() -> Local:
        return Local(1)

    assert [tool(f).definition.output_schema for f in (nothing, anything, unknown)] == [None] * 3
    assert tool(local).definition.output_schema is not None


def test_decorated_functions_keep_their_types() -> None:
    made: Tool[..., Any] = add
    assert isinstance(made, Tool)


def test_the_decorator_is_public_whatever_was_imported_before() -> None:
    import vagus
    import vagus.tools

    assert vagus.tool is tool
