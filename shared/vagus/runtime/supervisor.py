"""The embedded server and all processes on one machine: started, kept alive, stopped together.

For `vagus up`, `vagus demo`, `vagus.embedded()` and tests; a deployment runs the processes by its own means.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import SettingsError, Unavailable, VagusError
from vagus.contract.streams import MEMBERS
from vagus.contract.subjects import Subjects
from vagus.runtime import bus, grants
from vagus.runtime.access import ANYBODY
from vagus.runtime.beside import beside
from vagus.runtime.bucket import Bucket
from vagus.runtime.child import Child
from vagus.runtime.embedded import Durability, EmbeddedServer
from vagus.runtime.settings import Access, describe, read_settings
from vagus.runtime.store import Store, held

READY_S: Final = 30.0
READY_AFAR_S: Final = 120.0
CHILD_GRACE_S: Final = limits.STOP_GRACE_S + 1.5
"""A child cuts its work short after STOP_GRACE_S; then it is killed."""
SERVER_GRACE_S: Final = 1.5
"""Together with the children's grace and some air: ten seconds."""
FALSE_STARTS: Final = 3
"""A process that has ended so often before it was ever ready is given up."""
POLL_S: Final = 0.05
SERVER_POLL_S: Final = 0.25
SERVER_RETRY_S: Final = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run, and where."""

    store: Path
    server: str = ""
    """URL of a server that is there already; empty: one is embedded."""
    port: int = 0
    """Of the embedded server; 0: any free one."""
    kernels: int = 1
    runners: int = 1
    relays: int = 0
    durability: Durability = "sync"
    provider: str = "baseline"
    tools: tuple[str, ...] = ()
    """Modules, or paths of modules, with more tools."""
    environ: Mapping[str, str] = {}
    """What the processes inherit; `VAGUS_*` settings among it, except those that follow from this plan."""
    root_subject: str = "vagus"


class Supervisor:
    """What runs."""

    def __init__(self, plan: Plan, server: EmbeddedServer | None, tell: Callable[[str], None]) -> None:
        self.store: Final = Store(plan.store.absolute())
        self.server: Final = server
        """The embedded one."""
        self.subjects: Final = Subjects(root=plan.root_subject)
        self._plan = plan
        self._tell = tell
        self._stopping = False
        self.children: tuple[Child, ...] = ()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._plan.server if self.server is None else self.server.url

    def hire(self) -> None:
        """Make the children, not started yet."""
        plan, seed = self._plan, self.store.seed
        key = grants.public_key(seed) if seed.exists() else grants.generate_key(seed)
        inherited = dict(plan.environ)
        if not plan.server:
            for setting in describe(Access):  # the embedded server asks nobody who they are
                inherited.pop(setting.variable, None)
        common = {
            **inherited,
            "VAGUS_SERVER": self.url,
            "VAGUS_ROOT": str(self.store.root),
            "VAGUS_ROOT_SUBJECT": plan.root_subject,
        }
        runner = {"VAGUS_GRANT_PUBLIC_KEYS": key}
        if plan.tools:
            runner["VAGUS_TOOLS"] = ",".join(plan.tools)
        wanted = [
            *[
                (f"kernel-{n + 1}", "vagus_kernel", {"VAGUS_PROVIDER": plan.provider})
                for n in range(plan.kernels)
            ],
            ("policygate", "vagus_policygate", {"VAGUS_GRANT_SEED_FILE": str(seed)}),
            *[(f"toolrunner-{n + 1}", "vagus_toolrunner", runner) for n in range(plan.runners)],
            ("approver", "vagus_approver", {}),
            *[(f"relay-{n + 1}", "vagus_relay", {}) for n in range(plan.relays)],
        ]
        self.children = tuple(
            Child(
                environ={**common, **own, **_health_port(plan.environ, place)},
                log=self.store.logs / f"{name}.log",
                module=module,
                name=name,
                tell=self._tell,
            )
            for place, (name, module, own) in enumerate(wanted)
        )

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until every process has told that it works.

        By default for `READY_S`; on a server that is not ours, which may be a busy cluster, `READY_AFAR_S`:
        a hundred streams and consumers are made there, one after the other.

        Raises:
            SettingsError: One ended because of its settings.
            Unavailable: One was not ready in time.
        """
        waiting = list(self.children)
        if timeout_s is None:
            timeout_s = READY_AFAR_S if self._plan.server else READY_S
        with anyio.move_on_after(timeout_s):
            access = read_settings(Access, self._plan.environ) if self._plan.server else ANYBODY
            async with bus.connect(self.url, name="vagus-supervisor", access=access) as connection:
                members = Bucket(connection, self.subjects.named(MEMBERS))
                while waiting:
                    alive = await _instances(members)
                    waiting = [child for child in waiting if child.instance not in alive]
                    self._give_up(waiting)
                    await anyio.sleep(POLL_S)
        if waiting:
            child = waiting[0]
            raise Unavailable(
                f"{child.name} was not ready within {timeout_s:g} s: {child.last_words()} (see {child.log})"
            )

    async def keep_server(self) -> None:
        """Start the embedded server again whenever it ends."""
        server = self.server
        while server is not None:
            await anyio.sleep(SERVER_POLL_S)
            if server.pid is not None or self._stopping:
                continue
            self._tell(f"nats-server ended: starting it again; see {server.log_path}")
            try:
                await server.start()
            except VagusError as error:
                self._tell(error.message)
                await anyio.sleep(SERVER_RETRY_S)
            else:
                self._tell(f"nats-server runs again, pid {server.pid}")

    async def stop(self) -> None:
        """Stop the processes, then the server; takes at most about 9 s. Nothing stored is lost."""
        self._stopping = True
        async with anyio.create_task_group() as group:
            for child in self.children:
                group.start_soon(child.stop, CHILD_GRACE_S)
        if self.server is not None:
            await self.server.stop(SERVER_GRACE_S)

    def _give_up(self, waiting: list[Child]) -> None:
        for child in waiting:
            if child.hopeless.is_set():
                raise SettingsError(f"{child.name} cannot start: {child.last_words()}")
            if child.restarts >= FALSE_STARTS:
                raise Unavailable(f"{child.name} does not start: {child.last_words()} (see {child.log})")


@asynccontextmanager
async def supervise(plan: Plan, *, tell: Callable[[str], None]) -> AsyncIterator[Supervisor]:
    """Run everything that the plan says; the block begins when all are ready, and all have ended after it.

    Args:
        plan: What to run.
        tell: Is told, in one line each, what happens to the processes.

    Raises:
        SettingsError: The store is in use, or a setting of a process is wrong.
        Unavailable: Something did not start.
    """
    store = Store(plan.store.absolute())
    store.make()
    with held(store):
        async with _serving(plan, store) as server:
            supervisor = Supervisor(plan, server, tell)
            supervisor.hire()
            async with beside(supervisor.keep_server, *[child.keep for child in supervisor.children]):
                try:
                    await supervisor.ready()
                    yield supervisor
                finally:
                    with anyio.CancelScope(shield=True):
                        await supervisor.stop()


@asynccontextmanager
async def _serving(plan: Plan, store: Store) -> AsyncIterator[EmbeddedServer | None]:
    """The embedded server, if there is to be one, running."""
    if plan.server:
        yield None
        return
    binary = plan.environ.get("VAGUS_NATS_SERVER")
    server = EmbeddedServer(
        store.nats, port=plan.port, durability=plan.durability, binary=Path(binary) if binary else None
    )
    try:
        await server.start()
    except Unavailable as error:
        if "address already in use" in error.message:
            raise SettingsError(
                f"port {plan.port} is in use, perhaps by another `vagus up`: "
                "stop it, or choose another with --port"
            ) from error
        raise
    async with server:
        yield server


def _health_port(environ: Mapping[str, str], place: int) -> dict[str, str]:
    """Each process a port of its own, from the one that is set on."""
    first = environ.get("VAGUS_HEALTH_PORT", "")
    return {"VAGUS_HEALTH_PORT": str(int(first) + place)} if first.isdigit() and int(first) else {}


async def _instances(members: Bucket) -> set[str]:
    try:
        return {key.rpartition(".")[2] for key in await members.keys(">")}
    except VagusError:
        return set()  # the first process is still making the buckets
