"""Model providers: the port, and which one a session asks."""

from pathlib import Path
from typing import Protocol

from vagus.contract.errors import SettingsError
from vagus.contract.models import ModelCompletion, ModelCompletionRequest, ModelRouting
from vagus_kernel.providers.baseline import Baseline
from vagus_kernel.providers.scripted import Scripted


class Provider(Protocol):
    """Asks a model."""

    name: str
    """What spans and metrics call it."""

    async def complete(self, request: ModelCompletionRequest) -> ModelCompletion:
        """Answer one request; raises `VagusError` whose text becomes the turn's RunErrored.

        May be called again for the same request after a crash. Cancellation must pass through.
        """
        ...


class Providers:
    """All providers in use, each made once."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._made: dict[str, Provider] = {}

    def of(self, routing: ModelRouting) -> Provider:
        """The provider of a session: by its routing if that names one, else the operator's."""
        named = routing.primary_model
        known = named == "baseline" or named.startswith("scripted:")
        return self._make(named if known else self._default)

    def check(self) -> None:
        """Raise `SettingsError` if the default provider cannot be made."""
        self._make(self._default)

    def _make(self, name: str) -> Provider:
        provider = self._made.get(name)
        if provider is None:
            provider = self._made[name] = make(name)
        return provider


def make(name: str) -> Provider:
    """A provider by its name: `baseline` or `scripted:FILE`."""
    kind, _, rest = name.partition(":")
    if kind == "baseline":
        return Baseline()
    if kind == "scripted" and rest:
        return Scripted(Path(rest))
    raise SettingsError(f"unknown model provider {name!r}: use baseline or scripted:FILE")
