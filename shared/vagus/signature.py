"""What a function's signature and docstring say of a tool: its input as a struct and as JSON Schema."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, get_origin, get_type_hints

import msgspec

from vagus.contract.json import Json

_UNSAID: Final = frozenset({Any, object, None, type(None)})
"""Return annotations that promise nothing about the output."""
_SECTION: Final = re.compile(r"^(?=[A-Z]\w+:$)", re.MULTILINE)
_ARGUMENT: Final = re.compile(r"^ {2,4}(\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A function, as a tool sees it."""

    arguments: type[msgspec.Struct]
    """One field for each parameter but the context; it refuses fields that are none."""
    description: str
    """The docstring up to its first section."""
    input_schema: dict[str, Json]
    output_schema: dict[str, Json] | None
    """None: the return annotation says nothing that JSON Schema has a word for."""
    takes_context: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are input."""
        return self.arguments.__struct_fields__


def read(function: Callable[..., object], *, context: type) -> Signature:
    """Read a function whose first parameter may be annotated with the type `context`.

    Raises:
        TypeError: A parameter without annotation, one that cannot be given by name, or a type with no JSON.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())
        takes_context = bool(parameters) and hints.get(parameters[0].name) is context
        inputs = parameters[1:] if takes_context else parameters
        for parameter in inputs:
            _check(parameter, hints, context)
        description, told = _described(inspect.getdoc(function) or "")
        fields = [_field(parameter, hints[parameter.name], told) for parameter in inputs]
        arguments = msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)
        input_schema = _schema(arguments)
    except (NameError, TypeError) as error:
        why = " ".join(str(error).split())
        raise TypeError(f"{function.__qualname__} cannot be a tool: {why}") from error
    return Signature(
        arguments=arguments,
        description=description,
        input_schema=input_schema,
        output_schema=_output_schema(hints.get("return")),
        takes_context=takes_context,
    )


def _check(parameter: inspect.Parameter, hints: dict[str, Any], context: type) -> None:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise TypeError(f"the parameter {parameter} cannot be given by name")
    if parameter.name not in hints:
        raise TypeError(f"the parameter {parameter.name} has no annotation")
    if hints[parameter.name] is context:
        raise TypeError(f"the {context.__name__} must be the first parameter")


def _field(parameter: inspect.Parameter, hint: Any, told: dict[str, str]) -> tuple[str, Any, Any]:
    if parameter.name in told:
        own: Sequence[object] = hint.__metadata__ if get_origin(hint) is Annotated else ()
        plain = hint.__origin__ if own else hint
        hint = Annotated[(plain, msgspec.Meta(description=told[parameter.name]), *own)]  # its own words win
    default = msgspec.NODEFAULT if parameter.default is parameter.empty else parameter.default
    if isinstance(default, list | dict | set):
        default = msgspec.field(default_factory=default.copy)
    return parameter.name, hint, default


def _schema(shape: object) -> dict[str, Json]:
    """The JSON Schema of `shape`; an object's members stand at the top, as model providers want them."""
    (top,), parts = msgspec.json.schema_components(
        [shape], schema_hook=_custom_schema, ref_template="#/$defs/{name}"
    )
    name = str(top.get("$ref", "")).removeprefix("#/$defs/")
    if name and f"'#/$defs/{name}'" not in str(parts):  # else it names itself and must stay named
        top = parts.pop(name)
        top.pop("title", None)
    return {**top, "$defs": parts} if parts else top


def _custom_schema(shape: type) -> dict[str, Json]:
    if shape is object:
        return {"type": ["null", "boolean", "number", "string", "array", "object"]}
    raise NotImplementedError


def _output_schema(hint: object) -> dict[str, Json] | None:
    try:
        return None if hint in _UNSAID else _schema(hint)
    except TypeError:
        return None


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and what `Args:` says of each parameter."""
    text, *sections = _SECTION.split(docstring)
    told = {
        name: " ".join(words.split())
        for section in sections
        if section.startswith("Args:")
        for name, words in _ARGUMENT.findall(section)
    }
    return text.strip(), told
