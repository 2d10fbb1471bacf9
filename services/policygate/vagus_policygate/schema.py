"""Checks of a call's input against its tool's JSON Schema."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from vagus.contract.json import Json

_LONGEST: Final = 300
"""Characters of an explanation; a validator quotes the value that it refuses, however long."""
_NOWHERE: Final[Registry[bool | Mapping[str, Any]]] = Registry()
"""Resolves no reference out of the schema: the library's default would fetch it from the network."""


class InputCheck:
    """One tool's schema, made ready once and used for every call."""

    def __init__(self, schema: Mapping[str, Json]) -> None:
        self._broken: str | None = None
        try:
            Draft202012Validator.check_schema(schema)
        except (SchemaError, RecursionError) as error:
            self._broken = f"the tool's input schema is invalid: {_first_words(error)}"
        self._validator = Draft202012Validator(schema, registry=_NOWHERE)

    def fault(self, arguments: Json) -> str | None:
        """What is wrong with `arguments`, in one line; RecursionError if they are nested too deeply."""
        if self._broken is not None:
            return one_line(self._broken)
        try:
            error = next(self._validator.iter_errors(cast(Any, arguments)), None)
        except RecursionError:
            raise
        except (Unresolvable, re.error) as error:
            return one_line(f"the tool's input schema is invalid: {_first_words(error)}")
        except (
            Exception
        ) as error:  # a model wrote the input: what the library stumbles over is a no, not a crash
            return one_line(f"cannot be checked: {_first_words(error)}")
        return None if error is None else one_line(_where(error) + error.message)


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, cut where it gets long."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return cut if cut.isprintable() else "".join(c if c.isprintable() else " " for c in cut)


def _where(error: ValidationError) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return f"{path}: " if path else ""


def _first_words(error: BaseException) -> str:
    text = error.message if isinstance(error, SchemaError) else str(error)
    return text or type(error).__name__
