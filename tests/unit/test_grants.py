"""Grants: signed, checked, and refused when anything about them is wrong."""

import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import msgspec
import pytest

from vagus.contract.errors import Refused, SettingsError
from vagus.contract.grants import Grant, GrantLimits
from vagus.runtime.grants import GrantSigner, GrantVerifier, generate_key, public_key

GRANT = Grant(
    session_id="s",
    branch_id="main",
    tool_run_id="r",
    call_hash="blake3:00",
    capabilities=("fs:write:/session/ä",),
    limits=GrantLimits(timeout_secs=30),
    issued_at=1,
    expires_at=2,
)


@pytest.fixture
def signer(tmp_path: Path) -> GrantSigner:
    generate_key(tmp_path / "grant.seed")
    return GrantSigner.from_file(tmp_path / "grant.seed")


def test_a_signed_grant_is_read_back(signer: GrantSigner) -> None:
    assert GrantVerifier([signer.public_key]).verify(signer.sign(GRANT)) == GRANT


def test_any_of_the_trusted_keys_will_do(signer: GrantSigner, tmp_path: Path) -> None:
    other = generate_key(tmp_path / "other.seed")
    assert GrantVerifier([other, signer.public_key]).verify(signer.sign(GRANT)) == GRANT
    with pytest.raises(Refused, match=r"^invalid grant$"):
        GrantVerifier([other]).verify(signer.sign(GRANT))


def test_no_character_of_a_grant_can_be_changed(signer: GrantSigner) -> None:
    verifier, token = GrantVerifier([signer.public_key]), signer.sign(GRANT)
    for at, old in enumerate(token):
        for new in {"A", "B", ".", "=", "\n", "é"} - {old}:
            with pytest.raises(Refused, match=r"^invalid grant$"):
                verifier.verify(token[:at] + new + token[at + 1 :])


@pytest.mark.parametrize("token", ["", ".", "..", "x", "a.b", "é.é", "=" * 40, "A" * 600_000])
def test_what_is_no_token_is_refused_alike(signer: GrantSigner, token: str) -> None:
    with pytest.raises(Refused, match=r"^invalid grant$"):
        GrantVerifier([signer.public_key]).verify(token)


def test_a_grant_has_one_spelling(signer: GrantSigner) -> None:
    token = signer.sign(GRANT)
    for other in (token + "=", token + ".", token + "\n", " " + token, token.replace(".", "..")):
        with pytest.raises(Refused):
            GrantVerifier([signer.public_key]).verify(other)


def test_a_signature_made_for_something_else_is_no_grant(signer: GrantSigner) -> None:
    payload = urlsafe_b64encode(msgspec.json.encode(GRANT)).rstrip(b"=")
    bare = signer._key.sign(payload).signature
    with pytest.raises(Refused):
        GrantVerifier([signer.public_key]).verify(f"{payload.decode()}.{urlsafe_b64encode(bare).decode()}")


def test_a_signed_text_that_is_no_grant_is_refused(signer: GrantSigner) -> None:
    payload = urlsafe_b64encode(b'{"session_id":"s"}').rstrip(b"=")
    signature = urlsafe_b64encode(signer._key.sign(b"vagus.grant.v1." + payload).signature).rstrip(b"=")
    with pytest.raises(Refused, match=r"^invalid grant$"):
        GrantVerifier([signer.public_key]).verify(f"{payload.decode()}.{signature.decode()}")


def test_the_payload_can_be_read_by_people(signer: GrantSigner) -> None:
    payload = signer.sign(GRANT).split(".")[0]
    assert b'"session_id":"s"' in urlsafe_b64decode(payload + "==")


def test_a_key_file_is_the_owner_s_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "grant.seed"
    made = generate_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert public_key(path) == made
    with pytest.raises(FileExistsError):
        generate_key(path)
    assert public_key(path) == made


@pytest.mark.parametrize(
    "seed", ["", "S" * 9, "hello", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VA", "é"]
)
def test_a_seed_that_is_none_is_refused_without_showing_it(seed: str) -> None:
    with pytest.raises(SettingsError, match="not the seed") as refused:
        GrantSigner(seed)
    assert not seed or seed not in refused.value.message


def test_a_seed_with_one_wrong_character_is_refused(tmp_path: Path) -> None:
    generate_key(tmp_path / "k")
    seed = (tmp_path / "k").read_text().strip()
    wrong = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    with pytest.raises(SettingsError):
        GrantSigner(wrong)


def test_a_missing_seed_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.seed"):
        GrantSigner.from_file(tmp_path / "nowhere.seed")


@pytest.mark.parametrize("key", ["", "A", "hello world", "é"])
def test_a_public_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="not an nkeys public key"):
        GrantVerifier([key])


def test_a_verifier_without_keys_is_refused() -> None:
    with pytest.raises(SettingsError, match="no public key"):
        GrantVerifier([])
