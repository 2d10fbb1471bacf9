"""Looks at what is on the server and says what is not as the contract wants it. Changes nothing."""

from collections.abc import Mapping
from typing import Final

import msgspec

from vagus.contract import streams
from vagus.contract.errors import OutcomeUnknown
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.provision import (
    Config,
    blobs_config,
    bucket_config,
    consumer_config,
    stream_config,
)

ANSWER_S: Final = 2.0
MISSING: Final = "is missing"
UNLED: Final = "does not answer"
"""The problem of what has no leader: too many of its servers are away, or a new leader is being chosen."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, bucket or consumer."""

    name: str
    problem: str = ""
    """Empty: it is as wanted."""
    away: tuple[str, ...] = ()
    """Servers of a cluster that should have a replica of it and do not, or not all of it."""


class _Peer(msgspec.Struct):
    name: str
    current: bool = False
    offline: bool = False


class _Made(msgspec.Struct):
    num_replicas: int = 1


class _Cluster(msgspec.Struct):
    replicas: list[_Peer] = []


async def inspect(bus: Bus, subjects: Subjects, *, partitions: int, replicas: int = 1) -> list[Found]:
    """Compare everything that `provision.ensure` makes with what is there.

    Raises `Unavailable` if the server or its JetStream does not answer.
    """
    wanted = [stream_config(spec, replicas) for spec in streams.queues(subjects, partitions)]
    wanted += [bucket_config(spec, replicas) for spec in streams.buckets(subjects)]
    wanted.append(blobs_config(subjects.named(streams.BLOBS), replicas))
    found = [
        await _compare(bus, f"STREAM.INFO.{config['name']}", str(config["name"]), config) for config in wanted
    ]
    found += await _firehose(bus, subjects, replicas)
    consumers = (
        *streams.inbox_consumers(subjects, partitions),
        streams.gate_consumer(subjects),
        streams.approval_consumer(subjects),
        streams.answer_consumer(subjects),
    )
    for spec in consumers:
        address = f"{spec.stream}.{spec.name}"
        found.append(await _compare(bus, f"CONSUMER.INFO.{address}", address, consumer_config(spec)))
    return found


async def replicas_found(bus: Bus, subjects: Subjects) -> int:
    """How many replicas an installation was made with, by its inbox; 1 if there is none, or no answer."""
    try:
        answer = await bus.api(f"STREAM.INFO.{subjects.named('INBOX')}", timeout_s=ANSWER_S)
    except (ApiError, OutcomeUnknown):
        return 1
    return msgspec.convert(answer.get("config", {}), _Made).num_replicas


async def _firehose(bus: Bus, subjects: Subjects, replicas: int) -> list[Found]:
    """What relays have made, whatever they were told to keep; nothing where none has ever run."""
    wanted = (
        stream_config(streams.events(subjects), replicas),
        bucket_config(streams.relayed(subjects), replicas),
    )
    found = []
    for config in wanted:
        name = str(config["name"])
        shape = {field: value for field, value in config.items() if field not in ("max_age", "max_bytes")}
        found.append(await _compare(bus, f"STREAM.INFO.{name}", name, shape))
    return [] if all(item.problem == MISSING for item in found) else found


async def _compare(bus: Bus, question: str, name: str, wanted: Config) -> Found:
    try:
        answer = await bus.api(question, timeout_s=ANSWER_S)
    except ApiError as error:
        return Found(name=name, problem=MISSING if error.code == 404 else error.description)
    except OutcomeUnknown:
        return Found(name=name, problem=UNLED)
    has = answer.get("config")
    config = has if isinstance(has, Mapping) else {}
    wrong = [
        f"{field} is {config.get(field)!r}, wanted {value!r}"
        for field, value in wanted.items()
        if config.get(field) != value
    ]
    replicas = msgspec.convert(answer.get("cluster", {}), _Cluster).replicas
    away = tuple(peer.name for peer in replicas if peer.offline or not peer.current)
    return Found(name=name, problem="; ".join(wrong), away=away)
