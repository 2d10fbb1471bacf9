"""What an actor needs of the world, gathered once a process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vagus.contract.messages import ANSWER_TO, GateRequest, ToolRequest
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import EventLog
from vagus.runtime.queue import KeepAlive
from vagus.runtime.toolbox import Toolbox
from vagus_kernel.filewriter import FileWriter
from vagus_kernel.middleware import Middleware
from vagus_kernel.providers import Providers
from vagus_kernel.settings import KernelSettings
from vagus_kernel.snapshots import Snapshots
from vagus_kernel.state import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Adapters and settings."""

    bus: Bus
    subjects: Subjects
    settings: KernelSettings
    config: Config
    log: EventLog
    snapshots: Snapshots
    sessions: Bucket
    policies: Bucket
    calls: Bucket
    tickets: Bucket
    toolbox: Toolbox
    providers: Providers
    keep_alive: KeepAlive
    files: FileWriter
    middlewares: tuple[Middleware, ...] = field(default=())
    keeper: Keeper | None = None

    def answer_to(self, message: GateRequest | ToolRequest) -> Mapping[str, str]:
        """The header that has its answer told to us straight, unless the server does not let us listen."""
        me, subjects = self.settings.instance, self.subjects
        heard = subjects.verdict(me, "") if isinstance(message, GateRequest) else subjects.report(me, "")
        return {} if self.bus.forbids(heard) else {ANSWER_TO: me}
