"""`vagus provision`: make what the processes share, so that they need no permission to."""

import os
from contextlib import AsyncExitStack
from typing import Annotated

import msgspec
import typer

from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import print_line, show
from vagus.contract import limits


class Provisioned(msgspec.Struct, frozen=True, kw_only=True):
    """With what it was made, or was there."""

    root_subject: str
    partitions: int
    replicas: int


def provision(
    partitions: Annotated[
        int,
        typer.Option(
            "--partitions", envvar="VAGUS_PARTITIONS", min=1, max=1024, help="Of the inbox; for good."
        ),
    ] = 32,
    replicas: Annotated[
        int, typer.Option("--replicas", envvar="VAGUS_REPLICAS", min=1, max=5, help="Copies of each stream.")
    ] = 1,
    events_age_s: Annotated[
        float,
        typer.Option(
            "--events-age", envvar="VAGUS_EVENTS_AGE_S", min=0, help="Seconds the firehose keeps an event."
        ),
    ] = limits.EVENTS_AGE_S,
    events_bytes: Annotated[
        int,
        typer.Option(
            "--events-bytes", envvar="VAGUS_EVENTS_BYTES", min=-1, help="Bytes it keeps; -1: any number."
        ),
    ] = -1,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            envvar="VAGUS_WAIT_S",
            min=0,
            max=600,
            help="Seconds to wait for the server, and for JetStream.",
        ),
    ] = 0,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Make the streams, consumers and buckets that the processes share. Idempotent.

    For a server whose users may do only what they need: run this as a user who may make streams, and the
    processes with `VAGUS_PROVISION=false`. Nothing that exists is changed.
    """
    import anyio

    from vagus.contract.streams import events
    from vagus.contract.subjects import Subjects
    from vagus.runtime.awaiting import until_there
    from vagus.runtime.bus import connect
    from vagus.runtime.provision import ensure, ensure_firehose
    from vagus.runtime.settings import Access, read_settings

    subjects = Subjects(root=os.environ.get("VAGUS_ROOT_SUBJECT", "vagus"))
    made = Provisioned(root_subject=subjects.root, partitions=partitions, replicas=replicas)

    async def work() -> None:
        access = read_settings(Access, os.environ)
        firehose = events(subjects, max_age_s=events_age_s, max_bytes=events_bytes)
        give_up_at = anyio.current_time() + wait_s
        async with AsyncExitStack() as stack:
            bus = await until_there(
                lambda: stack.enter_async_context(connect(server, name="vagus-provision", access=access)),
                give_up_at,
            )

            async def make() -> None:
                await ensure_firehose(bus, subjects, firehose, replicas=replicas)
                await ensure(bus, subjects, partitions=partitions, replicas=replicas)

            await until_there(make, give_up_at)

    anyio.run(work)
    show(made, as_json=as_json, render=_told)


def _told(made: Provisioned) -> None:
    print_line(
        f"all streams, consumers and buckets of {made.root_subject} are there: "
        f"{made.partitions} partitions, {made.replicas} of each".encode()
    )
