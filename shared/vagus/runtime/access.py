"""What nats-py is told of who we are and whom we trust."""

import logging
import ssl
from pathlib import Path
from typing import Final, TypedDict

from vagus.contract.errors import SettingsError
from vagus.runtime.settings import Access

ANYBODY: Final = Access()
"""For a server that asks nobody who they are."""


class Options(TypedDict, total=False):
    """Arguments of its `connect`."""

    inbox_prefix: str
    nkeys_seed: str
    tls: ssl.SSLContext
    user_credentials: str


def options(access: Access) -> Options:
    """The arguments that `access` stands for; raises `SettingsError` if a file of it cannot be used."""
    found = Options(inbox_prefix=access.inbox_prefix)
    if access.credentials is not None:
        found["user_credentials"] = _readable("VAGUS_CREDENTIALS", access.credentials)
    if access.nkey is not None:
        found["nkeys_seed"] = _readable("VAGUS_NKEY", access.nkey)
    if access.tls_ca is not None or access.tls_cert is not None:
        found["tls"] = _context(access)
    return found


def _is_news(record: logging.LogRecord) -> bool:
    """Not that nats-py would keep half of a closed connection open: TLS cannot, and it ends all the same."""
    return not str(record.msg).startswith("returning true from eof_received")


def _context(access: Access) -> ssl.SSLContext:
    logging.getLogger("asyncio").addFilter(_is_news)
    authority = None if access.tls_ca is None else _readable("VAGUS_TLS_CA", access.tls_ca)
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        raise SettingsError(
            f"VAGUS_TLS_CA={str(access.tls_ca)!r}: holds no certificate in PEM form"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.tls_cert is not None and access.tls_key is not None:
        certificate = _readable("VAGUS_TLS_CERT", access.tls_cert)
        key = _readable("VAGUS_TLS_KEY", access.tls_key)
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise SettingsError(
                f"VAGUS_TLS_CERT={certificate!r}, VAGUS_TLS_KEY={key!r}: not a certificate and its key"
            ) from error
    return context


def _readable(variable: str, path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        raise SettingsError(f"{variable}={str(path)!r}: cannot be read: {error.strerror}") from error
    return str(path)
