"""What every process does around its work: arguments, settings, logging, telemetry, connection, stop."""

import argparse
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol, TypeVar

import anyio

from vagus.contract.errors import SettingsError, VagusError
from vagus.runtime import faults, telemetry
from vagus.runtime.awaiting import streams_there, until_there
from vagus.runtime.bus import Bus, connect
from vagus.runtime.drain import heeding, process_of
from vagus.runtime.health import Health, listening
from vagus.runtime.lifecycle import Stop, stop_on_signals
from vagus.runtime.provision import ensure
from vagus.runtime.queuegauges import queues_shown
from vagus.runtime.scheduling import lengthen_slice
from vagus.runtime.settings import ProcessSettings, read_settings, shown, usage

_S_contra = TypeVar("_S_contra", bound=ProcessSettings, contravariant=True)
_S = TypeVar("_S", bound=ProcessSettings)

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
"""Wrong arguments or settings: starting again cannot help."""

GARBAGE_OBJECTS: Final = 10_000
"""New objects after which cycles among them are looked for; a tick makes some hundreds, and next to none."""

_TELL_OF_QUEUES: Final = ("kernel", "approver")
"""Two kinds, so that somebody still tells that inputs wait when no kernel lives."""

_log = logging.getLogger("vagus.process")


class Serve(Protocol[_S_contra]):
    """The work of a process: runs until `draining` is set and what it took is finished, or until cancelled.

    Calls `started` once, when it takes work. A `VagusError` ends the process with one line, anything else
    with a traceback.
    """

    async def __call__(
        self, bus: Bus, settings: _S_contra, draining: anyio.Event, *, started: Callable[[], None]
    ) -> None:
        """Serve."""


def run(kind: str, settings_cls: type[_S], serve: Serve[_S], argv: Sequence[str] | None = None) -> int:
    """Run a process of `kind` (such as `kernel`) to its end and return its exit code."""
    options = _parser(kind, settings_cls).parse_args(argv)
    if options.version:
        print(f"vagus {_version()}")  # noqa: T201 - what was asked for
        return DONE
    try:
        settings = read_settings(settings_cls, os.environ)
        if options.print_settings:
            print(shown(settings))  # noqa: T201 - what was asked for
            return DONE
        _log_to_stderr(settings.log_level.value)
        faults.arm(settings.fault)
        telemetry.set_up(f"vagus-{kind}", os.environ, instance=settings.instance)
        lengthen_slice()
    except SettingsError as error:
        return _say(kind, error, USAGE)
    try:
        return anyio.run(
            _main, kind, settings, serve, backend_options={"use_uvloop": sys.platform != "win32"}
        )
    except KeyboardInterrupt:  # before the signals were ours
        return FAILED
    finally:
        telemetry.shut_down()


async def _main(kind: str, settings: _S, serve: Serve[_S]) -> int:
    name = f"vagus-{kind}-{settings.instance}"
    try:
        async with stop_on_signals() as stop:
            await _work(kind, settings, serve, stop)
    except ExceptionGroup as group:
        expected, bugs = group.split(VagusError)
        if expected is None or bugs is not None:
            raise
        return _say(kind, first := _first(expected), USAGE if isinstance(first, SettingsError) else FAILED)
    if stop.cut_short:
        _log.warning("%s stopped with work left; it will be delivered again", name)
        return FAILED
    _log.info("%s stopped", name)
    return DONE


async def _work(kind: str, settings: _S, serve: Serve[_S], stop: Stop) -> None:
    name = f"vagus-{kind}-{settings.instance}"
    health = Health(kind, settings.instance)
    health.draining = stop.draining.is_set

    def started() -> None:
        health.started = True
        _log.info("%s is ready", name)

    give_up_at = anyio.current_time() + settings.wait_s
    async with AsyncExitStack() as stack:
        if settings.health_port:
            await stack.enter_async_context(listening(health, settings.health_address, settings.health_port))
        _log.info("%s connects", name)
        bus = await until_there(
            lambda: stack.enter_async_context(connect(settings.server, name=name, access=settings)),
            give_up_at,
        )
        health.connected = lambda: bus.connected
        await until_there(lambda: _provided(bus, settings), give_up_at)
        stop.grace_s = settings.stop_grace_s
        gc.collect()
        gc.freeze()  # what is there now stays; looking through it again and again would cost a tick's time
        gc.set_threshold(GARBAGE_OBJECTS)
        member, instance = process_of(f"{kind}.{settings.instance}")
        await stack.enter_async_context(heeding(bus, settings.subjects, member, instance, stop))
        if kind in _TELL_OF_QUEUES:
            await stack.enter_async_context(queues_shown(bus, settings.subjects))
        await serve(bus, settings, stop.draining, started=started)


async def _provided(bus: Bus, settings: ProcessSettings) -> None:
    """Make what the processes share, or see that it is there."""
    if settings.provision:
        await ensure(bus, settings.subjects, partitions=settings.partitions, replicas=settings.replicas)
    else:
        await streams_there(bus, settings.subjects)


def _parser(kind: str, settings_cls: type[ProcessSettings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"vagus_{kind}",
        description=f"The {kind} process of Vagus. It takes its settings from the environment.",
        epilog=f"settings:\n{usage(settings_cls)}\n\nOpenTelemetry: the usual OTEL_* variables.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--print-settings", action="store_true", help="print the settings in force, without secrets"
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _version() -> str:
    from importlib.metadata import version  # slow to import, and hardly ever wanted

    return version("vagus")


class _OneLine(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO vagus.process text`, whatever the text holds."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        return " ".join(super().formatMessage(record).splitlines())


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in (
        "vagus",
        "vagus_kernel",
        "vagus_policygate",
        "vagus_toolrunner",
        "vagus_approver",
        "vagus_relay",
    ):
        logging.getLogger(name).setLevel(level.upper())


def _first(errors: ExceptionGroup[VagusError]) -> VagusError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def _say(kind: str, error: VagusError, code: int) -> int:
    print(f"vagus_{kind}: {error.message}", file=sys.stderr)  # noqa: T201 - the one line of its end
    return code
