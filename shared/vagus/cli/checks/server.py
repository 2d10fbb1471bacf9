"""Does the server have what Vagus needs, and do the processes live?"""

import os
from collections import Counter
from typing import Final

from vagus.cli.checks.finding import Finding, ill, well
from vagus.cli.checks.versions import SERVER, numbered, parsed
from vagus.contract import limits
from vagus.contract.errors import Unavailable, VagusError
from vagus.contract.streams import MEMBERS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, connect
from vagus.runtime.inspection import MISSING, UNLED, Found, inspect, replicas_found
from vagus.runtime.settings import Access, read_settings

CONNECT_S: Final = 3.0
_UP: Final = "start everything with `vagus up`"
_KINDS: Final = {
    "kernel": "python -m vagus_kernel",
    "policygate": "python -m vagus_policygate",
    "runner": "python -m vagus_toolrunner",
    "approver": "python -m vagus_approver",
}


async def check_server(url: str) -> list[Finding]:
    """Reachability, version, JetStream, limits, streams and members."""
    subjects = Subjects(root=os.environ.get("VAGUS_ROOT_SUBJECT", "vagus"))
    found: list[Finding] = []
    try:
        access = read_settings(Access, os.environ)
        async with connect(url, name="vagus-doctor", access=access, timeout_s=CONNECT_S) as bus:
            found += [_version(bus, url), _payload(bus), jetstream := await _jetstream(bus)]
            if jetstream.ok:
                found += await _streams(bus, subjects)
                found += await _members(bus, subjects)
    except VagusError as error:
        found.append(ill("server", error.message, f"{_UP}, or name another server with --server"))
    return found


def _version(bus: Bus, url: str) -> Finding:
    version = parsed(bus.server_version)
    text = f"{url} runs nats-server {numbered(version)}"
    if version >= SERVER:
        return well("server", text)
    return ill("server", text, f"use nats-server {numbered(SERVER)} or newer")


def _payload(bus: Bus) -> Finding:
    text = f"{bus.max_payload} bytes a message"
    if bus.max_payload >= limits.MAX_PAYLOAD_BYTES:
        return well("max_payload", text)
    return ill("max_payload", text, f"set max_payload to at least {limits.MAX_PAYLOAD_BYTES} on the server")


async def _jetstream(bus: Bus) -> Finding:
    try:
        info = await bus.api("INFO")
    except VagusError as error:
        return ill("jetstream", error.message, "enable JetStream on the server: `jetstream { store_dir: … }`")
    return well("jetstream", f"{info.get('streams', 0)} streams, {info.get('storage', 0)} bytes on disk")


async def _streams(bus: Bus, subjects: Subjects) -> list[Finding]:
    partitions = int(os.environ.get("VAGUS_PARTITIONS", limits.INBOX_PARTITIONS))
    told = os.environ.get("VAGUS_REPLICAS")
    replicas = int(told) if told else await replicas_found(bus, subjects)
    found = await inspect(bus, subjects, partitions=partitions, replicas=replicas)
    wrong = [item for item in found if item.problem]
    if not wrong:
        streams = well("streams", f"{len(found)} streams, buckets and consumers are there and as wanted")
    else:
        text = "; ".join(f"{item.name}: {item.problem}" for item in wrong[:3])
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        streams = ill("streams", text + more, _mend({item.problem for item in wrong}))
    return [streams] if replicas == 1 else [streams, _replicas(found, replicas)]


def _mend(problems: set[str]) -> str:
    if problems == {MISSING}:
        return f"{_UP}: the first process makes them"
    if UNLED in problems:
        return "start the servers that are away; after the death of one, leaders are chosen within 10 s"
    return (
        "use the settings they were made with (VAGUS_REPLICAS, VAGUS_PARTITIONS), "
        "or remove them and start again"
    )


def _replicas(found: list[Found], replicas: int) -> Finding:
    away = Counter(name for item in found for name in item.away)
    if not away:
        return well("replicas", f"{replicas} of each, all up to date")
    text = ", ".join(f"{name} is away or behind with {count}" for name, count in away.most_common())
    return ill("replicas", f"{text} of {len(found)}", "start it; until then one server less may die")


async def _members(bus: Bus, subjects: Subjects) -> list[Finding]:
    try:
        keys = await Bucket(bus, subjects.named(MEMBERS)).keys(">")
    except Unavailable:
        keys = []  # the bucket is missing, as was said
    alive = Counter(key.partition(".")[0] for key in keys)
    told = [
        well(kind, f"{alive[kind]} alive") if alive[kind] else ill(kind, "none alive", f"{_UP}, or {command}")
        for kind, command in _KINDS.items()
    ]
    if alive["relay"]:
        told.append(well("relay", f"{alive['relay']} alive"))
    elif await _is_there(bus, subjects.named("EVENTS")):
        mend = "`vagus up --relays 1`, or python -m vagus_relay"
        told.append(ill("relay", "none alive: the firehose stands still", mend))
    return told


async def _is_there(bus: Bus, stream: str) -> bool:
    try:
        await bus.api(f"STREAM.INFO.{stream}")
    except VagusError:  # what does not answer was told of before
        return False
    return True
