"""Hashes: SHA-256 where the original has it (state, manifest, file content), BLAKE3 everywhere else."""

import hashlib
from typing import Final

import msgspec
from blake3 import blake3

from vagus.contract.json import Json, compact
from vagus.contract.sessions import SessionManifest
from vagus.contract.state import AgentStateVector

_ENCODER: Final = msgspec.json.Encoder()


def sha256_hex(data: bytes) -> str:
    """SHA-256 in 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def blake3_hex(data: bytes) -> str:
    """BLAKE3 in 64 lower-case hex digits."""
    return blake3(data).hexdigest()


def state_hash(state: AgentStateVector) -> str:
    """SHA-256 of the state vector's compact JSON, fields in their order."""
    return sha256_hex(_ENCODER.encode(state))


def manifest_hash(manifest: SessionManifest) -> str:
    """SHA-256 of the manifest's compact JSON, fields in their order, the policy's sorted."""
    members = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    return sha256_hex(_ENCODER.encode({**members, "policy": msgspec.Raw(compact(manifest.policy))}))


def call_signature(tool_name: str, arguments: Json) -> str:
    """BLAKE3 of a call's name and input: equal exactly for calls that repeat each other."""
    return blake3_hex(compact({"input": arguments, "tool_name": tool_name}))
