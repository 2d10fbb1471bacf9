"""The process: puts a runner together, offers its tools, and serves until it is told to stop."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import chain

import anyio

from vagus.contract import streams
from vagus.contract.errors import SettingsError, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.grants import GrantVerifier
from vagus.runtime.intake import intake
from vagus.runtime.members import Lease, Members, members
from vagus.runtime.provision import ensure_consumer, remove_consumer
from vagus.runtime.toolbox import register
from vagus_toolrunner import catalog
from vagus_toolrunner.builtin import workspace_tools
from vagus_toolrunner.calls import Calls
from vagus_toolrunner.catalog import Catalog
from vagus_toolrunner.claims import Claims
from vagus_toolrunner.gauges import gauges
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.live import live
from vagus_toolrunner.reports import Reports
from vagus_toolrunner.settings import RunnerSettings

KIND = "toolrunner"


async def serve(
    bus: Bus, settings: RunnerSettings, draining: anyio.Event, *, started: Callable[[], None]
) -> None:
    """Run calls until `draining` is set, then finish those in hand.

    Raises:
        SettingsError: No tools, tools that cannot be loaded, or no key to check grants with.
        Refused: A tool is known with other capabilities or another schema.
        Unavailable: Only a new process can go on.
    """
    reaper = Reaper()
    subjects = settings.subjects
    offered = Catalog(
        chain(workspace_tools(settings, reaper), catalog.installed(), catalog.named(settings.tools)),
        settings.pools,
    )
    if not offered.pools:
        raise SettingsError("this runner has no tools: name modules in VAGUS_TOOLS")
    verifier = GrantVerifier(settings.grant_public_keys)
    async with AsyncExitStack() as stack:
        stack.callback(reaper.close)
        others = await stack.enter_async_context(members(bus, subjects, "runner.>"))
        await _register(bus, subjects, offered, others)
        leases = [f"runner.{pool}.{settings.instance}" for pool in offered.pools]
        for key in leases:
            await stack.enter_async_context(Lease(bus, subjects, key))
        claims = Claims(bus, Bucket(bus, subjects.named(streams.CALLS)), leases[0], others)
        calls = Calls(
            catalog=offered,
            claims=claims,
            live=await stack.enter_async_context(live(bus, subjects)),
            reports=Reports(bus, Blobs(bus, subjects.named(streams.BLOBS)), subjects),
            root=settings.root,
            slots=settings.slots,
            verifier=verifier,
        )
        cancels = await bus.subscribe_callback(subjects.cancel(), calls.cancel)
        stack.push_async_callback(cancels.unsubscribe)
        pools = {pool: streams.tool_consumers(subjects, pool) for pool in offered.pools}
        for pool, consumers in pools.items():
            await remove_consumer(bus, streams.former_tool_consumer(subjects, pool))
            for consumer in consumers:
                await ensure_consumer(bus, consumer)
            await stack.enter_async_context(
                intake(bus, subjects, consumers, calls.handle, capacity=settings.slots, kind=KIND)
            )
        await stack.enter_async_context(gauges(bus, pools, in_flight=calls.in_flight, slots=settings.slots))
        started()
        await _first(draining, calls.worn_out)
    if calls.worn_out.is_set():
        raise Unavailable("every slot is held by a tool that ignores its cancellation: starting anew")


async def _register(bus: Bus, subjects: Subjects, offered: Catalog, others: Members) -> None:
    """Put the tools into the toolbox; what a pool says that has no live runner may be replaced."""
    live_pools = {key.split(".")[1] for key in others.live}
    for tool in offered:
        await register(bus, subjects, tool.definition, live_pools=live_pools)


async def _first(*events: anyio.Event) -> None:
    """Wait for one of them."""
    async with anyio.create_task_group() as group:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(wait, event)
