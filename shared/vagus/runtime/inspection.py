"""Looks at what is on the server and says what is not as the contract wants it. Changes nothing."""

from collections.abc import Mapping

import msgspec

from vagus.contract import streams
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.provision import (
    Config,
    blobs_config,
    bucket_config,
    consumer_config,
    stream_config,
)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, bucket or consumer."""

    name: str
    problem: str = ""
    """Empty: it is as wanted."""


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


async def _compare(bus: Bus, question: str, name: str, wanted: Config) -> Found:
    try:
        answer = await bus.api(question)
    except ApiError as error:
        return Found(name=name, problem="is missing" if error.code == 404 else error.description)
    has = answer.get("config")
    config = has if isinstance(has, Mapping) else {}
    wrong = [
        f"{field} is {config.get(field)!r}, wanted {value!r}"
        for field, value in wanted.items()
        if config.get(field) != value
    ]
    return Found(name=name, problem="; ".join(wrong))
