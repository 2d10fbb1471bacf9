"""`@vagus.tool`: a typed function becomes a tool that models can call and runners can run.

    @vagus.tool(read_only=True, capabilities=("net:egress:{host}",))
    async def ping(context: vagus.ToolContext, host: str, count: int = 3) -> list[float]:
        \"\"\"Measure round trips to a host, in milliseconds.\"\"\"

The function may return any JSON value, and what else msgspec writes as JSON: structs, dataclasses, dates.
It raises `ToolFailure` when it did not succeed and `HarnessError` when it could not even begin; any other
exception is a failure with exit status 1. Nothing here needs a server: called, a tool is its function.

(The module is not named `tool`: importing it would put it in the place of the decorator in `vagus`.)
"""

import asyncio
import contextvars
import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final, Generic, ParamSpec, TypeVar, cast, overload

import msgspec

from vagus import signature
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.ids import MAIN
from vagus.contract.json import Json
from vagus.contract.tools import DEFAULT_POOL, ToolAnnotations, ToolDefinition

P = ParamSpec("P")
R = TypeVar("R")

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class ToolContext:
    """What a running tool knows of its call and may do. Usable from the tool's own thread."""

    def __init__(
        self,
        *,
        workspace: Path,
        session_id: str = "",
        branch_id: str = MAIN,
        tool_run_id: str = "",
        emit: Callable[[Json], None] | None = None,
    ) -> None:
        self.workspace = workspace
        """The session's folder. A path from the input may lead out of it: check before opening."""
        self.session_id = session_id
        self.branch_id = branch_id
        self.tool_run_id = tool_run_id
        self.thread: Future[Json] | None = None
        """Of a synchronous tool: done when its thread has ended, which may be after the call was given up."""
        self._emit = emit
        self._cancelled = threading.Event()
        self._changed: dict[str, None] = {}

    @property
    def cancelled(self) -> bool:
        """Whether the call was given up. An asynchronous tool is cancelled; a synchronous one should look."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Tell the tool that nobody waits any more. Idempotent."""
        self._cancelled.set()

    def emit(self, progress: Json) -> None:
        """Show progress to whoever watches now. Best effort: it is neither stored nor waited for."""
        if self._emit is not None:
            self._emit(progress)

    def mutated(self, path: str) -> None:
        """Declare that the file at `path` in the workspace was changed or deleted."""
        self._changed[path] = None

    @property
    def changed(self) -> tuple[str, ...]:
        """What `mutated` was told, in order, each once."""
        return tuple(self._changed)


class Tool(Generic[P, R]):
    """A function, with what must be known to offer and to run it. Made by `tool`."""

    def __init__(
        self, function: Callable[P, R], definition: ToolDefinition, mutates: Sequence[str] = ()
    ) -> None:
        self._function = function
        self._signature = signature.read(function, context=ToolContext)
        self._asynchronous = inspect.iscoroutinefunction(function)
        self.mutates = tuple(mutates)
        """Parameters that hold the paths of files it changes."""
        self.definition = self._complete(definition)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.definition.name}>"

    async def invoke(self, arguments: Json, context: ToolContext) -> Json:
        """Run it on the input of a call.

        A synchronous function runs in a thread of its own. When the wait for it is cancelled, the thread is
        told through `context.cancelled` and otherwise left alone; `context.thread` says when it has ended.

        Raises:
            HarnessError: The input does not fit; nothing has run.
            Exception: Whatever the function raises.
        """
        try:
            given = msgspec.convert(arguments, self._signature.arguments)
        except msgspec.ValidationError as error:
            raise HarnessError(f"invalid input: {error}") from error
        first = (context,) if self._signature.takes_context else ()
        call = partial(cast("Callable[..., object]", self._function), *first, **msgspec.structs.asdict(given))
        if self._asynchronous:
            return await cast("Awaitable[Json]", call())
        context.thread = _in_thread(self.definition.name, call)
        try:
            return await asyncio.wrap_future(context.thread)
        except asyncio.CancelledError:
            context.cancel()
            raise

    def paths(self, arguments: Json) -> tuple[str, ...]:
        """The paths that the fields of `mutates` name in the input of a call."""
        if not isinstance(arguments, Mapping):
            return ()
        values = [cast("Mapping[str, Json]", arguments).get(name) for name in self.mutates]
        named = [item for value in values for item in (value if isinstance(value, list) else (value,))]
        return tuple(item for item in named if isinstance(item, str))

    def _complete(self, definition: ToolDefinition) -> ToolDefinition:
        """The definition with what the signature says, as those who read it from JSON will have it."""
        self._known("mutates", self.mutates)
        for template in definition.capabilities:
            self._known("capabilities", _PLACEHOLDER.findall(template))
        full = msgspec.structs.replace(
            definition,
            description=definition.description or self._signature.description,
            input_schema=self._signature.input_schema,
            output_schema=self._signature.output_schema,
        )
        try:
            return msgspec.json.decode(msgspec.json.encode(full), type=ToolDefinition)
        except msgspec.ValidationError as error:
            raise ValueError(f"the tool {definition.name!r} is not valid: {error}") from error

    def _known(self, what: str, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._signature.names:
                raise ValueError(
                    f"{self._function.__qualname__}: {what} names {name!r}, which is no parameter"
                )


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    capabilities: Sequence[str] = (),
    category: str | None = None,
    description: str = "",
    destructive: bool = False,
    idempotent: bool = False,
    mutates: Sequence[str] = (),
    name: str | None = None,
    open_world: bool = False,
    pool: str = DEFAULT_POOL,
    rate: str | None = None,
    read_only: bool = False,
    requires_confirmation: bool = False,
    retries: int = 0,
    retry_failures: bool = False,
    tags: Sequence[str] = (),
    timeout_secs: int = 30,
    title: str | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    capabilities: Sequence[str] = (),
    category: str | None = None,
    description: str = "",
    destructive: bool = False,
    idempotent: bool = False,
    mutates: Sequence[str] = (),
    name: str | None = None,
    open_world: bool = False,
    pool: str = DEFAULT_POOL,
    rate: str | None = None,
    read_only: bool = False,
    requires_confirmation: bool = False,
    retries: int = 0,
    retry_failures: bool = False,
    tags: Sequence[str] = (),
    timeout_secs: int = 30,
    title: str | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a typed function, synchronous or not: `@tool` or `@tool(…)`.

    The input's schema comes from the parameters: their annotations and defaults, and the docstring's `Args:`.
    A first parameter annotated `ToolContext` is given the call's context and is no part of the input.

    Args:
        function: What is decorated.
        capabilities: What a call needs, as templates: `{parameter}` stands for its value, `{path}` for a path
            in the workspace, normalised (`fs:write:{path}`).
        category: A free word for the log.
        description: For the model; by default the docstring up to its first section.
        destructive: It may destroy what cannot be had back.
        idempotent: Once more with the same input changes nothing more; it is repeated after a crash.
        mutates: Parameters that hold paths of files in the workspace that a success has changed.
        name: By default the function's.
        open_world: It talks to what is outside of the workspace.
        pool: The runners that may run it.
        rate: How often each runner process may begin it: `10/s`, `100/min`, `5/h`. Calls beyond wait.
        read_only: It changes nothing; it is repeated after a crash and runs without a claim.
        requires_confirmation: A hint to people's user interfaces.
        retries: How often the runner tries again after an exception, later and later, while the call has
            time; only of a tool that is read-only or idempotent.
        retry_failures: Also after a `ToolFailure`.
        tags: Free words.
        timeout_secs: Of one run, 1 to 86 400.
        title: A name for people.

    Raises:
        TypeError: The function cannot be a tool: it has an unannotated or variadic parameter, say.
        ValueError: Name, pool, timeout, rate or retries are not valid, or something names a parameter that
            is none.
    """

    def decorate(decorated: Callable[P, R]) -> Tool[P, R]:
        annotations = ToolAnnotations(
            destructive=destructive,
            idempotent=idempotent,
            open_world=open_world,
            read_only=read_only,
            requires_confirmation=requires_confirmation,
        )
        if (retries or retry_failures) and not annotations.repeatable:
            raise ValueError(f"{decorated.__qualname__}: retries need idempotent=True or read_only=True")
        definition = ToolDefinition(
            annotations=annotations,
            capabilities=tuple(capabilities),
            category=category,
            description=description,
            name=name if name is not None else decorated.__name__,
            pool=pool,
            rate=rate,
            retries=retries,
            retry_failures=retry_failures,
            tags=tuple(tags),
            timeout_secs=timeout_secs,
            title=title,
        )
        return Tool(decorated, definition, mutates)

    return decorate if function is None else decorate(function)


def _in_thread(name: str, call: Callable[[], Json]) -> Future[Json]:
    """Run `call` in a daemon thread: one that never returns must not keep the process from ending."""
    result: Future[Json] = Future()
    result.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            value = context.run(call)
        except (StopIteration, SystemExit, KeyboardInterrupt) as error:
            # The first cannot travel through a future; the others would end the event loop that awaits it.
            result.set_exception(ToolFailure(f"{type(error).__name__}: {error}"))
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=body, name=f"tool {name}", daemon=True).start()
    return result
