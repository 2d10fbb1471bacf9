"""Webhooks: every event as a POST request, signed as Standard Webhooks says.

The message id is the event's, the same at every attempt. Each secret gives a signature, so that a receiver
that knows any of them accepts it: that is how one is replaced by another.
"""

import base64
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import anyio

from vagus.contract.errors import Malformed, SettingsError
from vagus_relay.sinks import envelope
from vagus_relay.sinks.configuration import WebhookSink
from vagus_relay.sinks.encoding import Format, encode, prepare
from vagus_relay.sinks.port import Delivery, Poison, TryLater

try:
    import aiohttp
    from standardwebhooks import Webhook as Signer
except ImportError as missing:
    raise SettingsError("a webhook sink needs more packages: install vagus[webhook]") from missing

ANSWER_BYTES: Final = 64 * 1024
"""What is read of an answer's body, so that the connection can be used again; nothing of it is kept."""
SECRET_BYTES: Final = 24
"""A shorter one can be guessed; Standard Webhooks asks for 24 to 64."""
IDLE_S: Final = 4.0
"""How long a connection is kept of which nobody has need: less than the five seconds of many receivers."""
_TRY_LATER: Final = (429, 503)
"""With these a receiver may say when, in `Retry-After`."""
_UNSENDABLE: Final = re.compile(r"[^\x20-\x7e\t]")
"""What no header may hold."""
_OWN: Final = (
    "content-type",
    "content-length",
    "host",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)


class Webhook:
    """One receiver."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        url: str,
        signers: Sequence[Signer],
        form: Format,
        timeout_s: float,
    ) -> None:
        self._client = client
        self._url = url
        self._signers = signers
        self._format = form
        self._timeout_s = timeout_s

    async def write(self, batch: Sequence[Delivery]) -> None:
        """Send each event; delivered is what was answered with 2xx. Every other answer is tried again."""
        for delivery in batch:
            try:
                message = encode(delivery.line, self._format)
                event = envelope.read(delivery.line)
                signed = sign(self._signers, event.event_id, datetime.now(UTC), message.body)
                headers = _sendable(message.headers | signed)
            except Malformed as error:
                raise Poison(delivery, error.message) from error
            await self._post(headers, message.body)

    async def _post(self, headers: Mapping[str, str], body: bytes) -> None:
        try:
            with anyio.fail_after(self._timeout_s):
                async with self._client.post(
                    self._url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,  # who answers for the URL is who gets the events
                ) as answer:
                    size = 0
                    async for piece in answer.content.iter_any():
                        size += len(piece)
                        if size > ANSWER_BYTES:
                            break
        except TimeoutError as error:
            raise TryLater(f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TryLater(f"no answer: {type(error).__name__}: {error}") from error
        if not 200 <= answer.status < 300:
            after_s = _seconds(answer.headers.get("retry-after")) if answer.status in _TRY_LATER else None
            raise TryLater(f"answered {answer.status}", after_s)


def sign(signers: Sequence[Signer], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, with a signature of every signer; `now` is in UTC."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error}") from error
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(message_id, now, text) for signer in signers),
    }


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    """These headers; `Malformed` if one of them would not be the header that it is."""
    for key, value in headers.items():
        if _UNSENDABLE.search(value):
            raise Malformed(f"not for a header: {key} {value[:80]!r}")
    return headers


@asynccontextmanager
async def webhook(name: str, config: WebhookSink, environ: Mapping[str, str]) -> AsyncIterator[Webhook]:
    """The sink of this name. `SettingsError` on a URL or a secret that cannot be used."""
    _check_url(name, config)
    prepare(config.format)
    signers = [_signer(name, secret.read(environ)) for secret in config.secrets]
    headers = {key: secret.read(environ) for key, secret in config.headers.items()}
    if wrong := [key for key in headers if key.lower() in _OWN]:
        raise SettingsError(f"sink {name}: the header {wrong[0]} is set by Vagus itself")
    if unfit := [key for key, value in headers.items() if _UNSENDABLE.search(key + value)]:
        raise SettingsError(f"sink {name}: the header {unfit[0]!r} is not printable ASCII in one line")
    async with aiohttp.ClientSession(
        auto_decompress=False,  # nothing of an answer is read but its status
        connector=aiohttp.TCPConnector(
            limit=config.concurrency, keepalive_timeout=IDLE_S, ssl=_trust(name, config)
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "vagus", **headers},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `_post` has one for everything
        trust_env=False,  # no proxy and no password that the file of sinks does not name
    ) as client:
        yield Webhook(client, config.url, signers, config.format, config.timeout_s)


def _check_url(name: str, config: WebhookSink) -> None:
    parts = urlsplit(config.url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment:
        raise SettingsError(f"sink {name}: url is no https:// address")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"sink {name}: url holds a password: give a header with a secret instead")
    if parts.scheme == "http" and not config.allow_http:
        raise SettingsError(f"sink {name}: url has no TLS: use https, or say allow_http = true")


def _signer(name: str, secret: str) -> Signer:
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # whose text may hold it
        raise SettingsError(
            f"sink {name}: a secret is not base64, with or without whsec_ before it"
        ) from None
    if len(key) < SECRET_BYTES:
        raise SettingsError(f"sink {name}: a secret has {len(key)} bytes: use at least {SECRET_BYTES}")
    return Signer(key)


def _trust(name: str, config: WebhookSink) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"sink {name}: ca_file {config.ca_file}: {error}") from error


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in seconds; a date, which is hardly ever sent, is left to the back-off."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
