"""Answers from a JSON file, for tests and demos: `{"<key>": [answer, …]}`.

A key is `<session>/<branch>`, `<session>` or `*`, looked up in this order. An answer is a ModelCompletion or
`{"error": "text"}`, either with `"delay_ms"`. The n-th model call of a branch, counted on its log, gets the
n-th answer of its list, so that a restart changes nothing.
"""

from pathlib import Path

import anyio
import msgspec

from vagus.contract.errors import SettingsError, VagusError
from vagus.contract.models import ModelCompletion, ModelCompletionRequest


class Answer(ModelCompletion, frozen=True, kw_only=True):
    """One answer of the file."""

    error: str | None = None
    delay_ms: int = 0


class Scripted:
    """Reads its file at every call, so that it can be changed while the kernel runs."""

    name = "scripted"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int], dict[str, list[Answer]]] | None = None

    async def complete(self, request: ModelCompletionRequest) -> ModelCompletion:
        """The answer for this call; `VagusError` for an error, and when the answers have run out."""
        keys = (f"{request.session_id}/{request.branch_id}", request.session_id, "*")
        answers = await self._answers()
        key = next((key for key in keys if key in answers), None)
        if key is None:
            raise VagusError(f"scripted provider: {self._path.name} has no answers for {keys[0]}")
        script = answers[key]
        if request.call_index >= len(script):
            raise VagusError(
                f"scripted provider: answers for {key} ran out: "
                f"{len(script)} in {self._path.name}, call {request.call_index + 1} asked"
            )
        answer = script[request.call_index]
        if answer.delay_ms:
            await anyio.sleep(answer.delay_ms / 1000)
        if answer.error is not None:
            raise VagusError(answer.error)
        return answer

    async def _answers(self) -> dict[str, list[Answer]]:
        try:
            version = self._version()
            if self._read is None or self._read[0] != version:
                content = await anyio.Path(self._path).read_bytes()
                self._read = (version, msgspec.json.decode(content, type=dict[str, list[Answer]]))
        except OSError as error:
            raise SettingsError(f"scripted provider: cannot read {self._path}: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise SettingsError(
                f"scripted provider: {self._path.name} is not as it should be: {error}"
            ) from error
        return self._read[1]

    def _version(self) -> tuple[int, int]:
        """When the file was changed and how long it is; quicker than to have a thread ask."""
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size
