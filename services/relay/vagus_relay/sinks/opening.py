"""A sink as the file of sinks describes it, open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module

from vagus.contract.errors import SettingsError
from vagus_relay.sinks.configuration import (
    CustomSink,
    NdjsonSink,
    ParquetSink,
    PostgresSink,
    SinkConfig,
    WebhookSink,
)
from vagus_relay.sinks.files import ndjson, parquet
from vagus_relay.sinks.port import Sink, SinkFactory


def opened(name: str, config: SinkConfig, environ: Mapping[str, str]) -> AbstractAsyncContextManager[Sink]:
    """The sink while the block lasts.

    Entering raises `SettingsError` on what only the operator can mend, a package that is not installed
    included, and `TryLater` if the receiver is away.
    """
    match config:
        case WebhookSink():
            from vagus_relay.sinks.webhook import webhook  # each brings packages that not everybody has

            return webhook(name, config, environ)
        case NdjsonSink():
            return ndjson(config)
        case ParquetSink():
            return parquet(config)
        case PostgresSink():
            from vagus_relay.sinks.postgres import postgres

            return postgres(config, environ)
        case CustomSink():
            return _custom(name, config)


@asynccontextmanager
async def _custom(name: str, config: CustomSink) -> AsyncIterator[Sink]:
    module, _, attribute = config.factory.partition(":")
    try:
        factory: SinkFactory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"sink {name}: factory {config.factory!r} (module:name): {error}") from error
    async with factory(config.options) as sink:
        yield sink
