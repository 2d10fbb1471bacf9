"""What a kernel of the world has in place of a server: its connection, its buckets, a provider."""

import base64
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from vagus.contract import limits
from vagus.contract.errors import Conflict
from vagus.contract.models import ModelCompletion, ModelCompletionRequest
from vagus.runtime.answers import ApiError, Stored
from vagus.runtime.bucket import Entry

if TYPE_CHECKING:
    from tests.kit.world import Process, World


class FakeBucket:
    """A bucket of the world, as one process sees it."""

    def __init__(self, values: dict[str, Entry], process: "Process") -> None:
        self._values = values
        self._process = process

    async def get(self, key: str, *, fresh: bool = False) -> Entry | None:
        await self._process.passes()
        return self._values.get(key)

    async def create(self, key: str, value: bytes) -> int:
        return await self.update(key, value, 0)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        await self._process.passes()
        known = self._values.get(key)
        if (known.revision if known else 0) != revision:
            raise Conflict
        self._values[key] = Entry(key, value, revision + 1)
        return revision + 1

    async def put(self, key: str, value: bytes) -> int:
        await self._process.passes()
        revision = self._values[key].revision if key in self._values else 0
        self._values[key] = Entry(key, value, revision + 1)
        return revision + 1


class FakeBus:
    """A connection of one process to the world."""

    max_payload = limits.MAX_PAYLOAD_BYTES
    connected = True

    def __init__(self, world: "World", process: "Process") -> None:
        self._world = world
        self._process = process

    def send(
        self, subject: str, data: bytes = b"", *, headers: Any = None, reply: str = "", within_s: float = 0
    ) -> None:
        if self._process.alive:
            self._world.take(subject, data, headers or {})

    def forbids(self, beginning: str) -> bool:
        return False

    async def publish(self, subject: str, data: bytes = b"", *, headers: Any = None, reply: str = "") -> None:
        self.send(subject, data, headers=headers)
        await checkpoint()

    async def store(
        self, subject: str, data: bytes, *, msg_id: str | None = None, headers: Any = None
    ) -> Stored:
        await self._process.passes()
        self._world.take(subject, data, dict(headers or {}) | ({"Nats-Msg-Id": msg_id} if msg_id else {}))
        await checkpoint()
        return Stored("STREAM", 1)

    async def api(self, verb: str, body: Any) -> dict[str, Any]:
        """Only what looks for what was given back."""
        await self._process.passes()
        noted = self._world.returned.get(body["last_by_subj"])
        if noted is None:
            raise ApiError("no message found", 404, 10037)
        found = {"subject": body["last_by_subj"], "seq": 1, "data": base64.b64encode(noted).decode()}
        return {"message": found}

    def on_reconnect(self, hook: Any) -> Any:
        self._process.hooks.append(hook)
        return lambda: None


class Model:
    """Answers by what the objective asks for: `text`, or names of tools."""

    name = "world"

    def __init__(self, process: "Process") -> None:
        self._process = process

    def of(self, routing: object) -> "Model":
        return self

    async def complete(self, request: ModelCompletionRequest) -> ModelCompletion:
        world = self._process.world
        await anyio.sleep(world.model_s)
        world.model_calls += 1
        asked = request.objective.split()
        if asked[:1] == ["fail"]:
            raise ValueError("the model is broken")
        said: list[dict[str, object]] = [{"type": "text_delta", "delta": "well"}]
        for number, name in enumerate(asked):
            if name in world.tool_names:
                call = {"call_id": f"{request.run_id}.{number}", "tool_name": name, "input": {"n": number}}
                said.append({"type": "tool_call", "call": call})
        return msgspec.convert({"directives": said}, ModelCompletion)
