"""Makes the streams, consumers and buckets of the contract exist on the server.

Creating what exists as wanted changes nothing. What exists otherwise is refused, never changed: somebody may
rely on it, and a smaller limit would throw messages away.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import anyio
import msgspec

from vagus.contract import limits, streams
from vagus.contract.errors import OutcomeUnknown, SettingsError
from vagus.contract.streams import BucketSpec, ConsumerSpec, Retention, StreamSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.listing import listed

TIMEOUT_S: Final = 20.0
"""Of one request and its repetitions: the server writes to its disk, and a whole fleet may be starting."""
TRY_S: Final = 5.0
"""Of each: a cluster that chooses a leader does not answer later what it was asked before."""

_STREAM_DIFFERS: Final = 10058
_CONSUMER_DIFFERS: Final = 10148
_NO_CONSUMER: Final = 10014

Config: TypeAlias = dict[str, object]
"""A stream's or consumer's settings as the server names them; durations in nanoseconds."""


async def ensure(
    bus: Bus, subjects: Subjects, *, partitions: int = limits.INBOX_PARTITIONS, replicas: int = 1
) -> None:
    """Make everything that the processes share exist. Idempotent; several processes may call it at once.

    The last of `streams.buckets` is made last: whoever finds it finds the rest.

    Raises:
        SettingsError: Something exists that is not as wanted; the text names field, value and wanted value.
        Unavailable: No connection, or the server has no JetStream.
    """
    for stream in (*streams.queues(subjects, partitions), streams.archive(subjects)):
        await ensure_stream(bus, stream, replicas)
    await ensure_blobs(bus, subjects.named(streams.BLOBS), replicas)
    await ensure_consumer(bus, streams.gate_consumer(subjects))
    await ensure_consumer(bus, streams.approval_consumer(subjects))
    await ensure_consumer(bus, streams.answer_consumer(subjects))
    await ensure_consumer(bus, streams.due_consumer(subjects))
    inbox = streams.inbox_consumers(subjects, partitions)
    existing = await _existing_consumers(bus, subjects.named("INBOX"))  # one request instead of 64, each 3 ms
    for consumer in inbox:
        if consumer.name in existing:
            _check(_name_of(consumer), existing[consumer.name], consumer_config(consumer))
        else:
            await ensure_consumer(bus, consumer)
    for bucket in streams.buckets(subjects):
        await ensure_bucket(bus, bucket, replicas)


async def ensure_firehose(bus: Bus, subjects: Subjects, events: StreamSpec, *, replicas: int = 1) -> None:
    """Make what relays fill exist, besides what `ensure` makes; `events` says for how long it keeps them.

    Raises as `ensure`.
    """
    await ensure_stream(bus, events, replicas)
    await ensure_bucket(bus, streams.relayed(subjects), replicas)


async def ensure_stream(bus: Bus, spec: StreamSpec, replicas: int = 1) -> None:
    """Make one stream exist; raises as `ensure`."""
    wanted = stream_config(spec, replicas)
    try:
        await _create_stream(bus, wanted)
    except SettingsError:
        if not (spec.former_subjects and await _exchanged(bus, spec)):
            raise
        await _create_stream(bus, wanted)


async def _exchanged(bus: Bus, spec: StreamSpec) -> bool:
    """Whether a stream has the subjects of today, after exchanging those of an earlier version for them."""
    answer = await _ask(bus, f"STREAM.INFO.{spec.name}")
    existing = msgspec.convert(answer["config"], Config)
    if existing["subjects"] == list(spec.former_subjects):
        config = existing | {"subjects": list(spec.subjects)}
        await _ask(bus, f"STREAM.UPDATE.{spec.name}", config)
        return True
    return existing["subjects"] == list(spec.subjects)


async def ensure_bucket(bus: Bus, spec: BucketSpec, replicas: int = 1) -> None:
    """Make one key-value bucket exist; raises as `ensure`."""
    await _create_stream(bus, bucket_config(spec, replicas))


async def ensure_blobs(bus: Bus, bucket: str, replicas: int = 1) -> None:
    """Make one object store exist; raises as `ensure`."""
    await _create_stream(bus, blobs_config(bucket, replicas))


async def ensure_consumer(bus: Bus, spec: ConsumerSpec) -> None:
    """Make one durable consumer exist; raises as `ensure`, and `ApiError` when its stream does not exist."""
    verb, request = creation(spec)
    try:
        await _ask(bus, verb, request)
    except ApiError as error:
        if error.err_code == _CONSUMER_DIFFERS:
            existing = await _ask(bus, f"CONSUMER.INFO.{spec.stream}.{spec.name}")
            _check(_name_of(spec), existing["config"], consumer_config(spec))
        raise


async def remove_consumer(bus: Bus, spec: ConsumerSpec) -> None:
    """Remove a durable consumer, if it is there and is this one; its stream keeps what it has not acked."""
    address = f"{spec.stream}.{spec.name}"
    try:
        existing = await _ask(bus, f"CONSUMER.INFO.{address}")
        config = existing.get("config")
        if isinstance(config, Mapping) and config.get("filter_subject") == spec.filters[0]:
            await _ask(bus, f"CONSUMER.DELETE.{address}")
    except ApiError as error:
        if error.err_code != _NO_CONSUMER:
            raise


def creation(spec: ConsumerSpec) -> tuple[str, Config]:
    """The JetStream API's verb and request that make a consumer, or change nothing if it is there."""
    address = f"{spec.stream}.{spec.name}"
    # One filter stands in the subject as well, where permissions can see it.
    target = f"{address}.{spec.filters[0]}" if len(spec.filters) == 1 else address
    request: Config = {"stream_name": spec.stream, "config": consumer_config(spec), "action": "create"}
    return f"CONSUMER.CREATE.{target}", request


async def _ask(bus: Bus, verb: str, body: Mapping[str, object] | None = None) -> Config:
    """One request that may be repeated; raises as `Bus.api`."""
    give_up_at = anyio.current_time() + TIMEOUT_S - TRY_S
    while True:
        try:
            return await bus.api(verb, body, timeout_s=TRY_S)
        except OutcomeUnknown:
            if not bus.connected or anyio.current_time() > give_up_at:
                raise


async def _create_stream(bus: Bus, wanted: Config) -> None:
    name = wanted["name"]
    try:
        await _ask(bus, f"STREAM.CREATE.{name}", wanted)
    except ApiError as error:
        if error.err_code != _STREAM_DIFFERS:
            raise
        existing = await _ask(bus, f"STREAM.INFO.{name}")
        _check(f"stream {name}", existing["config"], wanted)
        await _ask(bus, f"STREAM.CREATE.{name}", wanted)  # somebody has exchanged its subjects meanwhile


async def _existing_consumers(bus: Bus, stream: str) -> dict[str, object]:
    """The configuration of every consumer of a stream, by name, but of those without a leader just now."""
    consumers = await listed(
        lambda offset: _ask(bus, f"CONSUMER.LIST.{stream}", {"offset": offset}),
        lambda answer: msgspec.convert(answer, _ConsumerPage).consumers,
    )
    return {consumer.name: consumer.config for consumer in consumers}


class _ConsumerInfo(msgspec.Struct):
    name: str
    config: Config


class _ConsumerPage(msgspec.Struct):
    consumers: list[_ConsumerInfo] = []


def stream_config(spec: StreamSpec, replicas: int = 1) -> Config:
    """The server's form of a stream."""
    config = _stored(spec.name, spec.subjects, replicas) | {
        "retention": str(spec.retention),
        "max_age": _ns(spec.max_age_s),
        "max_bytes": spec.max_bytes,
        "max_msgs": spec.max_msgs,
        "discard": "new" if spec.refuse_when_full else "old",
        "duplicate_window": _ns(spec.duplicate_window_s),
        "deny_delete": spec.deny_delete,
        "deny_purge": spec.deny_purge,
        "allow_direct": spec.allow_direct,
    }
    if spec.allow_atomic:
        config["allow_atomic"] = True
    if spec.max_msgs_per_subject > 0:
        config["max_msgs_per_subject"] = spec.max_msgs_per_subject
    if spec.allow_schedules:
        config["allow_msg_schedules"] = True
    if spec.republish is not None:
        config["republish"] = {"src": spec.republish[0], "dest": spec.republish[1]}
    if spec.transform is not None:
        config["subject_transform"] = {"src": spec.transform[0], "dest": spec.transform[1]}
    if spec.rederivable and replicas == 1:  # with replicas the server refuses it, and memory bears the delay
        config["persist_mode"] = "async"
    return config


def bucket_config(spec: BucketSpec, replicas: int = 1) -> Config:
    """The stream that is a key-value bucket by NATS's convention (ADR-8)."""
    window_s = min(spec.ttl_s, limits.DUPLICATE_WINDOW_S) if spec.ttl_s else limits.DUPLICATE_WINDOW_S
    return _stored(f"KV_{spec.name}", (f"$KV.{spec.name}.>",), replicas) | {
        "retention": str(Retention.LIMITS),
        "max_age": _ns(spec.ttl_s),
        "max_msgs_per_subject": spec.history,
        "discard": "new",
        "duplicate_window": _ns(window_s),
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def blobs_config(bucket: str, replicas: int = 1) -> Config:
    """The stream that is an object store by NATS's convention (ADR-20)."""
    return _stored(f"OBJ_{bucket}", (f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"), replicas) | {
        "retention": str(Retention.LIMITS),
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def consumer_config(spec: ConsumerSpec) -> Config:
    """The server's form of a durable pull consumer."""
    one = len(spec.filters) == 1
    return {
        "name": spec.name,
        "durable_name": spec.name,
        "ack_policy": "explicit",
        "ack_wait": _ns(spec.ack_wait_s),
        "max_deliver": -1,
        "max_ack_pending": spec.max_ack_pending,
        "mem_storage": True,
        **({"filter_subject": spec.filters[0]} if one else {"filter_subjects": list(spec.filters)}),
    }


def _stored(name: str, subjects: tuple[str, ...], replicas: int) -> Config:
    return {"name": name, "subjects": list(subjects), "storage": "file", "num_replicas": replicas}


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


def _name_of(spec: ConsumerSpec) -> str:
    return f"consumer {spec.name} of {spec.stream}"


def _check(what: str, existing: object, wanted: Config) -> None:
    """Raise the error that names the first field of `existing` that is not as wanted."""
    has = existing if isinstance(existing, Mapping) else {}
    for field, value in wanted.items():
        if has.get(field) != value:
            raise SettingsError(
                f"{what} exists with {field}={has.get(field)!r}, wanted is {value!r}:"
                " use the settings it was made with, or remove it"
            )
