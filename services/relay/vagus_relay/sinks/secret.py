"""Secrets by reference: where one is kept, never what it is."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from vagus.contract.errors import SettingsError

_BYTES = 64 * 1024


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`{ env = "NAME" }` or `{ file = "/run/secrets/name" }`."""

    env: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError('give a secret as { env = "NAME" } or as { file = "PATH" }')

    def read(self, environ: Mapping[str, str]) -> str:
        """The secret, without the whitespace around it; `SettingsError` if it is not there or empty."""
        if self.file is not None:
            text, where = _content(self.file), f"file {self.file}"
        else:
            text, where = environ.get(self.env or "", ""), f"environment variable {self.env}"
        if not text.strip():
            raise SettingsError(f"the secret in {where} is missing or empty")
        return text.strip()


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the secret in file {path}: {error}") from error
