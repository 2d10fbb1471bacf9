"""Webhooks against a real HTTP server that fails, stalls and misbehaves."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from tests.kit import documents
from tests.kit.receiver import HANG_UP, OK, STALL, Receiver, Request, receiver, status
from tests.kit.sinks import FakeSource, Given, given, several
from tests.kit.waiting import eventually
from vagus.contract.errors import SettingsError
from vagus_relay.sinks.configuration import WebhookSink
from vagus_relay.sinks.encoding import Format
from vagus_relay.sinks.lanes import Lanes
from vagus_relay.sinks.patience import Patience
from vagus_relay.sinks.port import Poison, TryLater
from vagus_relay.sinks.secret import Secret
from vagus_relay.sinks.tally import Tally
from vagus_relay.sinks.webhook import webhook

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
ENVIRON = {
    "OLD": OLD,
    "NEW": NEW,
    "TOKEN": "Bearer hush",
    "LINES": "hush\r\nX-More: 1",
    "SHORT": base64.b64encode(b"short").decode(),
}


def config(url: str, **more: Any) -> WebhookSink:
    options: dict[str, Any] = {"secrets": (Secret(env="NEW"),), "allow_http": True, "timeout_s": 10}
    return WebhookSink(url=url, **(options | more))


@asynccontextmanager
async def carried(
    receives: Receiver, source: FakeSource, tally: Tally, *, give_up_s: float = 86_400, **more: Any
) -> AsyncIterator[None]:
    """Lanes from the source to the receiver while the block lasts."""
    draining = anyio.Event()
    async with (
        webhook("x", config(receives.url, **more), ENVIRON) as sink,
        anyio.create_task_group() as tasks,
    ):
        patience = Patience(first_s=0.01, most_s=0.05)
        lanes = Lanes(source, sink, tally, concurrency=4, give_up_s=give_up_s, patience=patience)
        tasks.start_soon(lanes.run, draining)
        yield
        draining.set()


async def test_each_event_is_a_signed_request() -> None:
    event = given("s", 7)
    async with receiver() as receives:
        headers = {"Authorization": Secret(env="TOKEN")}
        async with webhook("x", config(receives.url, headers=headers), ENVIRON) as sink:
            await sink.write([event])
    (request,) = receives.requests
    assert request.body == event.line
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == event.event["event_id"]
    assert request.headers["authorization"] == "Bearer hush"
    assert Verifier(NEW).verify(request.body, request.headers)["sequence"] == 7
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(NEW).verify(request.body + b" ", request.headers)


async def test_while_a_secret_is_replaced_the_old_and_the_new_one_sign() -> None:
    async with receiver() as receives:
        secrets = (Secret(env="NEW"), Secret(env="OLD"))
        async with webhook("x", config(receives.url, secrets=secrets), ENVIRON) as sink:
            await sink.write([given()])
    (request,) = receives.requests
    for secret in (OLD, NEW):
        Verifier(secret).verify(request.body, request.headers)


@pytest.mark.parametrize("form", [Format.CLOUDEVENTS, Format.CLOUDEVENTS_BINARY])
async def test_a_request_may_be_a_cloud_event(form: Format) -> None:
    event = given("s", 7)
    async with receiver() as receives, webhook("x", config(receives.url, format=form), ENVIRON) as sink:
        await sink.write([event])
    (request,) = receives.requests
    found = Verifier(NEW).verify(request.body, request.headers)
    if form is Format.CLOUDEVENTS:
        assert request.headers["content-type"].startswith("application/cloudevents+json")
        assert (found["id"], found["data"]["sequence"]) == (event.event["event_id"], 7)
    else:
        assert (request.headers["ce-id"], request.headers["ce-type"]) == (
            event.event["event_id"],
            "vagus.ErrorRaised",
        )
        assert request.body == event.line


@pytest.mark.parametrize("answer", [status(500), status(404), status(301, "location: /elsewhere"), HANG_UP])
async def test_what_is_not_taken_is_tried_again_elsewhere_never(answer: bytes | str) -> None:
    async with receiver(lambda _: answer) as receives, webhook("x", config(receives.url), ENVIRON) as sink:
        with pytest.raises(TryLater):
            await sink.write([given()])
    assert {request.path for request in receives.requests} == {"/hooks"}


async def test_a_receiver_that_stalls_is_left_in_time() -> None:
    async with (
        receiver(lambda _: STALL) as receives,
        webhook("x", config(receives.url, timeout_s=0.2), ENVIRON) as sink,
    ):
        with pytest.raises(TryLater, match=r"no answer within 0\.2 s"):
            await sink.write([given()])


async def test_a_receiver_that_is_away_is_tried_again() -> None:
    async with receiver() as receives:
        url = receives.url
    async with webhook("x", config(url), ENVIRON) as sink:
        with pytest.raises(TryLater, match="no answer: ClientConnectorError"):
            await sink.write([given()])


async def test_only_a_receiver_whose_certificate_is_trusted_gets_events(tmp_path: Path) -> None:
    script = str(documents.ROOT / "deploy" / "certificates")
    await anyio.run_process([script, str(tmp_path / "keys"), "127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "keys" / "server.pem", tmp_path / "keys" / "server.key")
    async with receiver(tls=tls) as receives:
        async with webhook("x", config(receives.url, allow_http=False), ENVIRON) as sink:
            with pytest.raises(TryLater, match="certificate verify failed"):
                await sink.write([given()])
        trusted = config(receives.url, allow_http=False, ca_file=tmp_path / "keys" / "ca.pem")
        async with webhook("x", trusted, ENVIRON) as sink:
            await sink.write([given("s", 7)])
    assert [request.sequence for request in receives.requests] == [7]


async def test_a_receiver_may_say_when() -> None:
    async with (
        receiver(lambda _: status(429, "retry-after: 30")) as receives,
        webhook("x", config(receives.url), ENVIRON) as sink,
    ):
        with pytest.raises(TryLater) as raised:
            await sink.write([given()])
    assert raised.value.after_s == 30


async def test_an_answer_that_never_ends_is_not_read_to_its_end() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
    async with (
        receiver(lambda _: head + bytes(1_000_000)) as receives,
        webhook("x", config(receives.url), ENVIRON) as sink,
    ):
        await sink.write([given()])


@pytest.mark.parametrize(
    "event", [Given(b"\xff", "s", "main", 1), given(event_id="one\r\nx-more: 1"), given(event_id="\u2028")]
)
async def test_what_is_no_event_is_poison(event: Given) -> None:
    async with receiver() as receives, webhook("x", config(receives.url), ENVIRON) as sink:
        with pytest.raises(Poison):
            await sink.write([event])
    assert receives.requests == []


async def test_connections_are_used_again() -> None:
    async with receiver() as receives:
        source, tally = FakeSource(), Tally("x")
        source.put(event for number in range(8) for event in several(f"s{number}", 10))
        async with carried(receives, source, tally):
            await eventually(lambda: tally.delivered == 80)
    assert receives.connections <= 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"url": "http://example.org/", "allow_http": False}, "say allow_http = true"),
        ({"url": "https://me:pw@example.org/"}, "holds a password"),
        ({"url": "ftp://example.org/"}, "no https:// address"),
        ({"url": "https:///path"}, "no https:// address"),
        ({"secrets": (Secret(env="MISSING"),)}, "environment variable MISSING"),
        ({"secrets": (Secret(env="SHORT"),)}, "has 5 bytes: use at least 24"),
        ({"secrets": (Secret(env="TOKEN"),)}, "is not base64"),
        ({"headers": {"Webhook-Id": Secret(env="TOKEN")}}, "Webhook-Id is set by Vagus"),
        (
            {"headers": {"X-Key": Secret(env="LINES")}},
            "the header 'X-Key' is not printable ASCII in one line",
        ),
        ({"ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem"),
    ],
)
async def test_what_cannot_be_used_is_refused_without_telling_a_secret(
    more: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        async with webhook("x", config(**({"url": "https://example.org/"} | more)), ENVIRON):
            pass
    assert told in raised.value.message
    assert not {"hush", "pw", ENVIRON["SHORT"]} & set(raised.value.message.replace(":", " ").split())


async def test_a_stalled_session_keeps_its_order_and_holds_up_no_other() -> None:
    well = anyio.Event()

    def answer(request: Request) -> bytes | str:
        if request.session == "bad" and not well.is_set():
            return (STALL, HANG_UP, status(503))[len(receives.requests) % 3]
        return OK

    async with receiver(answer) as receives:
        source, tally = FakeSource(), Tally("x")
        source.put(several("bad", 10))
        source.put(several("good", 40))
        async with carried(receives, source, tally, timeout_s=0.3):
            await eventually(lambda: len({request.sequence for request in receives.taken}) == 40)
            assert {request.session for request in receives.taken} == {"good"}
            await eventually(lambda: tally.retries > 5)
            well.set()
            await eventually(lambda: tally.delivered == 50)
    for session, last in (("bad", 10), ("good", 40)):
        # At least once: one whose answer came too late comes again.
        sequences = dict.fromkeys(r.sequence for r in receives.taken if r.session == session)
        assert list(sequences) == list(range(1, last + 1))
    attempts = {r.headers["webhook-id"] for r in receives.requests if r.session == "bad" and r.sequence == 1}
    assert len(attempts) == 1, "every attempt has the id of the event"


async def test_what_is_refused_for_too_long_goes_to_the_dead_letters() -> None:
    async with receiver(lambda request: status(500) if request.sequence == 1 else OK) as receives:
        source, tally = FakeSource(), Tally("x")
        events = several("s", 3)
        source.put(events)
        async with carried(receives, source, tally, give_up_s=0.3):
            await eventually(lambda: tally.delivered == 2)
    assert events[0].reason is not None
    assert events[0].reason.endswith("answered 500")
    assert [request.sequence for request in receives.taken] == [2, 3]
