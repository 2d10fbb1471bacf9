"""Signing grants and checking them: Ed25519, keys in the text form of NATS nkeys.

A token is `base64url(payload) "." base64url(signature)`, without padding; the payload is the grant's JSON.
Signed is a fixed prefix with the encoded payload, so that no signature made for anything else is a grant.
"""

import os
from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from vagus.contract.errors import Refused, SettingsError
from vagus.contract.grants import Grant

_CONTEXT: Final = b"vagus.grant.v1."
_MAX_TOKEN: Final = 512 * 1024
"""A longer token is refused unread; a grant of 256 capabilities of 1 024 characters is shorter."""
_INVALID: Final = "invalid grant"


class GrantSigner:
    """Signs grants with one private key."""

    def __init__(self, seed: str) -> None:
        prefix, raw = _read_seed(seed)
        self._key = SigningKey(raw)
        self._public = _nkey(prefix, bytes(self._key.verify_key))

    @classmethod
    def from_file(cls, path: Path) -> "GrantSigner":
        """The signer whose seed `path` holds; SettingsError if it holds none."""
        try:
            return cls(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read the grant seed {path}: {error}") from error
        except SettingsError as error:
            raise SettingsError(f"cannot read the grant seed {path}: {error.message}") from error

    @property
    def public_key(self) -> str:
        """What a verifier needs; safe to publish."""
        return self._public

    def sign(self, grant: Grant) -> str:
        """The grant as a token; the same grant gives the same token."""
        payload = _b64(msgspec.json.encode(grant))
        signature = self._key.sign(_CONTEXT + payload).signature
        return (payload + b"." + _b64(signature)).decode("ascii")


class GrantVerifier:
    """Checks tokens against the public keys that are trusted; several, so that keys can be changed."""

    def __init__(self, public_keys: Sequence[str]) -> None:
        if not public_keys:
            raise SettingsError("no public key to check grants with")
        self._keys = tuple(_public(key) for key in public_keys)

    def verify(self, token: str) -> Grant:
        """The grant that `token` carries, signed by a trusted key.

        Raises `Refused("invalid grant")` on anything else, whatever is wrong with it. Expiry and whether the
        grant fits the call are the caller's to check.
        """
        if len(token) > _MAX_TOKEN:
            raise Refused(_INVALID)
        try:
            payload, _, signature = token.encode("ascii").partition(b".")
            if not self._signed(_CONTEXT + payload, _unb64(signature)):
                raise Refused(_INVALID)
            return _GRANTS.decode(_unb64(payload))
        except (ValueError, msgspec.MsgspecError) as error:
            raise Refused(_INVALID) from error

    def _signed(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != 64:
            return False
        for key in self._keys:
            try:
                key.verify(message, signature)
            except BadSignatureError:
                continue
            return True
        return False


def generate_key(path: Path, *, login: bool = False) -> str:
    """Make a key pair, store its seed at `path` and return its public key.

    To sign grants, or to log in to NATS. The file has mode 0600; FileExistsError if there is one.
    """
    seed = _encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER if login else nkeys.PREFIX_BYTE_ACCOUNT)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed + b"\n")
    return GrantSigner(seed.decode("ascii")).public_key


def public_key(path: Path) -> str:
    """The public key that belongs to the seed stored at `path`."""
    return GrantSigner.from_file(path).public_key


_GRANTS: Final[msgspec.json.Decoder[Grant]] = msgspec.json.Decoder(Grant)


# nkeys has no types.
_encode_seed: Final[Callable[[bytes, int], bytes]] = nkeys.encode_seed
_decode_seed: Final[Callable[[bytes], tuple[int, bytes]]] = nkeys.decode_seed
_checksum: Final[Callable[[bytes], bytes]] = nkeys.crc16_checksum


def _read_seed(seed: str) -> tuple[int, bytes]:
    try:
        text = seed.encode("ascii")
        prefix, raw = _decode_seed(text)
        if _encode_seed(raw, prefix) != text:  # nkeys ignores the checksum
            raise ValueError("the checksum does not match")
    except (ValueError, IndexError, nkeys.NkeysError) as error:
        raise SettingsError("not the seed of an nkeys key pair (S...)") from error
    return prefix, raw


def _nkey(prefix: int, key: bytes) -> str:
    body = bytes([prefix]) + key
    return b32encode(body + _checksum(body)).rstrip(b"=").decode("ascii")


def _public(key: str) -> VerifyKey:
    try:
        raw = b32decode(key.encode("ascii") + b"=" * (-len(key) % 8))
        if len(raw) != 35 or _nkey(raw[0], raw[1:33]) != key:
            raise ValueError("wrong length or checksum")
        return VerifyKey(raw[1:33])
    except ValueError as error:
        raise SettingsError(f"not an nkeys public key: {key[:60]!r}") from error


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if _b64(data) != text:
        raise NotBase64("not canonical")  # one grant has one spelling
    return data
