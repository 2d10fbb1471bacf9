"""Settings of a policy gate."""

from pathlib import Path
from typing import Annotated

import msgspec

from vagus.contract.errors import SettingsError
from vagus.runtime.settings import ProcessSettings, doc
from vagus_policygate.evaluate import OrganisationPolicy


class Settings(ProcessSettings, frozen=True, kw_only=True):
    """What a policy gate needs besides what every process does."""

    grant_seed_file: Annotated[Path, doc("file with the seed of the key that signs grants (nkeys)")]
    organisation_policy: Annotated[
        Path | None, doc("JSON file with the policy that holds for all sessions and only takes away")
    ] = None
    gate_concurrency: Annotated[int, doc("requests worked on at a time", ge=1, le=4096)] = 256


def read_organisation(path: Path | None) -> OrganisationPolicy:
    """The organisation's policy; one that takes nothing away if there is no file."""
    if path is None:
        return OrganisationPolicy()
    try:
        return msgspec.json.decode(path.read_bytes(), type=OrganisationPolicy)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"VAGUS_ORGANISATION_POLICY={str(path)!r}: {error}") from error
