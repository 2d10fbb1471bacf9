"""What we log in with: files that cannot be used are told of by their variable, before any connection."""

import logging
import ssl
from pathlib import Path

import pytest

from vagus.contract.errors import SettingsError
from vagus.runtime.access import ANYBODY, options
from vagus.runtime.settings import Access


def test_nothing_is_told_for_a_server_that_asks_nobody() -> None:
    assert options(ANYBODY) == {"inbox_prefix": "_INBOX"}


def test_an_nkey_is_told_by_its_file(tmp_path: Path) -> None:
    seed = tmp_path / "kernel.nk"
    seed.write_text("SU")
    given = Access(nkey=seed, inbox_prefix="_INBOX_kernel")
    assert options(given) == {"inbox_prefix": "_INBOX_kernel", "nkeys_seed": str(seed)}


def test_files_that_cannot_be_used_are_told_by_their_variable(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    for access, told in (
        (Access(nkey=tmp_path / "none"), "VAGUS_NKEY=.*none.*: cannot be read: No such file"),
        (Access(credentials=tmp_path), "VAGUS_CREDENTIALS=.*: cannot be read: Is a directory"),
        (Access(tls_ca=text), "VAGUS_TLS_CA=.*text.*: holds no certificate"),
        (Access(tls_cert=text, tls_key=text), "VAGUS_TLS_CERT=.*: not a certificate and its key"),
    ):
        with pytest.raises(SettingsError, match=told):
            options(access)


def test_people_are_not_told_how_tls_connections_end(caplog: pytest.LogCaptureFixture) -> None:
    authority = ssl.get_default_verify_paths().cafile
    assert authority is not None, "this Python trusts nobody"
    for _ in range(2):
        options(Access(tls_ca=Path(authority)))
    log = logging.getLogger("asyncio")
    assert len(log.filters) == len(set(log.filters))
    log.warning("returning true from eof_received() has no effect when using ssl")
    log.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


def test_tls_checks_the_servers_name_and_takes_no_old_protocol() -> None:
    authority = ssl.get_default_verify_paths().cafile
    assert authority is not None, "this Python trusts nobody"
    context = options(Access(tls_ca=Path(authority)))["tls"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
