"""All processes' service functions in one event loop, on a test's own names: fast, and easy to look into."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

import vagus
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.grants import generate_key
from vagus.runtime.process import Serve
from vagus.runtime.provision import ensure
from vagus.runtime.settings import read_settings
from vagus.sdk.client import Client

PARTITIONS = 4


@dataclass
class Running:
    """One service, running in this process."""

    draining: anyio.Event
    ended: anyio.Event

    async def drain(self) -> None:
        """Stop it as SIGTERM would."""
        self.draining.set()
        with anyio.fail_after(60):
            await self.ended.wait()


@dataclass
class System:
    """A whole Vagus."""

    url: str
    subjects: Subjects
    root: Path
    environ: dict[str, str]
    bus: Bus
    client: Client
    tasks: TaskGroup
    services: dict[str, Running] = field(default_factory=dict)

    async def start(self, kind: str, name: str | None = None, **settings: object) -> Running:
        """Start one more service and wait until it takes work."""
        module, names = KINDS[kind]
        serve: Serve[Any] = import_module(module).serve
        settings_module, _, name_of_shape = names.partition(":")
        shape: type[Any] = getattr(import_module(settings_module), name_of_shape)
        environ = self.environ | {f"VAGUS_{key.upper()}": str(value) for key, value in settings.items()}
        name = name or f"{kind}{len(self.services)}"
        environ["VAGUS_INSTANCE"] = name
        service = Running(anyio.Event(), anyio.Event())
        started = anyio.Event()
        self.services[name] = service
        self.tasks.start_soon(self._serve, serve, read_settings(shape, environ), service, started)
        with anyio.fail_after(60):
            await started.wait()
        return service

    async def _serve(self, serve: Serve[Any], settings: Any, service: Running, started: anyio.Event) -> None:
        try:
            async with connect(self.url, name="service") as bus:
                await serve(bus, settings, service.draining, started=started.set)
        finally:
            service.ended.set()


KINDS = {
    "kernel": ("vagus_kernel.kernel", "vagus_kernel.settings:KernelSettings"),
    "gate": ("vagus_policygate.gate", "vagus_policygate.settings:Settings"),
    "runner": ("vagus_toolrunner.runner", "vagus_toolrunner.settings:RunnerSettings"),
    "approver": ("vagus_approver.approver", "vagus_approver.settings:Settings"),
    "relay": ("vagus_relay.relay", "vagus_relay.settings:RelaySettings"),
}


@asynccontextmanager
async def system(
    url: str,
    subjects: Subjects,
    folder: Path,
    *,
    services: str = "gate approver runner kernel",
    **settings: object,
) -> AsyncIterator[System]:
    """Run a Vagus with these services and settings."""
    seed = folder / "grant.seed"
    public = generate_key(seed)
    environ = {
        "VAGUS_SERVER": url,
        "VAGUS_ROOT_SUBJECT": subjects.root,
        "VAGUS_ROOT": str(folder / "root"),
        "VAGUS_PARTITIONS": str(PARTITIONS),
        "VAGUS_GRANT_SEED_FILE": str(seed),
        "VAGUS_GRANT_PUBLIC_KEYS": public,
    } | {f"VAGUS_{key.upper()}": str(value) for key, value in settings.items()}
    async with connect(url, name="test") as bus, anyio.create_task_group() as tasks:
        await ensure(bus, subjects, partitions=PARTITIONS, replicas=int(environ.get("VAGUS_REPLICAS", 1)))
        async with vagus.connect(url, actor="tester", root_subject=subjects.root) as client:
            whole = System(url, subjects, folder / "root", environ, bus, client, tasks)
            for kind in services.split():
                await whole.start(kind)
            yield whole
            for service in reversed(list(whole.services.values())):
                await service.drain()
        tasks.cancel_scope.cancel()
